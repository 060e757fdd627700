"""Running a scenario: the one way, for the plugin, for tests and for whoever has many to run."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vault_harness.errors import HarnessError, ScenarioDefect
from vault_harness.files import encodable
from vault_harness.scenario._heartbeat import seconds_waited_for_cores
from vault_harness.scenario._turns import place, turn
from vault_harness.scenario.catalogue import Entry
from vault_harness.scenario.environment import Environment
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.oracles import STAYS_ALIVE
from vault_harness.scenario.record import leaks_of_others, record_of
from vault_harness.scenario.verdict import (
    TOO_SLOW,
    Finding,
    NotClaimed,
    NotExercised,
    SetAside,
    Verdict,
    Word,
)
from vault_harness.subjects import SubjectSpec

Scenario = Callable[[Lab], None]
"""A scenario's function: ends with `Lab.judge`."""

TRIES_OF_A_SLOW_MACHINE = 2
"""How many times more a scenario is run in which the machine stood still for too long."""

CROWDED = 0.5
"""The part of the time that threads waited for cores, from which an error is doubted."""

STARTS_PER_CORE = 2
"""How many scenarios of a run start their servers at once, for each core."""

MIN_TTL = "min_ttl"
"""The declaration of the shortest TTL, in seconds, that a subject's timers are made for."""


