from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.cli import stack as stack_module
from vault_harness.interrupts import Ended, until_ctrl_c
from vault_harness.operator import audit

Program = Callable[..., Any]  # of conftest.py


@pytest.mark.parametrize(("words", "code"), [(("--follow",), 0), ((), 130)])
def test_ctrl_c_ends_following_with_exit_code_0(
    words: tuple[str, ...], code: int, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def logs(*_: object, **__: object) -> Iterator[str]:
        yield "a line"
        raise KeyboardInterrupt

    stack = SimpleNamespace(log_names=lambda: ["vault"], logs=logs)
    monkeypatch.setattr(stack_module, "local_stack", lambda: stack)
    ended = program("logs", *words)
    assert (ended.code, ended.out) == (code, "a line\n")
    assert ("interrupted" in ended.err) == bool(code)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    request = {"operation": "read", "path": "ecommerce/data/backend/django"}
    line = {"type": "response", "time": "2026-01-01T00:00:00Z", "request": request}
    path = tmp_path / "audit.log"
    path.write_text(f"{json.dumps(line)}\n" * 2)
    return path


@pytest.mark.parametrize(("words", "entries"), [((), 2), (("--lines", "1"), 1)])
def test_audit_ends(words: tuple[str, ...], entries: int, log: Path, program: Program) -> None:
    """`audit | tail` needs an end."""
    ended = program("audit", "--file", str(log), *words)
    assert (ended.code, ended.out.count("backend/django")) == (0, entries)


def test_audit_goes_on_where_it_is_asked_to(
    log: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> Iterator[object]:
        yield "an entry"
        raise KeyboardInterrupt

    monkeypatch.setattr(audit, "follow_joined", interrupted)
    ended = program("audit", "--file", str(log), "--follow")
    assert (ended.code, ended.out) == (0, "an entry\n")


def test_a_closed_terminal_ends_the_task() -> None:
    with pytest.raises(Ended), until_ctrl_c():
        raise Ended(signal.SIGHUP)
