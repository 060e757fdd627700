"""Run a scenario."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vault_harness.errors import HarnessError
from vault_harness.files import encodable
from vault_harness.judge import confirmation
from vault_harness.judge.catalogue import Entry
from vault_harness.judge.environment import Environment
from vault_harness.judge.lab import Lab
from vault_harness.judge.record import leaks_of_others, record_of
from vault_harness.judge.subjects import SubjectSpec
from vault_harness.judge.verdict import (
    TOO_SLOW,
    Finding,
    NotClaimed,
    NotExercised,
    SetAside,
    Verdict,
    Word,
)

PATIENCE = 300.0
"""Seconds after which a waiting scenario goes on without its lock."""

PAUSE = 0.05


@contextmanager
def turn(file: Path | None, *, alone: bool) -> Iterator[None]:
    """Run the block beside other scenarios, or alone.

    `file` is the lock file that the processes of a run share; None for a single process.
    """
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as shared:
        _take(fcntl.LOCK_EX if alone else fcntl.LOCK_SH, shared.fileno())
        yield


@contextmanager
def place(file: Path | None, *, places: int) -> Iterator[None]:
    """Hold one of `places` while the block runs, for work that keeps a core busy, such as starts.

    Too many starts at once would disturb running scenarios, and short secret-ids would expire
    before their use.
    """
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as closing:
        files = [
            closing.enter_context(file.with_name(f"{file.name}-{number}").open("a"))
            for number in range(places)
        ]
        _take(fcntl.LOCK_EX, *(one.fileno() for one in files))
        yield


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take(kind: int, *descriptors: int) -> None:
    """Lock one of several files. A dead process holds no lock."""
    until = time.monotonic() + PATIENCE
    while not any(_try(one, kind) for one in descriptors) and time.monotonic() < until:
        time.sleep(PAUSE)


Scenario = Callable[[Lab], None]

STARTS_PER_CORE = 2

MIN_TTL = "min_ttl"
"""The shortest TTL, in seconds, that a subject's timers allow."""


@dataclass(frozen=True)
class Result:
    """The result of a run of a scenario. Its texts have no secrets.

    Attributes:
        entry: With scaled lives.
        word: ``error`` if the harness failed.
        why: The reason in one line, for any word except ``pass``.
        verdict: None if the oracles were not asked.
    """

    entry: Entry
    word: Word
    why: str
    seconds: float
    verdict: Verdict | None
    record: dict[str, Any]
    error: Exception | None = field(default=None, repr=False)
    trace: str = field(default="", repr=False)


def run_scenario(
    environment: Environment,
    entry: Entry,
    function: Scenario,
    *,
    alone: bool = False,
    make: Callable[..., Lab] = Lab,
) -> Result:
    """Run one scenario once, on its own servers; with `alone`, beside no other. Nothing is raised.

    The result is ``skipped`` if the subject lacks a needed claim, ``not exercised`` if the subject
    does not reach the scenario's beginning, and ``error`` if the harness fails.

    The scenario runs again with longer lives if the subject declares that it needs them
    (``min_ttl``) or starts too slowly. Harm with the shorter lives stays the verdict.
    """
    scaled = _scaled(environment, entry)
    with turn(environment.turns, alone=alone):
        result, longer = _Run(environment, scaled).result(function, make)
        if longer is not None:
            short = result
            again = _Run(environment, scaled.scaled(longer))
            result, _ = again.result(function, make)
            result.record["leaks"] = leaks_of_others(
                result.record["leaks"], {"with shorter lives": short.record["leaks"]}
            )
    return result


def judge_scenario(
    environment: Environment, entry: Entry, function: Scenario, subject: SubjectSpec | None = None
) -> Result:
    """Run a scenario until its verdict is settled; no other scenario runs beside a quiet run."""
    if subject is not None:
        environment = replace(environment, subject=subject)
    results = [run_scenario(environment, entry, function)]
    while confirmation.settled([one.record for one in results]) is None:
        results.append(run_scenario(environment, entry, function, alone=True))
    record = confirmation.told([one.record for one in results])
    return replace(results[-1], word=record["word"], why=record["why"], record=record)


def _scaled(environment: Environment, entry: Entry) -> Entry:
    return entry.stretched(environment.ttl_scale, environment.declared.get(MIN_TTL, 0.0))


