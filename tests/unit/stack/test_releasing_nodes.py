"""A sequence of accidents that failed undoes the last one, and says no other word about it."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from tests.engine.accidents.sequence import Accidents, Loss


@pytest.mark.parametrize(
    "error",
    [AssertionError("no network"), subprocess.TimeoutExpired("nsenter", 10), ValueError("gone")],
)
def test_what_cannot_be_undone_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Raised, it would hide what failed first."""

    def end(_: str) -> NoReturn:
        raise error

    stack: Any = SimpleNamespace()
    accidents = Accidents(stack, stack, [], 0)
    loss = Loss(name="is cut off", ends="is back", begin=str, end=end)
    monkeypatch.setattr(accidents, "_lost", (loss, "vault-2"))

    accidents.release()

    assert f"vault-2, which is cut off, was not released: {type(error).__name__}" in (
        capsys.readouterr().out
    )
