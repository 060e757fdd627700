"""Run one life of a client under a schedule."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vault_harness.judge.catalogue import Entry
from vault_harness.judge.environment import Environment
from vault_harness.judge.explore.acting import Player
from vault_harness.judge.explore.budgets import asked, measured, revokes
from vault_harness.judge.explore.points import Point
from vault_harness.judge.explore.schedule import Baseline, Schedule
from vault_harness.judge.explore.shared import SharedVault, WarmLab
from vault_harness.judge.lab import Lab
from vault_harness.judge.run import run_scenario
from vault_harness.judge.verdict import BEFORE_ANY_FAULT, Finding, NotExercised
from vault_harness.recorder.fault import RequestKind

LIVES = 1.5
"""Token lives for which a client is watched without a fault."""

EVERY = 0.4
"""Seconds between two reads of the main secret."""

SELDOM = 0.8
"""Seconds between two other calls."""

FAR = 600.0
"""Seconds of a max TTL that no run reaches."""

CALM = 1.5
"""Seconds for which a client is watched after its recovery."""

PAST = 0.8
"""Seconds after a token's end. A token that nobody renewed is then dead."""

NEVER_MISSING = "what is there is never called missing or deleted"
"""A fault itself breaks this if it answers 404 for a secret."""

STARTS_AGAIN = "it starts again once the faults are over"

_NUMBERS = re.compile(r"\d[\d.]*")


@dataclass(frozen=True)
class Order:
    """A requested run, as plain data. `number` is unique among the runs that share a server."""

    number: int
    schedule: Schedule


@dataclass(frozen=True)
class Seen:
    """The result of one run.

    Attributes:
        word: ``pass``, ``fail``, ``not exercised``, ``skipped`` or ``error``.
        findings: Pairs of the promise without numbers, for comparison, and the finding in words.
        unprompted: Promises that it broke before any fault, without numbers.
        later: The points after the last step.
        too_slow: Why the run does not count; empty if it does.
        record: What a journal has of the run; None if it broke no promise.
        cpu: Seconds, with those of child processes.
    """

    word: str
    why: str = ""
    findings: tuple[tuple[str, str], ...] = ()
    unprompted: frozenset[str] = frozenset()
    begun: int = 0
    points: tuple[Point, ...] = ()
    later: tuple[Point, ...] = ()
    signature: tuple[object, ...] = ()
    baseline: Baseline | None = None
    too_slow: str = ""
    record: Mapping[str, Any] | None = None
    cpu: float = 0.0
    seconds: float = 0.0

    @property
    def promises(self) -> frozenset[str]:
        return frozenset(promise for promise, _ in self.findings)


def entry_of(order: Order) -> Entry:
    entry = Entry(
        id="EXPLORE-01",
        promise="It survives a schedule of faults",
        severity="high",
        source="explore",
        ttl=order.schedule.ttl,
        max_ttl=order.schedule.max_ttl or FAR,
        ids="files",
        direct=not order.schedule.by_network,
    )
    return entry.model_copy(update={"id": f"EXPLORE-{order.number}"})


def live(environment: Environment, order: Order, shared: SharedVault | None) -> Seen:
    entry = entry_of(order)
    if order.schedule.own_server:
        shared = None
    if shared is not None:
        entry = shared.entry(entry)
    life = _Life(order)

    def make(environment: Environment, entry: Entry, *, directory: Path) -> Lab:
        return WarmLab(environment, entry, shared, directory=directory)

    result = run_scenario(environment, entry, life.scenario, make=make)
    record: dict[str, Any] = result.record
    findings = tuple(
        (_plain(one["promise"]), f"{one['seen']} (promised: {one['promise']})")
        for one in (*record["findings"], *record["leaks"])
        if result.error is None and not _is_told(order.schedule, one["promise"])
    )
    unprompted = [one["finding"] for one in record["set_aside"] if one["why"] == BEFORE_ANY_FAULT]
    return Seen(
        word=_word(result.word, findings),
        why=result.why if result.error is None else result.trace or result.why,
        findings=findings,
        unprompted=frozenset(_plain(one["promise"]) for one in unprompted),
        begun=life.begun,
        points=tuple(life.points),
        later=tuple(life.later),
        signature=(*life.signature, *sorted({promise for promise, _ in findings})),
        baseline=life.baseline,
        too_slow=record["too_slow"],
        record=record if findings else None,
        seconds=result.seconds,
    )


def _plain(promise: str) -> str:
    """Return a promise without numbers, which differ between runs."""
    return _NUMBERS.sub("#", promise)


def _word(word: str, findings: Sequence[tuple[str, str]]) -> str:
    """Return a run's word: a leak fails it, a promise that the fault itself broke does not."""
    if word in ("pass", "fail"):
        return "fail" if findings else "pass"
    return word


def _is_told(schedule: Schedule, promise: str) -> bool:
    lies = any(step.fault == "404" for step in schedule.steps)
    return lies and promise == NEVER_MISSING


def survives(lab: Lab, schedule: Schedule) -> None:
    _Life(Order(0, schedule)).scenario(lab)


