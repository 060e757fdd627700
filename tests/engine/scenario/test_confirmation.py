"""Clients on a busy machine: it gives no client more time, and fails none."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.conftest import scenarios
from vault_harness.judge.catalogue import load
from vault_harness.judge.environment import Environment, open_environment
from vault_harness.judge.lab import Lab
from vault_harness.judge.run import Result, judge_scenario, run_scenario
from vault_harness.judge.subjects import parse_subject
from vault_harness.judge.verdict import TOO_SLOW, Finding
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Stall
from vault_harness.recorder.witness import Machine
from vault_harness.settings import Settings

CATALOGUE = load(Path(__file__).parents[3] / "scenarios" / "catalogue.toml")
CLIENTS = "python:tests.subjects.busy_clients:"
PROCESS = f"command:{sys.executable} -m vault_harness.judge.subjects {CLIENTS}"

# Errors of a subject are not errors of these tests.
pytestmark = pytest.mark.filterwarnings("ignore")

HOG = "import os\nparent = {parent}\nwhile os.getppid() == parent:\n    sum(range(1000000))\n"


@contextlib.contextmanager
def hogs(per_core: int, *, on_one_core: bool = True) -> Iterator[None]:
    """Run the block with busy programs on one core, or on all of them."""
    before = os.sched_getaffinity(0)
    program = HOG.format(parent=os.getpid())
    with contextlib.ExitStack() as ending:
        ending.callback(os.sched_setaffinity, 0, before)
        if on_one_core:
            os.sched_setaffinity(0, {max(before)})
        for _ in range(per_core * len(os.sched_getaffinity(0))):
            process = subprocess.Popen([sys.executable, "-c", program])
            ending.callback(process.wait)
            ending.callback(process.kill)
        yield


@contextlib.contextmanager
def environment(subject: str) -> Iterator[Environment]:
    settings = Settings(engine="process")
    with open_environment(settings, parse_subject(subject), seed=1) as opened:
        yield opened


def judged(scenario: str, subject: str, run: Callable[..., Result] = judge_scenario) -> Result:
    with environment(subject) as opened:
        return run(opened, CATALOGUE[scenario], scenarios()[scenario])


@pytest.mark.slow
def test_client_that_holds_its_interpreter() -> None:
    """It fails: the clock is in another process."""
    result = judged("SEA-01", f"{CLIENTS}HoldsItsInterpreter")
    assert result.word == "fail", result.why
    assert any("every call ends" in found["promise"] for found in result.record["findings"]), (
        result.record["findings"]
    )
    assert len(result.record["confirmation"]) == 2


@pytest.mark.slow
def test_renewal_that_is_late_on_a_busy_machine() -> None:
    """It fails on a busy machine too: no bound grows."""
    with hogs(3):
        result = judged("TOK-01", f"{CLIENTS}RenewsLate", run_scenario)
    assert result.word == "fail", result.why
    assert any("0.9" in found["promise"] for found in result.record["findings"])


@pytest.mark.slow
def test_client_that_spins_where_no_core_is_free() -> None:
    """It never passes."""
    with hogs(15):
        result = judged("SEA-09", f"{PROCESS}Spins", run_scenario)
    assert result.word in ("fail", "not exercised"), result.why
    if result.word == "not exercised":
        assert result.record["too_slow"], result.why


@pytest.mark.slow
def test_correct_client_with_the_cores_kept_busy() -> None:
    with hogs(4, on_one_core=False):
        result = judged("TOK-12", f"{CLIENTS}AsyncClient")
    assert result.word in ("pass", "not exercised"), result.why
    if result.word == "not exercised":
        assert result.why.startswith(TOO_SLOW)


# Verdicts by the findings of each run


class Told:
    """A witness with a fixed answer."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def seen(self, *_: float, **__: float) -> Machine:
        return self._machine


class LedAway(Exception):
    """What a cluster answers during an election."""


LATE = Finding("in time", "a late call", rests_on=())
WRONG = Finding("no wrong value", "a wrong value", harm=True)
ERROR = Finding("the harness works", "leadership was lost")


def run(findings: list[list[Finding]], machine: Machine = Machine()) -> tuple[Result, int]:  # noqa: B008 - it is frozen
    """Judge a scenario with given findings; return the result and the number of runs.

    `findings` has a list for each run; an `ERROR` in it makes the harness fail. `machine` is what
    the witness saw in each run.
    """
    runs = 0

    def scenario(lab: Lab) -> None:
        nonlocal runs
        runs += 1
        found = findings[min(runs, len(findings)) - 1]
        if found == [ERROR]:
            raise LedAway(ERROR.seen)
        lab.start()
        lab.require("it began", lambda history: history.now() > 0)

        def oracle(_: History) -> list[Finding]:
            return [one for one in found if one != ERROR]

        lab.judge(oracle, no_closing="it is about the machine")
        if ERROR in found:
            raise LedAway(ERROR.seen)

    with environment("reference") as opened:
        witness: Any = Told(machine)
        entry = CATALOGUE["TOK-01"]
        return judge_scenario(replace(opened, witness=witness), entry, scenario), runs


@pytest.mark.parametrize(
    ("findings", "word", "runs"),
    [
        ([[LATE], [], [LATE]], "flaky", 3),
        ([[ERROR], [ERROR]], "error", 2),
        ([[WRONG, ERROR], []], "error", 1),
    ],
    ids=["now and then", "an error of the harness", "harm before an error"],
)
def test_verdict_of_several_runs(findings: list[list[Finding]], word: str, runs: int) -> None:
    """A failure counts once a quiet run confirms it."""
    result, ran = run(findings)
    assert (result.word, ran) == (word, runs), result.trace


def test_machine_that_is_too_slow() -> None:
    """After three quiet runs on a slow machine the verdict is "not exercised"."""
    result, ran = run([[LATE]], Machine([Stall(0.0, 9.0)]))
    assert (result.word, ran) == ("not exercised", 4)
    assert result.why.startswith(f"{TOO_SLOW}: it stood still for 9.00 s")
    assert "set aside for it: a late call (promised: in time)" in result.why
