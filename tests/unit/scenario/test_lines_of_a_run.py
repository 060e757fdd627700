from __future__ import annotations

from dataclasses import replace

from vault_harness.judge.plugin.table import _as_lines
from vault_harness.judge.report import Line

PROMISE = "A revoked token costs one login, and reads work again"
LINE = Line("TOK-11", PROMISE, "high", "", 1.2)


def test_a_pass_is_one_line() -> None:
    """A log of CI can be searched."""
    assert _as_lines(replace(LINE, word="pass"), None) == [
        f"TOK-11   pass             1.2 s  {PROMISE}"
    ]


def test_what_was_skipped_gives_its_reason() -> None:
    (text,) = _as_lines(replace(LINE, word="skipped", why="it does not claim: write"), None)
    assert text == "TOK-11   skipped          1.2 s  it does not claim: write"


def test_a_failure_says_what_was_seen() -> None:
    _, seen = _as_lines(replace(LINE, word="fail", why="two logins\nx"), None)
    assert seen.strip() == r"seen: two logins\nx"


def test_a_failure_at_the_clients_end_is_separate() -> None:
    """The scenario's own promise was kept."""
    _, seen = _as_lines(replace(LINE, word="fail", why="one lives", at_the_end=True), None)
    assert seen.strip() == "its own promise was kept; seen at the client's end: one lives"


def test_lines_of_a_terminal_go_on_below_the_promise() -> None:
    first, *rest = _as_lines(replace(LINE, word="pass"), 60)
    assert first.startswith("TOK-11   pass")
    assert rest
    assert all(text.startswith(" " * 33) and len(text) <= 60 for text in [*rest])
