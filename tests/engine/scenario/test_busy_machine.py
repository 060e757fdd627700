"""A busy machine: what fails then is tried again before it is said of a client."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vault_harness.scenario import Lab, Result, open_environment, run_scenario
from vault_harness.scenario.catalogue import load
from vault_harness.scenario.history import History
from vault_harness.scenario.observations import Crowding
from vault_harness.scenario.verdict import Finding
from vault_harness.settings import Settings
from vault_harness.subjects import parse_subject

CATALOGUE = Path(__file__).parents[3] / "scenarios" / "catalogue.toml"

# A subject's own carelessness is no error of these tests.
pytestmark = pytest.mark.filterwarnings("ignore")


def _run(
    findings: list[list[Finding]], stall: float = 0.0, *, crowded: float = 0.0
) -> tuple[Result, int]:
    """A scenario that finds what it is told in its n-th run, on a machine that stands still.

    Args:
        findings: For each run; an `ERROR` among them is what the harness comes to.
        stall: For how many seconds.
        crowded: Seconds of its first ten in which threads waited for cores.
    """
    runs = 0

    def scenario(lab: Lab) -> None:
        nonlocal runs
        runs += 1
        lab.start()
        lab.history.note_stall(time.monotonic(), stall)
        lab.history.crowding[:] = [Crowding(0.0, 10.0, crowded)]
        lab.require("it began", lambda history: history.now() > 0)
        found = findings[runs - 1]
        if found == [ERROR]:
            raise LedAway(ERROR.seen)

        def oracle(history: History) -> list[Finding]:
            return [one for one in found if one != ERROR]

        lab.judge(oracle, no_closing="it is about the machine")
        if ERROR in found:
            raise LedAway(ERROR.seen)

    subject = parse_subject("reference")
    with open_environment(Settings(engine="process"), subject, seed=1) as environment:
        entry = load(CATALOGUE)["TOK-01"]
        return run_scenario(environment, entry, scenario), runs


LATE = Finding("in time", "a late call", rests_on=())
TIMED = Finding("in time", "a late call", 2.0, rests_on=(), missed=3.0, until=8.0)
TOLD = "a late call (promised: in time)"
WRONG = Finding("no wrong value", "a wrong value", harm=True)
ERROR = Finding("the harness works", "leadership was lost")


class LedAway(Exception):
    """What a cluster says of itself that holds an election."""


@pytest.mark.parametrize(
    ("findings", "stall", "word", "runs"),
    [
        ([[LATE], []], 0.25, "pass", 2),
        ([[LATE], [LATE]], 0.25, "fail", 2),
        ([[WRONG], []], 0.25, "fail", 1),
    ],
    ids=["not confirmed", "confirmed", "harm needs no second run"],
)
def test_failure_on_a_busy_machine(
    findings: list[list[Finding]], stall: float, word: str, runs: int
) -> None:
    """It counts if it can be had again with no other scenario beside it; the journal has both."""
    result, ran = _run(findings, stall)
    assert (result.word, ran) == (word, runs), result.trace
    assert result.record.get("slow_machine") == ([TOLD] if runs == 2 else None)


@pytest.mark.parametrize(
    ("crowded", "word", "runs"), [(8.0, "pass", 2), (5.0, "fail", 1)], ids=["crowded", "less so"]
)
def test_late_call_on_a_crowded_machine(crowded: float, word: str, runs: int) -> None:
    """The clockwork was on time, and threads waited for cores while the call went on."""
    result, ran = _run([[TIMED], []], crowded=crowded)
    assert (result.word, ran) == (word, runs), result.trace
    assert result.record.get("slow_machine") == ([TOLD] if runs == 2 else None)


def test_error_after_harm_on_a_crowded_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client had done by then is not forgotten for what the harness could not do."""
    monkeypatch.setattr("vault_harness.scenario.run.seconds_waited_for_cores", time.monotonic)
    result, ran = _run([[WRONG, ERROR], []])
    assert (result.word, ran) == ("error", 1)
    assert result.verdict is not None
    assert result.verdict.word == "fail"


@pytest.mark.parametrize(
    ("waits", "word", "runs"),
    [(1.0, "pass", 2), (0.1, "error", 1), (None, "error", 1)],
    ids=["crowded", "less so", "nobody can tell"],
)
def test_error_on_a_crowded_machine(
    monkeypatch: pytest.MonkeyPatch, waits: float | None, word: str, runs: int
) -> None:
    """An election that ends too late is no defect of the harness, if it ends in time by itself."""

    def waited() -> float | None:
        return None if waits is None else waits * time.monotonic()

    monkeypatch.setattr("vault_harness.scenario.run.seconds_waited_for_cores", waited)
    result, ran = _run([[ERROR], []])
    assert (result.word, ran) == (word, runs), result.trace
    assert result.record.get("slow_machine") == (
        ["LedAway: leadership was lost"] if runs == 2 else None
    )


def test_scenario_of_which_nothing_can_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is wrong on an idle machine too: nobody waits for it twice."""
    monkeypatch.setattr("vault_harness.scenario.run.seconds_waited_for_cores", time.monotonic)
    runs = 0

    def scenario(lab: Lab) -> None:
        nonlocal runs
        runs += 1
        lab.judge(steady=False, no_closing="nobody was started")

    subject = parse_subject("reference")
    with open_environment(Settings(engine="process"), subject, seed=1) as environment:
        result = run_scenario(environment, load(CATALOGUE)["TOK-01"], scenario)
    assert (result.word, runs) == ("error", 1)
    assert "say by lab.require what must have happened" in str(result.error)