class _Life:
    def __init__(self, order: Order) -> None:
        self._order = order
        self.begun = 0
        self.points: list[Point] = []
        self.later: list[Point] = []
        self.signature: tuple[object, ...] = ()
        self.baseline: Baseline | None = None

    def scenario(self, lab: Lab) -> None:
        player = Player(lab, self._order.schedule)
        lab.require("the client lived", lambda _: True)
        try:
            with player.installed():
                self._live(lab, player)
        finally:
            self._note(lab, player)

    def _live(self, lab: Lab, player: Player) -> None:
        self._start(lab, player)
        with ExitStack() as reading:
            ways = [way for way in ("read_cached", "read_all") if _can(lab, way)]
            reading.enter_context(lab.reading(every=EVERY))
            reading.enter_context(
                lab.reading(every=SELDOM, path=lab.entry.spare_path, key=lab.entry.spare_key)
            )
            for way in ways:
                reading.enter_context(lab.reading(every=SELDOM, verb=way))  # type: ignore[arg-type] # a way
            self._watch(lab, player)
        self.baseline = measured(lab.history, since=lab.steady_since)
        faults = list(player.faults)
        lab.judge(*asked(lab, self._order.schedule, faults))

    def _start(self, lab: Lab, player: Player) -> None:
        """Start the client, and again if it gave up during a fault, as a supervisor would."""
        try:
            lab.start()
        except NotExercised as error:
            if not player.begun:
                raise
            lab.until(lambda: player.over, within=10.0)
            lab.history.mark(f"started again: {error}")
            since = lab.history.now()
            try:
                lab.start()
            except NotExercised as again:
                lab.note(Finding(STARTS_AGAIN, str(again), since, rests_on=()))
                raise

    def _watch(self, lab: Lab, player: Player) -> None:
        history, began = lab.history, lab.history.now()
        closing = [a for a in player.acts if a.step.point.phase == "closing"]
        span = LIVES * lab.ttl
        if self._order.schedule.max_ttl:
            span = lab.entry.max_ttl + CALM
        if len(closing) == len(player.acts):
            lab.watch(span if not closing else CALM)
            return
        acts = [act for act in player.acts if act not in closing]
        reached = lab.until(lambda: all(act.fired is not None for act in acts), within=span)
        if not reached:
            return
        lab.until(lambda: all(act.ended for act in acts), within=60.0)
        since = max(fault.end for fault in player.faults if fault.ended is not None)
        within = max(lab.recovery_after(fault) for fault in player.faults if fault.ended)
        lab.until(lambda: any(o.good for o in history.calls("read", since=since)), within=within)
        lab.watch(CALM)
        if all(act.step.point.kind == "read" and not act.step.lasts for act in acts):
            return  # the fault met no renewal and no login
        # Damage to the thread that keeps the token shows only when the token of that time ends.
        capped = self._order.schedule.max_ttl
        replacing: tuple[RequestKind, ...] = ("login",) if capped else ("login", "renew")
        grants = [e for e in history.find(*replacing) if e.good and e.ttl]
        before = [e for e in grants if e.began <= since]
        if not before:
            return
        life = lab.entry.max_ttl if capped else before[-1].ttl or 0.0
        end = (before[-1].ended or 0.0) + life + PAST
        lab.until(
            lambda: any(e.began > since and e.good for e in history.find(*replacing)),
            within=max(0.0, min(end, began + 3 * lab.ttl) - history.now()),
        )

    def _note(self, lab: Lab, player: Player) -> None:
        self.begun = player.begun
        if self.baseline is not None:
            self.baseline = replace(self.baseline, revokes=revokes(lab.history))
        numbers = sorted(player.watch.points)
        self.points = [player.watch.points[number] for number in numbers]
        fired = max((act.fired for act in player.acts if act.fired is not None), default=0.0)
        began = {e.number: e.began for e in lab.history.exchanges}
        self.later = [player.watch.points[n] for n in numbers if began.get(n, 0.0) > fired]
        self.signature = signature(lab)


def _can(lab: Lab, way: str) -> bool:
    return lab.can("cached" if way == "read_cached" else way)


def signature(lab: Lab) -> tuple[object, ...]:
    """Return the events of a run, without what differs between two equal runs."""
    generations: dict[str, int] = {}
    last: dict[str, float] = {}
    found: list[tuple[object, ...]] = []
    for exchange in lab.history.exchanges:
        token = generations.setdefault(exchange.token or "", len(generations))
        outcome = exchange.status if exchange.closed is None else exchange.closed
        gap: object = ""
        if exchange.kind != "read":
            gap = _rounded(exchange.began - last.get(exchange.kind, -math.inf))
            last[exchange.kind] = exchange.began
        one = (exchange.kind, outcome, token, gap)
        if not found or found[-1] != one:
            found.append(one)
    return tuple(found)


def _rounded(gap: float) -> str:
    """Return a gap as a word, since two equal runs differ by milliseconds."""
    for word, most in (("at once", 0.1), ("soon", 1.0), ("later", 4.0)):
        if gap < most:
            return word
    return ""