@dataclass(frozen=True)
class Result:
    """What a run of a scenario came to.

    Attributes:
        entry: The scenario's data, with lives scaled as they were.
        word: ``pass``, ``fail``, ``not exercised``, ``skipped``; ``error`` if the harness failed.
        why: The reason in one line without secrets, for any word but ``pass``.
        seconds: How long it took.
        verdict: What the oracles said; None if they were not asked.
        record: All that happened, as data without secrets: a part of the journal.
        error: What the harness failed with.
        trace: Its traceback, without secrets.
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
    subject: SubjectSpec | None = None,
    rank: int = 0,
) -> Result:
    """Run one scenario, on servers of its own, to its result.

    Nothing that happens in it is raised: a subject that does not claim what it asks for makes
    ``skipped``, one that cannot be brought to where it begins ``not exercised``, and whatever goes
    wrong in the harness ``error``.

    Lives are scaled by the environment's `ttl_scale`, and further where the subject declares
    (``min_ttl``) that its timers are made for longer ones, or takes longer for its start than the
    scenario has time for: that is then run anew with them. But for harm that it did by then: what
    has come out, or was handed out wrongly, was so in short lives too, and is its verdict.
    It is run anew, too, and without others beside it, where nothing but the machine's own slowness
    kept it from a verdict; and once more where it failed on a busy machine without doing harm, or
    where the harness did: the failure counts if it can be had without that load. Secrets that came
    out in a run before the last one are kept with it.

    Args:
        environment: What scenarios share.
        entry: The scenario's data.
        function: The scenario itself.
        subject: Which client is tested; the environment's by default.
        rank: Its place among the scenarios of a run, for whose servers start first.
    """
    if subject is not None:
        environment = replace(environment, subject=subject)
    scaled = _scaled(environment, entry)
    crowd = _Crowd()
    before: list[Result] = []
    with turn(environment.turns, alone=False):
        result, longer = _run(environment, scaled, function, rank)
        if longer is not None:
            before.append(result)
            scaled = scaled.scaled(longer)
            result, _ = _run(environment, scaled, function, rank)
    again: list[str] = []
    while _to_be_repeated(result, len(again), crowd):
        before.append(result)
        again.append(_why_in_full(result))
        with turn(environment.turns, alone=True):
            result, _ = _run(environment, scaled, function, rank)
    if again:
        result.record["slow_machine"] = again
        result = _with_what_was_set_aside(result, before[-len(again) :])
    result.record["leaks"] = leaks_of_others(
        result.record["leaks"],
        {f"in try {number}": one.record["leaks"] for number, one in enumerate(before, 1)},
    )
    return result


class _Crowd:
    """For how long threads of this machine waited for cores, since this was made."""

    def __init__(self) -> None:
        self._began, self._waited = time.monotonic(), seconds_waited_for_cores()

    def took(self, part: float) -> bool:
        """Whether some thread waited for that part of the time; never where nobody can tell."""
        waited = seconds_waited_for_cores()
        if waited is None or self._waited is None:
            return False
        return waited - self._waited > part * (time.monotonic() - self._began)


def _to_be_repeated(result: Result, repeated: int, crowd: _Crowd) -> bool:
    """Whether the machine, rather than client or harness, may have made this of it."""
    verdict = result.verdict
    failed = verdict is not None and verdict.word == "fail" and not verdict.in_doubt
    if result.word == "error":
        # What waits with a deadline waits in vain there: for an election, for a server to answer.
        # What the client had done by then is not forgotten for it.
        ours = isinstance(result.error, ScenarioDefect)  # it is wrong on an idle machine too
        return repeated == 0 and not failed and not ours and crowd.took(CROWDED)
    if verdict is None:
        return False
    if verdict.too_slow:
        return repeated < TRIES_OF_A_SLOW_MACHINE
    return verdict.in_doubt and repeated == 0


def _why_in_full(result: Result) -> str:
    """The reason of a result, of one that fails with the promise that was not kept."""
    findings = result.record["findings"] if result.word == "fail" else ()
    return next((f"{one['seen']} (promised: {one['promise']})" for one in findings), result.why)


def _with_what_was_set_aside(result: Result, before: Sequence[Result]) -> Result:
    """A result that proves nothing, with what tries before it failed for: nobody else tells that.

    A machine that was too slow for the last try too says nothing of whether that was the client's.
    """
    failed = [_why_in_full(one) for one in before if one.word == "fail"]
    if result.word != "not exercised" or not failed:
        return result
    told = [f"{TOO_SLOW}: set aside from a try before this one: {text}" for text in failed]
    why = "; ".join([result.why, *told])
    result.record["untouched"] = [*result.record["untouched"], *told]
    result.record["why"] = why
    return replace(result, why=why)


def _scaled(environment: Environment, entry: Entry) -> Entry:
    return entry.stretched(environment.ttl_scale, environment.declared.get(MIN_TTL, 0.0))


def _run(
    environment: Environment, entry: Entry, function: Scenario, rank: int
) -> tuple[Result, float | None]:
    """The result, and by how much lives have to be longer for this subject, if by any."""
    began = time.monotonic()
    if missing := sorted(entry.engine_needs - {str(c) for c in environment.engine.capabilities}):
        why = f"the {environment.engine.name} engine cannot do this: {', '.join(missing)}"
        return _cannot(environment, entry, why, began), None
    if entry.needs_postgresql and (lacking := environment.postgresql.lacking()):
        return _cannot(environment, entry, lacking, began), None
    folder = Path(tempfile.mkdtemp(prefix=f"{entry.id}-", dir=environment.directory))
    lab: Lab | None = None
    try:
        places = STARTS_PER_CORE * (os.cpu_count() or 1)
        with place(environment.turns, places=places, rank=rank):
            began = time.monotonic()  # what it waits for others is no time of its own
            lab = Lab(environment, entry, directory=folder / "lab")
        with lab, environment.watched(lab):
            result = _carry_out(environment, entry, lab, function, began)
            longer = _longer(lab, entry)
    except NotClaimed as error:  # of its servers: they cannot do it
        return _cannot(environment, entry, str(error), began), None
    except Exception as error:  # noqa: BLE001 - it may not set up, or not undo what it did
        return _failed(environment, entry, lab, error, began), None
    result.record["spent"] = lab.spent.told(lab.history.waited, seconds=time.monotonic() - began)
    again = longer > 1.0 and not (result.verdict and _harm(result.verdict))
    return result, longer if again else None


def _longer(lab: Lab, entry: Entry) -> float:
    """By how much lives have to be longer for this subject; 1 at most if they need not be."""
    least = lab.declared_or_none(MIN_TTL) or 0.0
    return max(least / entry.shortest_life, lab.wanted_ttl / entry.ttl)


def leave_the_harm(verdict: Verdict) -> None:
    """Leave of a verdict on too short lives the harm alone, if there is any.

    All else may have come of them: how late a renewal was, and that a program has ended for them.
    """
    if harm := _harm(verdict):
        rest = [finding for finding in verdict.findings if finding not in harm]
        verdict.set_aside += [SetAside(one, "its lives were shorter than it needs") for one in rest]
        verdict.findings = harm


def _harm(verdict: Verdict) -> list[Finding]:
    """The harm that no short life explains."""
    return [one for one in verdict.findings if one.harm and one.promise != STAYS_ALIVE]


def _carry_out(
    environment: Environment, entry: Entry, lab: Lab, function: Scenario, began: float
) -> Result:
    try:
        try:
            function(lab)
        except NotExercised as error:
            lab.abandon(str(error))
        except NotClaimed as error:
            lab.skip(str(error))
        assert lab.verdict is not None, "a scenario ends with lab.judge(...)"
        if _longer(lab, entry) > 1.0:
            leave_the_harm(lab.verdict)
    except Exception as error:  # noqa: BLE001 - told as what it is
        lab.history.freeze()
        return _failed(environment, entry, lab, error, began)
    return _result(environment, entry, lab, lab.verdict.word, lab.verdict.why, began)


def _cannot(environment: Environment, entry: Entry, why: str, began: float) -> Result:
    """A skip that is not for the client's claims: here nobody can be asked."""
    result = _result(environment, entry, None, "skipped", why, began)
    result.record["cannot"] = {"why": why, "needs": sorted(entry.asks_for)}
    return result


def _failed(
    environment: Environment, entry: Entry, lab: Lab | None, error: Exception, began: float
) -> Result:
    redact = lab.secrets.redact if lab is not None else encodable
    ours = isinstance(error, HarnessError)
    why = redact(error.in_a_line if isinstance(error, HarnessError) else _words(error))
    trace = redact(str(error) if ours else "".join(traceback.format_exception(error)))
    result = _result(environment, entry, lab, "error", why, began)
    return replace(result, error=error, trace=trace)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _result(
    environment: Environment, entry: Entry, lab: Lab | None, word: Word, why: str, began: float
) -> Result:
    seconds = time.monotonic() - began
    record = record_of(environment, entry, lab, word=word, why=why, seconds=seconds)
    verdict = lab.verdict if lab is not None else None
    return Result(entry, word, record["why"], seconds, verdict, record)
