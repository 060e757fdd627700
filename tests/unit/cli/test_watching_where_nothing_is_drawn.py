"""The live table where no terminal can draw it anew: it is printed once, and the task ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import rich.live

from vault_harness.cli import _watch

Program = Callable[..., Any]  # of conftest.py


class Drawn(BaseException):
    """Stands for a table that is drawn anew until Ctrl-C."""


@pytest.fixture(autouse=True)
def looked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is seen of a stack; no table of it is drawn for ever."""

    def live(*_: object, **__: object) -> None:
        raise Drawn

    names = ("leader", "tokens", "leases", "failed_logins", "in_flight", "unaudited", "refused")
    seen = dict.fromkeys((*names, "address", "sealed", "namespace"))
    lists: dict[str, list[str]] = {
        name: [] for name in ("toxics", "requests", "obstacles", "events")
    }
    monkeypatch.setattr(_watch, "local_stack", SimpleNamespace)
    monkeypatch.setattr(_watch, "_looked", lambda _: {"state": "ready", **seen, **lists})
    monkeypatch.setattr(rich.live, "Live", live)


@pytest.mark.parametrize(
    ("terminal", "variables"),
    [
        (True, {"TERM": "dumb"}),
        (False, {"TERM": "xterm", "FORCE_COLOR": "1"}),
        (False, {"TERM": "xterm"}),
    ],
    ids=["a dumb terminal", "a pipe with colours", "a pipe"],
)
def test_it_is_printed_once(
    terminal: bool, variables: dict[str, str], program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a dumb terminal nothing was shown until Ctrl-C, and in a CI job it never ended."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    ended = program("watch")
    assert ended.code == 0
    assert "ready" in ended.out


def test_a_terminal_draws_it(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until Ctrl-C."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(Drawn):
        program("watch")
