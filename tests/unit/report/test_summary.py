"""The summary of a run on one screen, which the page shows too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.report.test_causes import CLOSED, finding, scenario
from vault_harness.judge.report.causes import LEAK
from vault_harness.judge.report.outcome import Outcome
from vault_harness.judge.report.summary import MOST, all_causes, summary_of

LEAKED = {"promise": LEAK, "seen": "its log has token-1: got <token-1>", "at": 1.5}
RULES = ("no request storm", "every call ends within 2 s", "the token survives: no login")
KNOWN = {"kind": "failing", "reason": "the next release"}


def journal(*scenarios: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "schema_version": 2,
        "suite_version": "0.3.0",
        "subject": "mine",
        "complete": True,
        "product": "openbao 2.7.2",
        "engine": "process",
        "seconds": 61.4,
        "scenarios": list(scenarios),
        **more,
    }


def many() -> dict[str, Any]:
    """Return the journal of a client that breaks many promises in many scenarios."""
    return journal(
        *(scenario(f"KV-{n}", finding(CLOSED, closing=True)) for n in range(10, 78)),
        *(
            scenario(f"NET-{n}", finding(RULES[n % 3]), leaks=[LEAKED], again=f"run {n}")
            for n in range(10, 40)
        ),
    )


def test_verdict_and_grade_in_words() -> None:
    """Each scenario is counted once."""
    made = summary_of(
        journal(
            scenario("A-01"),
            scenario("A-02", finding("p")),
            scenario("A-03", finding("p"), known=KNOWN),
            scenario("A-04", word="skipped"),
        )
    )
    assert made.verdict == "mine: 1 of 3 scenarios pass; 2 fail (A-02, A-03; 1 as known); 1 skipped"
    assert made.where == "openbao 2.7.2, process engine, 61 s"
    assert (made.grade, made.grade_words) == ("C", "1 critical cause")


def test_good_run_has_nothing_to_do() -> None:
    made = summary_of(journal(scenario("A-01")))
    assert made.good
    assert made.lines() == [
        "mine: 1 of 1 scenarios pass",
        "(openbao 2.7.2, process engine, 61 s)",
        "grade A+: nothing is broken",
        "exit code 0: every promise that was asked was kept",
    ]


def test_a_cause_of_68_scenarios_is_shown_once() -> None:
    """It has its clearest scenario and a remedy."""
    (cause,) = [cause for cause in summary_of(many()).causes if "KV-10" in cause.ids]
    assert cause.title == "critical: it does not clean up"
    assert cause.count == "explains 68 scenarios"
    assert str(cause.clearest) == "KV-10 at +5.00 s: it was not so"
    assert cause.theme.remedy.startswith("On close, stop all threads")


@pytest.mark.parametrize("width", [80, 100])
def test_failing_run_fits_one_screen(width: int) -> None:
    lines = summary_of(many()).lines(width, page=Path("report/index.html"))
    assert len(lines) <= 25
    assert all(len(line) <= width for line in lines if " " in line.strip())


def test_at_most_three_causes_are_shown_and_the_file_has_all() -> None:
    made = summary_of(many())
    assert (len(made.causes), made.more) == (MOST, 2)
    assert f"2 more causes: report/{'causes.txt'}" in "\n".join(
        made.lines(page=Path("report/index.html"))
    )
    text = all_causes(many())
    assert all(f"KV-{n}" in text for n in range(10, 78))
    assert text.count("got <token-1>") == 30


def test_what_shows_in_the_same_scenarios_takes_no_room() -> None:
    """A scenario that breaks three promises takes the room of one cause."""
    made = summary_of(journal(scenario("TOK-11", *map(finding, RULES))))
    (cause,) = made.causes
    assert (cause.count, made.more) == ("explains 1 scenario", 2)
    assert all_causes(journal(scenario("TOK-11", *map(finding, RULES)))).count("shows in 1)") == 2


def test_explains_how_much_the_shown_causes_explain() -> None:
    assert summary_of(many()).explains == "3 causes explain 78 of 98 failures"
    unproved = scenario("A-01", word="not exercised", why="too slow")
    assert summary_of(journal(unproved)).explains == ""


def test_first_comes_the_cause_with_the_command_that_repeats_it() -> None:
    """It repeats the clearest scenario."""
    made = summary_of(many())
    assert made.causes[0].kind == "leak"
    assert made.again == "run 10"
    assert made.timeline.endswith("timeline NET-10")


def test_leak_names_the_row_that_would_excuse_it() -> None:
    """The row is not counted as another failure."""
    row = scenario("PRC-04", about_leaks=True, word="fail")
    made = summary_of(journal(scenario("A-01", leaks=[LEAKED]), row))
    assert made.why_code == ("a secret came out in 1 scenario, and PRC-04 is not known to fail")


@pytest.mark.parametrize(
    ("records", "code", "why"),
    [
        ([scenario("A-01", finding("p"))], 1, "1 scenario failed and is not known to fail"),
        ([scenario("A-01", known=KNOWN)], 1, "A-01 is known to fail, and passes"),
        (
            [scenario("A-01", finding("p", harm=True), known=KNOWN)],
            1,
            "A-01 is known to fail, but not to do harm",
        ),
        (
            [scenario("A-01"), scenario("A-02", finding("p"), known=KNOWN)],
            0,
            "every promise that was asked was kept, or is known not to be (A-02)",
        ),
        (
            [scenario("A-01"), scenario("A-02", finding("p"), forgiven=True)],
            0,
            (
                "every promise that was asked was kept; "
                "a broken SHOULD counts only with --strict (A-02)"
            ),
        ),
        (
            [scenario("A-01"), scenario("A-02", word="not exercised", why="too slow")],
            2,
            "nothing is broken, but 1 scenario proved nothing",
        ),
        ([scenario("A-01", word="skipped")], 2, "no scenario asked anything: all were skipped"),
        (
            [scenario(f"A-0{n}", word="error", why="it fell") for n in range(1, 6)],
            3,
            "the harness or the scenario broke down in A-01, A-02, A-03 and 2 more",
        ),
    ],
)
def test_exit_code_has_its_reason(records: list[dict[str, Any]], code: int, why: str) -> None:
    made = summary_of(journal(*records))
    assert (made.code, made.why_code) == (code, why)


def test_run_that_was_ended_says_so() -> None:
    """The code is that of its signal."""
    made = summary_of(
        journal(scenario("A-01"), complete=False, unfinished=["A-02"]), code=Outcome.INTERRUPTED
    )
    assert (made.code, made.why_code) == (130, "the run was interrupted")
    assert made.verdict.endswith("1 did not come to an end")


def test_words_of_a_client_stay_in_one_line() -> None:
    """They are cut."""
    said = finding("p", seen="first\nsecond " + "x" * 500)
    lines = summary_of(journal(scenario("A-01", said))).lines(None)
    (shown,) = [line for line in lines if "first" in line]
    assert "second" in shown
    assert len(shown) < 150
