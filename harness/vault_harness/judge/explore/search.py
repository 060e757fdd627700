"""Observe, try each fault at each point, follow new traces, and repeat each finding.

Only findings that repeat in `TIMES` runs with few runs beside them are reported.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field, replace
from typing import Any

from vault_harness.errors import SubjectError
from vault_harness.judge.explore.life import Order, Seen
from vault_harness.judge.explore.passed import Passed
from vault_harness.judge.explore.points import AFTER, ORDINALS, Point
from vault_harness.judge.explore.schedule import Baseline, Schedule, Step, possible

TIMES = 3
"""Runs that must all show a finding; also fault-free lives to observe."""

SLOW_RUNS = 3
"""Repetitions of a run if the machine was too slow, or a server did not answer."""

FOR_CONFIRMING = 0.4
"""Part of the time that is kept for confirmations."""

CAP = 1.5
"""Max TTL of the lives in which it is reached, in token lives."""

WITH_TIME = 2.0
"""Times the usual life if a renewal fails, so that another try is due before the token ends."""

LONGER = (3, 4)
"""Steps of a schedule that is drawn, at least and at most."""

BUSY = 0.8
"""The share of all cores that runs side by side may use."""

CALM = 0.3
"""The same for runs that confirm a finding."""

OWN = 0.01
"""The cores that one run uses in the shared servers, which are not measured with it."""

BY_ITSELF = 0.1
"""The share of lives in which a client breaks a promise before any fault, so that three runs may
break it by chance."""

PASSES = 3
"""Schedules of a group that are tried: the first may have broken by chance."""

Run = Callable[[Order], Seen]


@dataclass(frozen=True)
class Options:
    """The options of a search.

    Attributes:
        only: Names of faults, kinds of requests and phases; empty means all.
        shard: The part, from 1, and the number of parts.
        minutes: For the whole search; None for no limit.
        at_once: Runs beside each other, at most.
        cores: Cores that all runs share; None if `at_once` holds however busy they are.
        quiet: Runs beside each other when a finding is confirmed, at least.
    """

    seed: int = 0
    only: frozenset[str] = frozenset()
    shard: tuple[int, int] = (1, 1)
    minutes: float | None = None
    at_once: int = 8
    cores: int | None = None
    quiet: int = 2
    pairs: bool = True
    ttl: float = 8.0
    before: tuple[Schedule, ...] = ()


@dataclass
class Broken:
    """A confirmed schedule that breaks the client.

    Attributes:
        without: For each step, in how many of `TIMES` runs the promise broke without it.
        also: Others that broke the same promise; they are not confirmed one by one.
    """

    schedule: Schedule
    promise: str
    seen: str
    repeats: int = TIMES
    without: tuple[int, ...] = ()
    also: list[Schedule] = field(default_factory=list)
    record: Mapping[str, Any] | None = None


Suspects = tuple[tuple[str, str, str], list[tuple[Schedule, str]]]


def _broke(promise: str, ran: Sequence[Seen]) -> bool:
    return bool(ran) and all(promise in one.promises for one in ran)


def _alike(told: Schedule, other: Schedule) -> bool:
    """Return whether one cause most likely explains why both schedules break a promise.

    Both end with the same fault, or at the same kind of request in the same phase, or the second
    one only adds steps. What a client breaks without faults, it breaks with them too.
    """
    if not told.steps or not other.steps:
        return not told.steps and bool(other.max_ttl) >= bool(told.max_ttl)
    last, its = told.steps[-1], other.steps[-1]
    return (
        last.fault == its.fault
        or _place(last.point) == _place(its.point)
        or set(told.steps) <= set(other.steps)
    )


def _group(schedule: Schedule, promise: str) -> tuple[str, str, str]:
    if not schedule.steps:
        return promise, "", "near max TTL" if schedule.max_ttl else ""
    point = schedule.steps[-1].point
    return promise, point.kind, point.phase


@dataclass
class Coverage:
    """The tried part of all possible faults.

    Attributes:
        cells: Single faults that the observed points allow.
        unprompted: Promises that the client often broke before any fault, and no finding.
        failed: Runs that could not be judged, with the reasons.
    """

    points: tuple[Point, ...] = ()
    cells: int = 0
    tried: int = 0
    reached: int = 0
    without_effect: int = 0
    pairs: int = 0
    pairs_tried: int = 0
    longer_tried: int = 0
    runs: int = 0
    cpu: float = 0.0
    seconds: float = 0.0
    unsettled: list[str] = field(default_factory=list)
    unprompted: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Explorer:
    """Searches for schedules that break one client.

    Args:
        run: A module's function, so that an executor can pass it on.
        passed: Where runs that pass are kept, for the case that the search is interrupted.
    """

    def __init__(
        self,
        run: Run,
        executor: Executor,
        options: Options,
        tell: Callable[[str], None],
        passed: Passed | None = None,
    ) -> None:
        self.broken: list[Broken] = []
        self.coverage = Coverage()
        self._run = run
        self._executor = executor
        self._options = options
        self._tell = tell
        self._passed = passed
        self._random = random.Random(options.seed)  # noqa: S311 - an order, no secret
        self._numbers = itertools.count(1)
        self._began = time.monotonic()
        self._told = self._began
        self._baselines: dict[float, Baseline] = {}
        self._calm: list[Seen] = []
        self._firsts: list[Schedule] = []
        self._after: dict[Step, None] = {}
        self._suspected: dict[tuple[str, str, str], list[tuple[Schedule, str]]] = {}
        self._signatures: set[tuple[object, ...]] = set()
        self._followed: set[tuple[Point, Point]] = set()
        self._records: dict[Schedule, Mapping[str, Any] | None] = {}
        self._lives: Counter[bool] = Counter()
        self._unprompted: Counter[tuple[str, bool]] = Counter()
        self._at_once = options.at_once
        self._quiet = options.quiet

    def search(self) -> None:
        cells = self._observe()
        if self._passed:
            self._tell(f"{len(self._passed)} runs of an interrupted search are not repeated")
        if known := self._options.before:
            self._tell(f"{len(known)} schedules that were found before come first")
            for _ in self._try(known, "found before"):
                pass
        following: list[Schedule] = []
        for schedule, seen in self._try(cells, "single faults"):
            self.coverage.tried += 1
            self.coverage.reached += bool(seen.begun)
            self.coverage.without_effect += bool(seen.begun) and seen.word == "not exercised"
            following += self._follow(schedule, seen)
        self._confirm_all()
        self.coverage.pairs = len(following)
        if self._options.pairs and following and not self._is_late(1.0 - FOR_CONFIRMING):
            self._random.shuffle(following)
            for _ in self._try(following, "pairs"):
                self.coverage.pairs_tried += 1
            self._confirm_all()
        if self._options.pairs and self._options.minutes is not None:
            self._search_longer()
        self._settle_coverage()

    def _search_longer(self) -> None:
        while self._firsts and self._after and not self._is_late(1.0 - FOR_CONFIRMING):
            drawn = {self._draw(): None for _ in range(4 * self._at_once)}
            for _ in self._try(list(drawn), "longer schedules"):
                self.coverage.longer_tried += 1
        self._confirm_all()

    def _draw(self) -> Schedule:
        """Return a schedule that begins with a harmless fault, and goes on at later points."""
        first = self._random.choice(self._firsts)
        count = self._random.randint(*LONGER) - 1
        later = self._random.sample(list(self._after), min(count, len(self._after)))
        later.sort(key=lambda step: step.point.phase == "closing")
        return replace(first, steps=(*first.steps, *later))

    def _settle_coverage(self) -> None:
        self.coverage.seconds = time.monotonic() - self._began
        self.coverage.unsettled = [
            f"{promise} at {kind}, {phase}" if kind else f"{promise} without a fault"
            for promise, kind, phase in self._suspected
        ]
        told = {one.promise for one in self.broken if not one.schedule.steps}
        self.coverage.unprompted = [
            promise
            for promise in sorted({promise for promise, _ in self._unprompted} - told)
            if any(self._often_breaks(promise, capped) for capped in (False, True))
        ]

    def _observe(self) -> list[Schedule]:
        """Watch fault-free lives, and return the single faults that they allow."""
        ttl = self._options.ttl
        calm, capped = Schedule((), ttl=ttl), Schedule((), ttl=ttl, max_ttl=CAP * ttl)
        lives = list(self._each([calm] * TIMES + [capped], self._options.quiet))
        for _, seen in lives:
            if seen.word in ("error", "not exercised", "skipped"):
                raise SubjectError(
                    f"the client does not live through a time without faults: {seen.why[:600]}",
                    looked_at="its fault-free lives",
                    remedy="run `subject check`, and then `judge`, which say more",
                )
        self._share_cores([seen for _, seen in lives])
        points: dict[Point, Schedule] = {}
        for schedule, seen in sorted(lives, key=lambda one: one[0].max_ttl):
            if seen.baseline is not None:
                known = self._baselines.get(schedule.max_ttl, seen.baseline)
                self._baselines[schedule.max_ttl] = seen.baseline.joined(known)
            self._signatures.add(seen.signature)
            self._suspect(schedule, seen)
            for point in seen.points:
                points.setdefault(point, schedule)
        self._calm = [seen for schedule, seen in lives if schedule == calm]
        self.coverage.points = tuple(sorted(points))
        steps = [step for p in sorted(points) for step in possible(p) if self._is_wanted(step)]
        part, parts = self._options.shard
        steps = steps[part - 1 :: parts]
        self.coverage.cells = len(steps)
        steps = varied(steps, self._random)
        self._tell(f"{len(points)} points observed, {len(steps)} single faults to try")
        return [_single(step, points[step.point]) for step in steps]

    def _share_cores(self, lives: Sequence[Seen]) -> None:
        """Run fewer clients side by side if each of them needs much CPU."""
        if self._options.cores is None:
            return
        use = OWN + sum(one.cpu for one in lives) / max(1.0, sum(one.seconds for one in lives))
        self._quiet = max(self._quiet, int(CALM * self._options.cores / use))
        fit = max(self._quiet, int(BUSY * self._options.cores / use))
        if fit < self._at_once:
            self._at_once = fit
            self._tell(f"{fit} clients side by side, since each uses {use:.2f} of a core")

    def _is_wanted(self, step: Step) -> bool:
        only = self._options.only
        return not only or bool({step.fault, step.point.kind, step.point.phase} & only)

    def _follow(self, schedule: Schedule, seen: Seen) -> list[Schedule]:
        """Return pairs that begin with a schedule; none if it changed nothing new.

        The second fault comes at the first request of each kind while the client still deals with
        the first fault. Of the faults at one point, the first that leads there is extended.
        """
        if not self._options.pairs or seen.word != "pass":
            return []
        last = schedule.steps[-1].point
        if seen.begun and last.phase != "closing":
            self._firsts.append(schedule)
        if seen.signature in self._signatures:
            return []
        self._signatures.add(seen.signature)
        steps: list[Step] = []
        for point in itertools.takewhile(lambda one: one.phase == AFTER, seen.later):
            turn = replace(point, connection="")
            if point.ordinal == "first" and (last, turn) not in self._followed:
                self._followed.add((last, turn))
                steps += [step for step in possible(point) if self._is_wanted(step)]
        self._after.update(dict.fromkeys(steps))
        return [replace(schedule, steps=(*schedule.steps, step)) for step in steps]

    # Running

    def _try(self, schedules: Sequence[Schedule], what: str) -> Iterator[tuple[Schedule, Seen]]:
        """Run schedules side by side, and note what has to be confirmed."""
        until = self._until(1.0 - FOR_CONFIRMING)
        kept = {one: seen for one in schedules if (seen := self._recalled(one)) is not None}
        left = [one for one in schedules if one not in kept]
        runs = itertools.chain(kept.items(), self._each(left, self._at_once, until))
        for done, (schedule, seen) in enumerate(runs, start=1):
            if self._passed is not None and seen.word == "pass" and schedule not in kept:
                self._passed.note(schedule, seen)
            self._suspect(schedule, seen)
            if seen.word == "error":
                self.coverage.failed.append(f"{schedule}: {seen.why[-300:]}")
            self._progress(done, len(schedules), what)
            yield schedule, seen

    def _suspect(self, schedule: Schedule, seen: Seen) -> None:
        for promise, text in dict(seen.findings).items():
            group = _group(schedule, promise)
            self._suspected.setdefault(group, []).append((schedule, text))

    def _recalled(self, schedule: Schedule) -> Seen | None:
        return None if self._passed is None else self._passed.get(schedule)

    def _progress(self, done: int, count: int, what: str) -> None:
        now = time.monotonic()
        if now - self._told < 10.0 and done < count:
            return
        self._told = now
        suspected = f", {len(self._suspected)} findings to confirm" if self._suspected else ""
        self._tell(f"{what}: {done} of {count}, {count - done} left{suspected}")

    def _each(
        self, schedules: Iterable[Schedule], at_once: int, until: float | None = None
    ) -> Iterator[tuple[Schedule, Seen]]:
        """Run schedules, and yield each with its result when it ends.

        No run begins after `until`. A run on a machine that was too slow is repeated.
        """
        waiting = [(schedule, 0) for schedule in reversed(list(schedules))]
        running: dict[Future[Seen], tuple[Schedule, int]] = {}
        while waiting or running:
            while waiting and len(running) < at_once:
                if until is not None and time.monotonic() > until:
                    waiting.clear()
                    break
                schedule, tries = waiting.pop()
                running[self._submit(schedule)] = schedule, tries
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                schedule, tries = running.pop(future)
                seen = future.result()
                self.coverage.runs += 1
                self.coverage.cpu += seen.cpu
                again = seen.word == "error" or (seen.too_slow and seen.word != "pass")
                if again and tries < SLOW_RUNS:
                    waiting.append((schedule, tries + 1))
                    continue
                if seen.too_slow and seen.word != "pass":
                    seen = replace(seen, findings=(), word="not exercised", why=seen.too_slow)
                else:
                    capped = bool(schedule.max_ttl)
                    self._lives[capped] += 1
                    self._unprompted.update((promise, capped) for promise in seen.unprompted)
                yield schedule, seen

    def _submit(self, schedule: Schedule) -> Future[Seen]:
        baseline = self._baselines.get(schedule.max_ttl)
        order = Order(next(self._numbers), replace(schedule, baseline=baseline))
        return self._executor.submit(self._run, order)

    def _until(self, share: float) -> float | None:
        minutes = self._options.minutes
        return None if minutes is None else self._began + share * minutes * 60

    def _is_late(self, share: float = 1.0) -> bool:
        until = self._until(share)
        return until is not None and time.monotonic() > until

    # Confirming

    def _confirm_all(self) -> None:
        """Confirm the shortest schedule of each group, or else the next.

        What the client often breaks before any fault in such a life is no finding of a fault.
        """
        self._suspected = {
            group: suspects
            for group, suspects in self._suspected.items()
            if not any(
                one.steps and self._often_breaks(group[0], bool(one.max_ttl)) for one, _ in suspects
            )
        }
        for _ in range(PASSES):
            chosen: dict[Schedule, list[Suspects]] = {}
            for suspects in self._suspected.values():
                suspects.sort(key=lambda one: one[0].size)
            left = [one for one in self._suspected.items() if one[1]]
            for group, suspects in sorted(left, key=lambda one: one[1][0][0].size):
                if self._is_explained(group[0], [one for one, _ in suspects]):
                    suspects.clear()
                    continue
                schedule = suspects[0][0]
                asked = [
                    one
                    for one, found in chosen.items()
                    if any(group[0] == promise for (promise, *_), _ in found)
                ]
                # If that one breaks three times, it explains this one too.
                if not any(_alike(one, schedule) for one in asked):
                    chosen.setdefault(schedule, []).append((group, list(suspects)))
            for schedule, found in self._repeated(chosen):
                for group, suspects in found:
                    del self._suspected[group]
                    others = [one for one, _ in suspects[1:]]
                    self._note(schedule, group[0], suspects[0][1], others)
        self._suspected = {
            group: left
            for group, left in self._suspected.items()
            if left and not self._is_explained(group[0], [one for one, _ in left])
        }
        self._records.clear()

    def _repeated(
        self, chosen: dict[Schedule, list[Suspects]]
    ) -> list[tuple[Schedule, list[Suspects]]]:
        """Return the schedules that repeat in `TIMES` quiet runs, and drop the others.

        Most chance findings drop out in the first of these runs.
        """
        until = self._until(1.0)
        left = dict(sorted(chosen.items(), key=lambda one: one[0].size))
        for count in (1, TIMES - 1):
            runs = [schedule for schedule in left for _ in range(count)]
            seen: dict[Schedule, list[Seen]] = {schedule: [] for schedule in left}
            for schedule, one in self._quietly(runs, until):
                seen[schedule].append(one)
            for schedule, ran in seen.items():
                kept = [one for one in left.pop(schedule) if _broke(one[0][0], ran)]
                if len(ran) < count:
                    continue  # the time was over, so it is not settled
                for group, _ in chosen[schedule]:
                    if not _broke(group[0], ran):
                        self._suspected[group].pop(0)
                if kept:
                    left[schedule] = kept
        return list(left.items())

    def _often_breaks(self, promise: str, capped: bool) -> bool:
        """Return whether the client often breaks a promise before any fault."""
        return self._unprompted[promise, capped] > BY_ITSELF * self._lives[capped]

    def _is_explained(self, promise: str, schedules: Sequence[Schedule]) -> bool:
        """Return whether one finding explains all schedules; add them to it."""
        for told in self.broken:
            if told.promise == promise and all(_alike(told.schedule, one) for one in schedules):
                told.also += schedules
                return True
        return False

    def _note(
        self, schedule: Schedule, promise: str, text: str, others: Sequence[Schedule]
    ) -> None:
        schedule, without = self._shrink(schedule, promise)
        record = self._records.get(schedule)
        schedule = replace(schedule, baseline=self._baselines.get(schedule.max_ttl))
        if self._is_explained(promise, [schedule, *others]):
            return
        found = Broken(schedule, promise, text, without=without, record=record)
        found.also = [one for one in others if one != schedule]
        self.broken.append(found)
        self.broken.sort(key=lambda one: one.schedule.size)
        self._tell(f"confirmed: {promise}: {schedule}")

    def _quietly(
        self, schedules: Iterable[Schedule], until: float | None = None
    ) -> Iterator[tuple[Schedule, Seen]]:
        """Run schedules, few at once, and keep the records of broken runs."""
        for schedule, seen in self._each(schedules, self._quiet, until):
            if seen.record is not None:
                self._records[schedule] = seen.record
            yield schedule, seen

    def _repeats(self, schedule: Schedule, promise: str) -> bool:
        ran = [seen for _, seen in self._quietly([schedule] * TIMES)]
        return _broke(promise, ran)

    def _count(self, schedule: Schedule, promise: str) -> int:
        ran = self._calm
        if schedule.steps or schedule.max_ttl:
            ran = [one for _, one in self._quietly([schedule] * TIMES)]
        return sum(promise in one.promises for one in ran)

    def _shrink(self, schedule: Schedule, promise: str) -> tuple[Schedule, tuple[int, ...]]:
        """Drop needless steps, then take the simplest fault that still breaks the promise."""
        dropped = True
        without: tuple[int, ...] = ()
        while dropped:
            dropped = False
            without = ()
            for number in range(len(schedule.steps)):
                count = self._count(schedule.without(number), promise)
                if count == TIMES and len(schedule.steps) > 1:
                    schedule, dropped = schedule.without(number), True
                    break
                without += (count,)
        for simpler in schedule.simpler()[:2]:
            if self._is_late():
                break
            if self._repeats(simpler, promise):
                return simpler, without
        return schedule, without


def _single(step: Step, calm: Schedule) -> Schedule:
    """Return a fault in a life like a fault-free one in which its point was seen."""
    late = step.point.kind == "renew" and step.point.phase == "renewal due" and not calm.max_ttl
    return replace(calm, steps=(step,), ttl=calm.ttl * (WITH_TIME if late else 1.0))


def varied(steps: Sequence[Step], chance: random.Random) -> list[Step]:
    """Return steps in an order in which each differs most from those before it.

    So a short search tries every fault once, and every kind of request in every phase, before any
    fault twice.
    """
    left = list(steps)
    chance.shuffle(left)
    faults: Counter[str] = Counter()
    places: Counter[tuple[str, str]] = Counter()
    found = []
    while left:
        step = min(left, key=lambda s: (faults[s.fault], places[_place(s.point)], _turn(s)))
        left.remove(step)
        faults[step.fault] += 1
        places[_place(step.point)] += 1
        found.append(step)
    return found


def _place(point: Point) -> tuple[str, str]:
    return point.kind, point.phase


def _turn(step: Step) -> tuple[int, bool]:
    return ORDINALS.index(step.point.ordinal), not step.lasts