class _Run:
    """One run of a scenario with given lives."""

    def __init__(self, environment: Environment, entry: Entry) -> None:
        self.environment = environment
        self.entry = entry
        self.lab: Lab | None = None
        self.began = time.monotonic()

    def result(self, function: Scenario, make: Callable[..., Lab]) -> tuple[Result, float | None]:
        """Return the result, and the factor by which lives must grow for this subject, if any."""
        environment, entry = self.environment, self.entry
        if missing := sorted(
            entry.engine_needs - {str(c) for c in environment.engine.capabilities}
        ):
            name = environment.engine.name
            return self._cannot(f"the {name} engine cannot do this: {', '.join(missing)}"), None
        if entry.needs_postgresql and (lacking := environment.postgresql.lacking()):
            return self._cannot(lacking), None
        folder = Path(tempfile.mkdtemp(prefix=f"{entry.id}-", dir=environment.directory))
        try:
            places = STARTS_PER_CORE * (os.cpu_count() or 1)
            with place(environment.turns, places=places):
                self.began = time.monotonic()  # waiting for other scenarios does not count
                self.lab = lab = make(environment, entry, directory=folder / "lab")
            with lab, environment.watched(lab):
                result = self._carry_out(lab, function)
                longer = _longer(lab, entry)
        except NotClaimed as error:  # its servers are impossible here
            return self._cannot(str(error)), None
        except Exception as error:  # noqa: BLE001 - set-up or undoing may fail
            return self._failed(error), None
        seconds = time.monotonic() - self.began
        result.record["spent"] = lab.spent.told(lab.history.waited, seconds=seconds)
        again = longer > 1.0 and not (result.verdict and _harm(result.verdict))
        return result, longer if again else None

    def _carry_out(self, lab: Lab, function: Scenario) -> Result:
        try:
            try:
                function(lab)
            except NotExercised as error:
                lab.abandon(str(error))
            except NotClaimed as error:
                lab.skip(str(error))
            assert lab.verdict is not None, "a scenario ends with lab.judge(...)"
            if _longer(lab, self.entry) > 1.0:
                leave_the_harm(lab.verdict)
        except Exception as error:  # noqa: BLE001 - reported as the scenario's error
            lab.history.freeze()
            return self._failed(error)
        return self._ended(lab.verdict.word, lab.verdict.why)

    def _cannot(self, why: str) -> Result:
        """Return a skip that this machine causes, not the client's claims."""
        self.lab = None
        result = self._ended("skipped", why)
        result.record["cannot"] = {"why": why, "needs": sorted(self.entry.asks_for)}
        return result

    def _failed(self, error: Exception) -> Result:
        redact = self.lab.secrets.redact if self.lab is not None else encodable
        ours = isinstance(error, HarnessError)
        why = redact(error.in_a_line if isinstance(error, HarnessError) else _words(error))
        trace = redact(str(error) if ours else "".join(traceback.format_exception(error)))
        result = self._ended("error", why)
        result.record["trace"] = trace
        return replace(result, error=error, trace=trace)

    def _ended(self, word: Word, why: str) -> Result:
        seconds = time.monotonic() - self.began
        record = record_of(self.environment, self.entry, self.lab, word=word, why=why)
        record |= {"seconds": round(seconds, 2), "trace": "", "too_slow": self._too_slow(record)}
        verdict = self.lab.verdict if self.lab is not None else None
        return Result(self.entry, word, record["why"], seconds, verdict, record)

    def _too_slow(self, record: dict[str, Any]) -> str:
        """Return why this run does not count. Stalls before the steady state do not matter."""
        word, untouched, lab = record["word"], record["untouched"], self.lab
        slow = bool(untouched) and all(one.startswith(TOO_SLOW) for one in untouched)
        if word == "not exercised" and slow:
            return str(untouched[0])
        clock = self.began if lab is None else lab.history.started
        steady = 0.0 if lab is None else lab.steady_since
        machine = self.environment.witness.seen(clock + steady, time.monotonic(), clock=clock)
        times = self.entry if lab is None else lab
        return confirmation.too_slow(
            machine,
            bound=min(times.deadline, times.ttl / 4) / 2,
            word=word,
            findings=record["findings"],
        )


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _longer(lab: Lab, entry: Entry) -> float:
    """Return the factor by which lives must grow; 1 or less if they need not."""
    least = lab.declared_or_none(MIN_TTL) or 0.0
    return max(least / entry.shortest_life, lab.wanted_ttl / entry.ttl)


def leave_the_harm(verdict: Verdict) -> None:
    """Keep only the harm: lives that were too short may explain all other findings."""
    if harm := _harm(verdict):
        rest = [finding for finding in verdict.findings if finding not in harm]
        verdict.set_aside += [SetAside(one, "its lives were shorter than it needs") for one in rest]
        verdict.findings = harm


def _harm(verdict: Verdict) -> list[Finding]:
    return [finding for finding in verdict.findings if finding.harm]
