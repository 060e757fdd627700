"""A busy machine may lose a leader, which must not end a test of accidents."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.engine.accidents.ledger import Ledger, Write
from tests.engine.accidents.load import Load, contents_at_last
from tests.engine.accidents.sequence import Accidents
from vault_harness.errors import DeadlineExceeded, OperatorError

WRITE = Write(
    path="ledger/a", value="one", over=0, outcome="confirmed", version=1, began=0.0, ended=0.1
)


class Nobody:
    """A client whose node does not know the leader for some requests."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    def request(self, method: str, path: str) -> dict[str, Any]:
        assert method == "GET"
        if self.refusals:
            self.refusals -= 1
            raise OperatorError("local node not active but active cluster node not found")
        if path.startswith("ecommerce/metadata/"):
            return {"data": {"versions": {"1": {}}}}
        return {"data": {"data": {"value": "one"}}}

    def close(self) -> None:
        """Do nothing."""


def test_contents_come_once_a_node_leads() -> None:
    root = Nobody(refusals=2)
    waits = [DeadlineExceeded("no node is active")]

    def operator() -> Nobody:
        if waits:
            raise waits.pop()
        return root

    stack: Any = SimpleNamespace(operator=operator)
    load = Load(Ledger(writes=[WRITE]), {})
    assert contents_at_last(stack, load) == {"ledger/a": {1: "one"}}
    assert (root.refusals, waits) == (0, [])


def test_victim_is_chosen_once_a_node_leads() -> None:
    leads = iter([None, None, "vault-2"])
    nodes = [SimpleNamespace(name=name) for name in ("vault", "vault-2", "vault-3")]
    stack: Any = SimpleNamespace(
        status=lambda: SimpleNamespace(leader=next(leads), nodes=nodes),
        endpoints=lambda: SimpleNamespace(nodes=nodes),
    )
    assert Accidents(stack, stack, [], 0)._victim(leads=True).name == "vault-2"
