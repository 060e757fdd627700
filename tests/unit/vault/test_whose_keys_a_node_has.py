"""A restore that was ended half-way asks each node whether it has the backup already."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import OperatorError
from vault_harness.vault.backup import _progress

LEADERLESS = OperatorError("it redirects to another host: the token stays here")


class Node:
    """A node that is open, and answers a question about a token with these, the last for ever."""

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
    """Ask the node above, and take a no for one after a tenth of a second."""
    monkeypatch.setattr(_progress, "_knows", lambda node, *_: node.knows())
    monkeypatch.setattr(_progress, "SETTLE_SECONDS", 0.1)


def test_a_node_without_a_leader_is_asked_again() -> None:
    """It can tell nothing while it has nobody to hand the question on to."""
    nodes: Any = [Node(LEADERLESS, LEADERLESS, True)]
    assert _progress.is_restored(nodes, keys=None, vault="")  # type: ignore[arg-type]


def test_a_node_that_does_not_know_the_backup() -> None:
    """It answers, and has no token of it."""
    nodes: Any = [Node(LEADERLESS, False)]
    assert not _progress.is_restored(nodes, keys=None, vault="")  # type: ignore[arg-type]


def test_no_answer_is_not_taken_for_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore that guessed would look for the keys of a Vault that is there no more."""
    monkeypatch.setattr(_progress, "CATCH_UP_SECONDS", 0.1)
    nodes: Any = [Node(LEADERLESS)]
    with pytest.raises(OperatorError, match="redirects"):
        _progress.is_restored(nodes, keys=None, vault="")  # type: ignore[arg-type]
