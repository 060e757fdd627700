"""A busy machine: what fails then is tried again before it is said of a client."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vault_harness.scenario import Lab, Result, open_environment, run_scenario
from vault_harness.scenario.catalogue import load
from vault_harness.scenario.history import History
from vault_harness.scenario.verdict import Finding
from vault_harness.settings import Settings
from vault_harness.subjects import parse_subject

CATALOGUE = Path(__file__).parents[3] / "scenarios" / "catalogue.toml"

# A subject's own carelessness is no error of these tests.
pytestmark = pytest.mark.filterwarnings("ignore")


def _run(findings: list[list[Finding]], stall: float) -> tuple[Result, int]:
    """A scenario that finds what it is told in its n-th run, on a machine that stands still."""
    runs = 0

    def scenario(lab: Lab) -> None:
        nonlocal runs
        runs += 1
        lab.start()
        lab.history.note_stall(time.monotonic(), stall)
        lab.require("it began", lambda history: history.now() > 0)
        found = findings[runs - 1]

        def oracle(history: History) -> list[Finding]:
            return found

        lab.judge(oracle, no_closing="it is about the machine")

    subject = parse_subject("reference")
    with open_environment(Settings(engine="process"), subject, seed=1) as environment:
        entry = load(CATALOGUE)["TOK-01"]
        return run_scenario(environment, entry, scenario), runs


LATE = Finding("in time", "a late call", rests_on=())
WRONG = Finding("no wrong value", "a wrong value", harm=True)


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
    assert result.record.get("slow_machine") == (["a late call"] if runs == 2 else None)
