"""What three nodes have after a restore is compared through each, whoever leads by then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import OperatorError, StackError
from vault_harness.vault.backup import _restore
from vault_harness.vault.backup._contents import Comparison


def test_a_leader_that_leads_no_more_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses until it knows who leads; a single server that refuses is an error at once."""
    whole = Comparison(same=1, different=())
    answers: list[Any] = []

    def compare(_node: object, _contents: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, OperatorError):
            raise answer
        return answer

    refusal = OperatorError("it redirects to another host", looked_at="", remedy="")
    monkeypatch.setattr(_restore, "compare", compare)
    monkeypatch.setattr(_restore, "POLL_SECONDS", 0.0)
    node: Any = SimpleNamespace(address="http://node")
    contents: Any = object()

    answers[:] = [refusal, whole]
    assert _restore._answered(node, contents) == whole

    answers[:] = [refusal]
    with pytest.raises(OperatorError):
        _restore._compare_all(node, [node], contents)


def test_a_node_that_never_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been away when the others took the snapshot, and is made anew then."""
    whole = Comparison(same=1, different=())
    refusal = OperatorError("it redirects to another host", looked_at="LIST", remedy="ask another")

    class Node:
        """Stands for an operator."""

        client = SimpleNamespace(token="t")

        def __init__(self, address: str) -> None:
            self.address = address

        def with_token(self, _token: str) -> Node:
            return self

        def close(self) -> None:
            """Nothing is open."""

    leader, behind = Node("one"), Node("two")

    def compare(node: Node, _contents: object) -> Comparison:
        if node is behind:
            raise refusal
        return whole

    monkeypatch.setattr(_restore, "compare", compare)
    monkeypatch.setattr(_restore, "CATCH_UP_SECONDS", 0.0)
    acting: Any = leader
    nodes: Any = [leader, behind]
    contents: Any = object()

    with pytest.raises(StackError, match="the backup is in place, and the node at two") as caught:
        _restore._compare_all(acting, nodes, contents)

    assert "node.remove NAME" in caught.value.remedy
    assert "it redirects to another host" in caught.value.cause
