"""The copy of a drill has as many nodes as the stack, on a machine that is busy with that one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.vault.fake_vault import Answer, FakeVault, Serve, seal_status
from vault_harness.errors import OperatorError
from vault_harness.vault import Keyring, cluster
from vault_harness.vault.backup import _drill

JOIN, UNSEAL = "/v1/sys/storage/raft/join", "/v1/sys/unseal"
CONFIGURATION = "/v1/sys/storage/raft/configuration"
KEYS = [f"key {number}" for number in range(5)]
MEMBERS = [
    {"node_id": name, "address": "127.0.0.1:1", "voter": True, "leader": name == "drill"}
    for name in ("drill", "drill-2")
]


@pytest.fixture
def first(serve: Serve) -> FakeVault:
    """A new server, which leads once it has its keys."""
    made = serve()
    made.answers |= {
        "/v1/sys/seal-status": seal_status(initialized=False, sealed=False),
        "/v1/sys/init": (200, {"keys_base64": KEYS, "root_token": "of the copy"}, {}),
        "/v1/sys/health": (200, {}, {}),
        "/v1/sys/storage/raft/autopilot/configuration": (200, {}, {}),
        CONFIGURATION: (200, {"data": {"config": {"servers": MEMBERS}}}, {}),
    }
    return made


@pytest.fixture
def other(serve: Serve) -> FakeVault:
    """One that becomes a member, and serves as soon as it has answered the leader's question."""
    made = serve()
    made.answers |= {
        "/v1/sys/seal-status": seal_status(initialized=True, sealed=True),
        "/v1/sys/health": (429, {}, {}),
        JOIN: (200, {"joined": True}, {}),
        UNSEAL: (200, {"sealed": False, "progress": 0}, {}),
    }
    return made


def initialise(first: FakeVault, other: FakeVault, keyring: Path) -> None:
    """Make a cluster of both."""
    with cluster.operators([first.address, other.address]) as nodes:
        _drill._initialise(nodes, keyring, at=first.address)


def test_a_first_node_that_is_busy_is_asked_again(
    first: FakeVault, other: FakeVault, tmp_path: Path
) -> None:
    """It refuses with 5xx what it does a moment later; nobody's exercise ends by that."""
    other.first[JOIN] = [(500, {"errors": ["failed to get raft challenge"]}, {})] * 2
    initialise(first, other, tmp_path / "init.json")
    assert other.asked.count(JOIN) == 3
    assert list(Keyring.load(tmp_path / "init.json").keys) == KEYS


def test_what_it_was_given_is_given_once(
    first: FakeVault, other: FakeVault, tmp_path: Path
) -> None:
    """Keys that come again answer a question that nobody has asked, and are refused."""
    taken = other.answers[UNSEAL]
    said = "URL: PUT http://x/v1/sys/storage/raft/bootstrap/answer"
    spent: Answer = (500, {"errors": [said]}, {})
    other.first[UNSEAL] = [taken] * 4  # a reset, and three keys
    other.answers[UNSEAL] = spent
    initialise(first, other, tmp_path / "init.json")
    assert other.asked.count(UNSEAL) == 4


def test_what_makes_no_sense_ends_it(first: FakeVault, other: FakeVault, tmp_path: Path) -> None:
    """It is not asked for ever."""
    other.answers[JOIN] = (400, {"errors": ["raft storage is not in use"]}, {})
    with pytest.raises(OperatorError, match="not in use"):
        initialise(first, other, tmp_path / "init.json")
    assert other.asked.count(JOIN) == 1
