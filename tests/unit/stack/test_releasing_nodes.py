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
def test_a_failure_to_undo_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Raising would hide the first error."""

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
