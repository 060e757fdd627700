from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import rich.live

from vault_harness.cli import watch as watch_module
from vault_harness.operator.audit import AuditEntry

Program = Callable[..., Any]  # of conftest.py


PATH = "auth/approle/role/celery-worker-of-the-shop/secret-id"


def event() -> AuditEntry:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return AuditEntry(when, "celery-worker", "celery-worker", "update", PATH, "failed")


class Drawn(BaseException):
    """Stands for a live table that runs until Ctrl-C."""


@pytest.fixture(autouse=True)
def looked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise instead of drawing forever."""

    def live(*_: object, **__: object) -> None:
        raise Drawn

    names = ("leader", "tokens", "leases", "failed_logins", "in_flight", "unaudited", "refused")
    seen = dict.fromkeys((*names, "address", "sealed", "namespace"))
    lists: dict[str, list[object]] = {
        name: [] for name in ("toxics", "requests", "obstacles", "events")
    }
    lists["events"] = [event()]
    monkeypatch.setattr(watch_module, "local_stack", SimpleNamespace)
    monkeypatch.setattr(watch_module, "_looked", lambda _: {"state": "ready", **seen, **lists})
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
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    ended = program("watch")
    assert ended.code == 0
    assert "ready" in ended.out


def test_a_terminal_draws_it(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(Drawn):
        program("watch")


@pytest.mark.parametrize("columns", [80, 100])
def test_no_path_is_cut(columns: int, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    ended = program("watch", "--once")
    _, _, events = ended.out.partition("celery-worker")
    assert "".join(events.split()).endswith(f"update{PATH}")
