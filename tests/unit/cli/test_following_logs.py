"""What goes on until Ctrl-C ends well by that; by anything else it was ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.cli import _stack
from vault_harness.interrupts import Ended, until_ctrl_c

Program = Callable[..., Any]  # of conftest.py


@pytest.mark.parametrize(("words", "code"), [(("--follow",), 0), ((), 130)])
def test_ctrl_c_is_the_way_to_end_it(
    words: tuple[str, ...], code: int, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was interrupted, and nobody has to look how far it came."""

    def logs(*_: object, **__: object) -> Iterator[str]:
        yield "a line"
        raise KeyboardInterrupt

    stack = SimpleNamespace(log_names=lambda: ["vault"], logs=logs)
    monkeypatch.setattr(_stack, "local_stack", lambda: stack)
    ended = program("logs", *words)
    assert (ended.code, ended.out) == (code, "a line\n")
    assert ("interrupted" in ended.err) == bool(code)


def test_a_closed_terminal_ends_the_task() -> None:
    """Its exit code tells, of `watch` and of `audit` too."""
    with pytest.raises(Ended), until_ctrl_c():
        raise Ended(signal.SIGHUP)
