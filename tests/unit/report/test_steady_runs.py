"""Several runs of one suite, compared by their verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import SettingsError
from vault_harness.judge.report.steady import Judged, alike, differences, judged, load, save, told
from vault_harness.judge.verdict import TOO_SLOW

ORDER = {"subject": "reference", "only": [], "runs": 3, "busy": 1}


def scenario(id: str, word: str, *reasons: str) -> dict[str, Any]:  # noqa: A002 - it is an id
    why = reasons[0] if reasons else ""
    return {"id": id, "word": word, "why": why, "untouched": list(reasons)}


def run(number: int, *scenarios: dict[str, Any], busy: bool = False) -> Judged:
    return judged(number, {"seconds": 40.0, "scenarios": scenarios}, busy=busy)


SLOW = scenario("A-1", "not exercised", f"{TOO_SLOW}: it stood still")
PASS = scenario("A-1", "pass")
FAIL = scenario("A-1", "fail", "| it\nbroke")


def test_a_verdict_that_differs() -> None:
    """It is shown on a busy machine too."""
    runs = [run(1, PASS), run(2, FAIL), run(3, FAIL, busy=True)]
    assert [(one.first, one.word, one.run) for one in differences(runs)] == [
        ("pass", "fail", 2),
        ("pass", "fail", 3),
    ]
    assert alike(runs) == 1
    table = told(runs, subject="reference").splitlines()
    assert r"| A-1 | pass | 2 | fail | \| it\\nbroke |" in table
    assert r"| A-1 | pass | 3 (busy) | fail | \| it\\nbroke |" in table


def test_what_a_client_said_of_it(tmp_path: Path) -> None:
    """Half characters, markup and long texts do not break the table."""
    odd = scenario("A-1", "fail", "cut \ud83d <!-- `x`")
    long = scenario("A-1", "fail", "x" * 9000)
    save(tmp_path, [run(1, PASS), run(2, odd), run(3, long)], ORDER)
    text = (tmp_path / "steady.md").read_text()
    assert r"| fail | cut \\ud83d &lt;!-- \`x\` |" in text
    assert len(text) < 3000
    assert len(load(tmp_path, ORDER)) == 3


@pytest.mark.parametrize(("busy", "found"), [(False, 1), (True, 0)])
@pytest.mark.parametrize("first", [True, False])
def test_a_machine_that_was_too_slow(busy: bool, found: int, first: bool) -> None:
    """It differs if the machine was idle, not if it was kept busy."""
    slow, good = (1, 2) if first else (2, 1)
    runs = sorted([run(slow, SLOW, busy=busy), run(good, PASS)], key=lambda one: one.number)
    assert [one.run for one in differences(runs)] == [slow] * found


def test_not_exercised_for_another_reason() -> None:
    """It differs on a busy machine too."""
    other = scenario("A-1", "not exercised", "nothing was refused", f"{TOO_SLOW}: it stood still")
    assert [one.run for one in differences([run(1, PASS), run(2, other, busy=True)])] == [2]


def test_going_on(tmp_path: Path) -> None:
    assert load(tmp_path, ORDER) == []
    runs = [run(1, PASS), run(2, SLOW, busy=True)]
    save(tmp_path, runs, ORDER)
    assert load(tmp_path, ORDER) == runs
    assert (tmp_path / "steady.md").read_text() == told(runs, subject="reference")


@pytest.mark.parametrize("broken", [None, "", "{}", '{"format": 1, "order": 5}'])
def test_not_going_on_with_something_else(tmp_path: Path, broken: str | None) -> None:
    """It is another client, or a foreign file."""
    save(tmp_path, [run(1, PASS)], {**ORDER, "subject": "other"})
    if broken is not None:
        (tmp_path / "steady.json").write_text(broken)
    with pytest.raises(SettingsError, match="leave out --resume"):
        load(tmp_path, ORDER)
