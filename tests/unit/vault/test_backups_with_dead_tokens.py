"""If all tokens of a backup have expired, the cluster id tells whether a node has it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import DeadlineExceeded
from vault_harness.local.vault import cluster
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup import Keys, progress

KEYS = Keys(Keyring(("a key",), 1, "a root token that was revoked"), "a token that expired")


class Node:
    """An unsealed node that accepts no token of the backup."""

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
        """Do nothing."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no token be alive and the first node lead, and shorten the waits to 0.1 s."""
    monkeypatch.setattr(progress, "alive", lambda _: None)
    monkeypatch.setattr(cluster, "find_leader", lambda nodes: nodes[0])
    monkeypatch.setattr(cluster, "health_of_all", lambda nodes: [200 for _ in nodes])
    for name in ("SETTLE_SECONDS", "RESTORE_SECONDS"):
        monkeypatch.setattr(progress, name, 0.1)


def test_a_node_that_has_the_backup() -> None:
    """An interrupted restore continues there."""
    nodes: Any = [Node("of the backup")]
    assert progress.is_restored(nodes, KEYS, "of the backup")
    progress.await_taken(nodes, KEYS, "of the backup", timeout=0.1)


@pytest.mark.parametrize("known", ["of the backup", ""])
def test_a_node_that_has_something_else(known: str) -> None:
    """Its Vault differs or is unknown."""
    nodes: Any = [Node("another")]
    assert not progress.is_restored(nodes, KEYS, known)
    with pytest.raises(DeadlineExceeded):
        progress.await_taken(nodes, KEYS, known, timeout=0.1)


def test_all_nodes_have_it() -> None:
    """They are restarted."""
    nodes: Any = [Node("of the backup"), Node("of the backup")]
    progress.await_on_all(nodes, KEYS, "of the backup")


@pytest.mark.parametrize(
    "late", [Node("another"), Node("of the backup", applied=6)], ids=["another", "behind"]
)
def test_one_has_it_not_yet(late: Node) -> None:
    """Restarted too early, it would take the backup as a standby and refuse all requests."""
    nodes: Any = [Node("of the backup"), late]
    with pytest.raises(DeadlineExceeded, match="all nodes to have the snapshot"):
        progress.await_on_all(nodes, KEYS, "of the backup")
