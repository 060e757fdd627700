from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import OperatorError, StackError
from vault_harness.operator.backup import restoring
from vault_harness.operator.backup.contents import Comparison


def test_a_leader_that_leads_no_more_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single server's refusal is an error at once."""
    whole = Comparison(same=1, different=())
    answers: list[Any] = []

    def compare(_node: object, _contents: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, OperatorError):
            raise answer
        return answer

    refusal = OperatorError("it redirects to another host", looked_at="", remedy="")
    monkeypatch.setattr(restoring, "compare", compare)
    monkeypatch.setattr(restoring, "POLL_SECONDS", 0.0)
    node: Any = SimpleNamespace(address="http://node")
    contents: Any = object()

    answers[:] = [refusal, whole]
    assert restoring._answered(node, contents) == whole

    answers[:] = [refusal]
    with pytest.raises(OperatorError):
        restoring._compare_all(node, [node], contents)


def test_a_node_that_never_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must be added again if it missed the snapshot."""
    whole = Comparison(same=1, different=())
    refusal = OperatorError("it redirects to another host", looked_at="LIST", remedy="ask another")

    class Node:
        client = SimpleNamespace(token="t")

        def __init__(self, address: str) -> None:
            self.address = address

        def with_token(self, _token: str) -> Node:
            return self

        def close(self) -> None:
            """Do nothing."""

    leader, behind = Node("one"), Node("two")

    def compare(node: Node, _contents: object) -> Comparison:
        if node is behind:
            raise refusal
        return whole

    monkeypatch.setattr(restoring, "compare", compare)
    monkeypatch.setattr(restoring, "CATCH_UP_SECONDS", 0.0)
    acting: Any = leader
    nodes: Any = [leader, behind]
    contents: Any = object()

    with pytest.raises(StackError, match="the backup is in place, but the node at two") as caught:
        restoring._compare_all(acting, nodes, contents)

    assert "node.remove NAME" in caught.value.remedy
    assert "it redirects to another host" in caught.value.cause
