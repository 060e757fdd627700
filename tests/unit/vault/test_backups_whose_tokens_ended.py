"""A backup whose tokens have all ended: what a node has of it is known by its cluster id."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import DeadlineExceeded
from vault_harness.vault import Keyring, cluster
from vault_harness.vault.backup import Keys, _progress

KEYS = Keys(Keyring(("a key",), 1, "a root token that was revoked"), "a token that expired")


class Node:
    """A node that is open, and takes no token of the backup."""

    def __init__(self, vault: str, *, applied: int = 7) -> None:
        self.address = "http://127.0.0.1:1"
        self._answers: dict[str, dict[str, Any]] = {
            "sys/seal-status": {"cluster_id": vault},
            "sys/leader": {"raft_applied_index": applied},
        }

    def seal_status(self) -> SimpleNamespace:
        return SimpleNamespace(sealed=False)

    def request(self, _method: str, path: str) -> dict[str, Any]:
        return self._answers[path]

    def with_token(self, _token: str) -> Node:
        return self

    def close(self) -> None:
        """Nothing to do."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No token is alive anywhere, the first node leads, and a wait is a tenth of a second."""
    monkeypatch.setattr(_progress, "alive", lambda _: None)
    monkeypatch.setattr(cluster, "find_leader", lambda nodes: nodes[0])
    monkeypatch.setattr(cluster, "health_of_all", lambda nodes: [200 for _ in nodes])
    for name in ("SETTLE_SECONDS", "RESTORE_SECONDS"):
        monkeypatch.setattr(_progress, name, 0.1)


def test_a_node_that_has_the_backup() -> None:
    """A restore that was ended half-way goes on there."""
    nodes: Any = [Node("of the backup")]
    assert _progress.is_restored(nodes, KEYS, "of the backup")
    _progress.await_taken(nodes, KEYS, "of the backup", timeout=0.1)


@pytest.mark.parametrize("known", ["of the backup", ""])
def test_a_node_that_has_something_else(known: str) -> None:
    """Nor is one taken for the backup's where nobody knows which Vault that was."""
    nodes: Any = [Node("another")]
    assert not _progress.is_restored(nodes, KEYS, known)
    with pytest.raises(DeadlineExceeded):
        _progress.await_taken(nodes, KEYS, known, timeout=0.1)


def test_all_nodes_have_it() -> None:
    """They are started again then."""
    nodes: Any = [Node("of the backup"), Node("of the backup")]
    _progress.await_on_all(nodes, KEYS, "of the backup")


@pytest.mark.parametrize(
    "late", [Node("another"), Node("of the backup", applied=6)], ids=["another", "behind"]
)
def test_one_has_it_not_yet(late: Node) -> None:
    """Started again now, it would take it as a standby, and refuse every request."""
    nodes: Any = [Node("of the backup"), late]
    with pytest.raises(DeadlineExceeded, match="all nodes to have the snapshot"):
        _progress.await_on_all(nodes, KEYS, "of the backup")
