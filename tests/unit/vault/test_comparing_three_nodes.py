"""What three nodes have after a restore is compared through each, whoever leads by then."""

from __future__ import annotations

from typing import Any

import pytest

from vault_harness.errors import OperatorError
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
    node: Any = object()
    contents: Any = object()

    answers[:] = [refusal, whole]
    assert _restore._answered(node, contents) == whole

    answers[:] = [refusal]
    with pytest.raises(OperatorError):
        _restore._compare_all(node, [node], contents)
