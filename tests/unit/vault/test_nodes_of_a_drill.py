from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.vault.fake_vault import Answer, FakeVault, Serve, seal_status
from vault_harness.errors import OperatorError
from vault_harness.local.vault import cluster
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup import drills

JOIN, UNSEAL = "/v1/sys/storage/raft/join", "/v1/sys/unseal"
CONFIGURATION = "/v1/sys/storage/raft/configuration"
KEYS = [f"key {number}" for number in range(5)]
MEMBERS = [
    {"node_id": name, "address": "127.0.0.1:1", "voter": True, "leader": name == "drill"}
    for name in ("drill", "drill-2")
]


@pytest.fixture
def first(serve: Serve) -> FakeVault:
    """A new server that leads once it has its keys."""
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
    """A node that joins, and serves once it has answered the leader's challenge."""
    made = serve()
    made.answers |= {
        "/v1/sys/seal-status": seal_status(initialized=True, sealed=True),
        "/v1/sys/health": (429, {}, {}),
        JOIN: (200, {"joined": True}, {}),
        UNSEAL: (200, {"sealed": False, "progress": 0}, {}),
    }
    return made


def initialise(first: FakeVault, other: FakeVault, keyring: Path) -> None:
    with cluster.operators([first.address, other.address]) as nodes:
        drills._initialise(nodes, keyring, at=first.address)


def test_a_first_node_that_is_busy_is_asked_again(
    first: FakeVault, other: FakeVault, tmp_path: Path
) -> None:
    other.first[JOIN] = [(500, {"errors": ["failed to get raft challenge"]}, {})] * 2
    initialise(first, other, tmp_path / "init.json")
    assert other.asked.count(JOIN) == 3
    assert list(Keyring.load(tmp_path / "init.json").keys) == KEYS


def test_what_it_was_given_is_given_once(
    first: FakeVault, other: FakeVault, tmp_path: Path
) -> None:
    """A second time keys would answer no challenge and be refused."""
    taken = other.answers[UNSEAL]
    said = "URL: PUT http://x/v1/sys/storage/raft/bootstrap/answer"
    spent: Answer = (500, {"errors": [said]}, {})
    other.first[UNSEAL] = [taken] * 4  # a reset, and three keys
    other.answers[UNSEAL] = spent
    initialise(first, other, tmp_path / "init.json")
    assert other.asked.count(UNSEAL) == 4


def test_what_makes_no_sense_ends_it(first: FakeVault, other: FakeVault, tmp_path: Path) -> None:
    other.answers[JOIN] = (400, {"errors": ["raft storage is not in use"]}, {})
    with pytest.raises(OperatorError, match="not in use"):
        initialise(first, other, tmp_path / "init.json")
    assert other.asked.count(JOIN) == 1
