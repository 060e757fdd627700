"""A resumed restore asks each node whether it has the backup already."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import OperatorError
from vault_harness.operator.backup import progress

LEADERLESS = OperatorError("it redirects to another host: the token stays here")


class Node:
    """An unsealed node with these answers about a token; the last answer repeats."""

    address = "http://node"

    def __init__(self, *answers: bool | OperatorError) -> None:
        self._answers = list(answers)

    def seal_status(self) -> SimpleNamespace:
        return SimpleNamespace(sealed=False)

    def knows(self) -> bool:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, OperatorError):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_knows", lambda node, *_: node.knows())
    monkeypatch.setattr(progress, "SETTLE_SECONDS", 0.1)


def test_a_node_without_a_leader_is_asked_again() -> None:
    nodes: Any = [Node(LEADERLESS, LEADERLESS, True)]
    assert progress.is_restored(nodes, keys=None, vault="")  # type: ignore[arg-type]


def test_a_node_that_does_not_know_the_backup() -> None:
    """It answers without a token of the backup."""
    nodes: Any = [Node(LEADERLESS, False)]
    assert not progress.is_restored(nodes, keys=None, vault="")  # type: ignore[arg-type]


def test_no_answer_is_not_taken_for_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guess would look for the wrong keys."""
    monkeypatch.setattr(progress, "CATCH_UP_SECONDS", 0.1)
    nodes: Any = [Node(LEADERLESS)]
    with pytest.raises(OperatorError, match="redirects"):
        progress.is_restored(nodes, keys=None, vault="")  # type: ignore[arg-type]
