"""A new node joins a busy cluster too, and trouble with one node does not stop the others."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.unit.vault.fake_vault import Answer, FakeVault, Serve, seal_status
from vault_harness.errors import DeadlineExceeded, OperatorError
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring

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
    """A node that can join and then takes keys."""
    made = serve()
    made.answers["/v1/sys/seal-status"] = seal_status(initialized=True, sealed=True)
    made.answers[JOIN] = (200, {"joined": True}, {})
    made.answers[UNSEAL] = TAKEN
    return made


def admit(node: FakeVault, keyring: Keyring = KEYS, *, timeout: float = 10.0) -> None:
    """Let the node join through a leader that no test sends a request to."""
    with (
        closing(VaultAdmin(node.address)) as joining,
        closing(VaultAdmin("http://127.0.0.1:1")) as leader,
    ):
        cluster.admit(joining, leader, keyring, timeout=timeout)


def test_a_leader_that_asks_nothing_for_now_is_asked_again(serve: Serve) -> None:
    """It is busy or about to lose its lead."""
    node = new_node(serve)
    node.first[JOIN] = [NO_QUESTION, NO_QUESTION]
    admit(node)
    assert node.asked.count(JOIN) == 3
    assert node.asked.count(UNSEAL) == 4, "a reset, and three keys"


def test_a_node_joins_again_if_the_leader_does_not_take_the_answer(serve: Serve) -> None:
    """The challenge is used up."""
    node = new_node(serve)
    node.first[UNSEAL] = [TAKEN, TAKEN, TAKEN, NO_ANSWER]
    admit(node)
    assert node.asked.count(JOIN) == 2
    assert node.asked.count(UNSEAL) == 8


def test_recovery_keys_answer_nothing(serve: Serve) -> None:
    """The seal's key answers the challenge."""
    node = new_node(serve)
    node.first[JOIN] = [NO_ANSWER]
    admit(node, RECOVERY)
    assert node.asked == [JOIN, JOIN]


def test_a_leader_that_refuses_throughout(serve: Serve) -> None:
    """The error says how to continue."""
    node = new_node(serve)
    node.answers[JOIN] = NO_QUESTION
    with pytest.raises(DeadlineExceeded, match="to become a member of the cluster") as caught:
        admit(node, timeout=0.3)
    assert node.asked.count(JOIN) > 1
    assert caught.value.cause.startswith(f"waited 0.3 s for {node.address} to")
    assert "failed to get raft challenge" in caught.value.looked_at
    assert "unseal" in caught.value.remedy


def test_what_makes_no_sense_is_not_tried_again(serve: Serve) -> None:
    """There is no raft, or the keys are another cluster's."""
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
    """The other node gets its keys."""
    wrong, right = new_node(serve), new_node(serve)
    wrong.first[UNSEAL] = [TAKEN]  # the reset
    wrong.answers[UNSEAL] = (400, {"errors": ["invalid key"]}, {})
    with (
        closing(VaultAdmin(wrong.address)) as first,
        closing(VaultAdmin(right.address)) as second,
        pytest.raises(OperatorError, match="do not unseal this Vault"),
    ):
        cluster.unseal_all([first, second], KEYS, timeout=5)
    assert right.asked.count(UNSEAL) == 4


def test_a_node_that_has_not_joined_is_left_out(serve: Serve) -> None:
    """An earlier run may have left its challenge open."""
    member, outside = new_node(serve), new_node(serve)
    outside.answers[UNSEAL] = NO_ANSWER
    with (
        closing(VaultAdmin(member.address)) as first,
        closing(VaultAdmin(outside.address)) as second,
    ):
        assert list(cluster.give_keys_to_all([second, first], KEYS)) == [second]
    assert member.asked.count(UNSEAL) == 4


def test_what_is_shown_to_another_server_is_not_looked_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VAULT_CLIENT_CERT of the shell, with a file that is missing here, is ignored."""
    monkeypatch.setattr("hvac.v1.VAULT_CLIENT_CERT", "/of/another/server.pem")
    monkeypatch.setattr("hvac.v1.VAULT_CLIENT_KEY", "/of/another/server.key")
    with closing(VaultAdmin(new_node(serve).address)) as operator:
        assert operator.seal_status().sealed
