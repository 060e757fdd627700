"""A new node becomes a member also of a cluster that is busy, and what is amiss is one node's."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.unit.vault.fake_vault import Answer, FakeVault, Serve, seal_status
from vault_harness.errors import DeadlineExceeded, OperatorError
from vault_harness.vault import Keyring, Operator, cluster

KEYS = Keyring(keys=("a", "b", "c"), threshold=3, root_token="")
RECOVERY = Keyring(keys=("a", "b", "c"), threshold=3, root_token="", kind="recovery")
JOIN, UNSEAL = "/v1/sys/storage/raft/join", "/v1/sys/unseal"
TAKEN: Answer = (200, {"sealed": False, "progress": 0}, {})
NO_QUESTION: Answer = (500, {"errors": ["failed to get raft challenge"]}, {})
REFUSED = (
    "Error making API request.\n\nURL: PUT http://127.0.0.1:1/v1/sys/storage/raft/bootstrap/answer"
    "\nCode: 500. Errors:\n\n* node is not the leader"
)
NO_ANSWER: Answer = (500, {"errors": [REFUSED]}, {})


def new_node(serve: Serve) -> FakeVault:
    """A node that can join, and takes keys then."""
    made = serve()
    made.answers["/v1/sys/seal-status"] = seal_status(initialized=True, sealed=True)
    made.answers[JOIN] = (200, {"joined": True}, {})
    made.answers[UNSEAL] = TAKEN
    return made


def admit(node: FakeVault, keyring: Keyring = KEYS, *, timeout: float = 10.0) -> None:
    """Let it join a leader that nobody here asks for anything."""
    with (
        closing(Operator(node.address)) as joining,
        closing(Operator("http://127.0.0.1:1")) as leader,
    ):
        cluster.admit(joining, leader, keyring, timeout=timeout)


def test_a_leader_that_asks_nothing_for_now_is_asked_again(serve: Serve) -> None:
    """It has more to do than it can, or is about to lose its lead."""
    node = new_node(serve)
    node.first[JOIN] = [NO_QUESTION, NO_QUESTION]
    admit(node)
    assert node.asked.count(JOIN) == 3
    assert node.asked.count(UNSEAL) == 4, "a reset, and three keys"


def test_a_leader_that_takes_no_answer_for_now_is_asked_anew(serve: Serve) -> None:
    """Its question is spent: keys alone would answer none that anybody waits for."""
    node = new_node(serve)
    node.first[UNSEAL] = [TAKEN, TAKEN, TAKEN, NO_ANSWER]
    admit(node)
    assert node.asked.count(JOIN) == 2
    assert node.asked.count(UNSEAL) == 8


def test_recovery_keys_answer_nothing(serve: Serve) -> None:
    """A server that unseals itself answers by the key of its seal, as it joins."""
    node = new_node(serve)
    node.first[JOIN] = [NO_ANSWER]
    admit(node, RECOVERY)
    assert node.asked == [JOIN, JOIN]


def test_a_leader_that_refuses_throughout(serve: Serve) -> None:
    """What was waited for is named, and what it said, and what goes on with it."""
    node = new_node(serve)
    node.answers[JOIN] = NO_QUESTION
    with pytest.raises(DeadlineExceeded, match="to become a member of the cluster") as caught:
        admit(node, timeout=0.3)
    assert node.asked.count(JOIN) > 1
    assert caught.value.cause.startswith(f"waited 0.3 s for {node.address} to")
    assert "failed to get raft challenge" in caught.value.looked_at
    assert "unseal" in caught.value.remedy


def test_what_makes_no_sense_is_not_tried_again(serve: Serve) -> None:
    """A node without raft, say, or keys of another cluster."""
    node = new_node(serve)
    node.answers[JOIN] = (400, {"errors": ["raft storage is not in use"]}, {})
    with pytest.raises(OperatorError, match="not in use"):
        admit(node)
    assert node.asked == [JOIN]
    other = new_node(serve)
    other.answers[UNSEAL] = (500, {"errors": ["error decrypting challenge"]}, {})
    with pytest.raises(OperatorError, match="decrypting"):
        admit(other)
    assert other.asked.count(JOIN) == 1


def test_what_is_amiss_with_one_keeps_none_of_the_others_closed(serve: Serve) -> None:
    """The one is told, and the other has had its keys."""
    wrong, right = new_node(serve), new_node(serve)
    wrong.first[UNSEAL] = [TAKEN]  # the reset
    wrong.answers[UNSEAL] = (400, {"errors": ["invalid key"]}, {})
    with (
        closing(Operator(wrong.address)) as first,
        closing(Operator(right.address)) as second,
        pytest.raises(OperatorError, match="do not unseal this Vault"),
    ):
        cluster.unseal_all([first, second], KEYS, timeout=5)
    assert right.asked.count(UNSEAL) == 4


def test_who_is_no_member_yet_is_told_apart(serve: Serve) -> None:
    """It has its question of an earlier run, which ended before it was answered."""
    member, outside = new_node(serve), new_node(serve)
    outside.answers[UNSEAL] = NO_ANSWER
    with (
        closing(Operator(member.address)) as first,
        closing(Operator(outside.address)) as second,
    ):
        assert list(cluster.give_keys_to_all([second, first], KEYS)) == [second]
    assert member.asked.count(UNSEAL) == 4


def test_what_is_shown_to_another_server_is_not_looked_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VAULT_CLIENT_CERT of the shell names a file that is not here: nobody asks for it either."""
    monkeypatch.setattr("hvac.v1.VAULT_CLIENT_CERT", "/of/another/server.pem")
    monkeypatch.setattr("hvac.v1.VAULT_CLIENT_KEY", "/of/another/server.key")
    with closing(Operator(new_node(serve).address)) as operator:
        assert operator.seal_status().sealed
