"""Verdicts: pass, fail, or not exercised, and what they rest on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from vault_harness.faults import Fault
from vault_harness.scenario.observations import Crowding, Stall, Starved

Word = Literal["pass", "fail", "not exercised", "skipped", "error"]

_Told = TypeVar("_Told")

STALLS_EXPLAIN = 4.0
"""A bound may be missed by so many times the longest stall that falls into its window.

A request takes a handful of steps (the caller, the client, the proxy, Vault and back), each of
which a machine that stands still holds up anew.
"""


BUSY = 0.2
"""Seconds of standing still, once in a run, from which a machine is called busy.

Ten beats of the clockwork: then others take most of its time, and a client that needs some for
itself (fifty threads, a process of its own) may be late by more than any single stall explains.
"""

CROWDING_EXPLAINS = 0.75
"""Which part of the time that threads waited for a core may have made a call late.

A thread that asks for little gets its core at once, however many others want one, so that the
clockwork is on time where fifty callers, proxy and recorder together get a tenth of the machine.
What is known then is that some threads waited, not which; never all the time the subject's.
"""

STARVED = 0.33
"""From which part of a while a subject that waited for a core is one that was starved in it.

A client computes for a hundredth of the time and waits for less, whatever else runs (0.02 with both
cores of a machine kept busy). Two hundred in one process wait for half of the time then, and for a
sixth on an idle machine. It explains what did not come in that while, and what came late by no
more than it waited; never what was too much.
"""

TOO_SLOW = "the machine was too slow"


ENOUGH = 3
"""Findings of one promise that a verdict tells: a person needs no more."""


@dataclass(frozen=True)
class Finding:
    """One promise that a history does not keep.

    Attributes:
        promise: What was promised, in one line.
        seen: What was seen instead, with times.
        at: When, in seconds on the history's clock; None where it is about the whole.
        harm: It counts whatever else happened: a wrong value is always wrong.
        rests_on: Names of the faults and conditions without which it would mean nothing. Empty
            for an excess, which is one whatever else happened (a call that hangs, two renewals at
            once). None for the fault that was the last to begin before `at`.
        missed: By how many seconds a bound was missed, beyond what was granted; None where it is
            not a matter of time.
        until: Where the while that it is about ends; `at` is where it begins. None where that is
            not known.
        lacks: Whether it is about what did not come between `at` and `until`, nor later.
        repeated: Whether it counts only if a second run, with nothing beside it, finds fault too:
            a process that gets no core for a while does at once what it would have spread.
    """

    promise: str
    seen: str
    at: float | None = None
    harm: bool = False
    rests_on: tuple[str, ...] | None = None
    missed: float | None = None
    until: float | None = None
    lacks: bool = False
    repeated: bool = False

    def __str__(self) -> str:
        when = f"+{self.at:.2f} s: " if self.at is not None else ""
        return f"{when}{self.seen} (promised: {self.promise})"


@dataclass(frozen=True)
class SetAside:
    """A finding that does not count.

    Attributes:
        finding: Which one.
        why: In a few words.
    """

    finding: Finding
    why: str

    def __str__(self) -> str:
        return f"{self.finding} [{self.why}]"


@dataclass
class Verdict:
    """What a scenario says of a subject.

    Attributes:
        word: The verdict itself.
        findings: Why it is ``fail``: those that count.
        untouched: Why it is, or would be, ``not exercised``.
        evidence: How each fault is known to have touched the subject, and each condition to hold.
        set_aside: Findings that do not count, and why.
        leaks: Secrets that came out, where another scenario is about that.
        stood_still: Seconds of the longest while in which the machine stood still.
        crowded: Whether each finding that counts asks for a second run (`Finding.repeated`), or is
            a bound on a time, missed by no more than `CROWDING_EXPLAINS` of what threads of this
            machine waited for a core meanwhile.
    """

    word: Word
    findings: list[Finding] = field(default_factory=list)
    untouched: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    leaks: list[Finding] = field(default_factory=list)
    stood_still: float = 0.0
    crowded: bool = False

    @property
    def in_doubt(self) -> bool:
        """Whether it failed, without harm, on a busy machine: a second run has to confirm it."""
        return (
            self.word == "fail"
            and (self.stood_still >= BUSY or self.crowded)
            and not self.leaks
            and not any(finding.harm for finding in self.findings)
        )

    @property
    def too_slow(self) -> bool:
        """Whether nothing but the machine kept it from being exercised."""
        return self.word == "not exercised" and all(
            reason.startswith(TOO_SLOW) for reason in self.untouched
        )

    @property
    def why(self) -> str:
        """The reason in one line; empty for a pass."""
        if self.word == "fail":
            return self.findings[0].seen
        return self.untouched[0] if self.untouched else ""


@dataclass(frozen=True)
class Seen:
    """Whether a fault or a condition was met.

    Attributes:
        name: Of the fault or the condition.
        text: The evidence, or why there is none.
        met: Which of the two.
        at: When a fault began; None for a condition.
    """

    name: str
    text: str
    met: bool
    at: float | None = None


def decide(
    findings: Iterable[Finding],
    seen: Iterable[Seen] = (),
    *,
    faults: Sequence[Fault] = (),
    stalls: Sequence[Stall] = (),
    crowding: Sequence[Crowding] = (),
    starved: Sequence[Starved] = (),
    longest_stall: float | None = None,
) -> Verdict:
    """The verdict on findings and on what did, or did not, happen.

    - Harm makes ``fail``, whatever else is so.
    - A finding does not count where it rests on a fault or a condition that was not met, or where
      the machine stood still within its window for long enough to explain it. One that has no
      bound on a time (a login too many) is explained by a stall from which a pass would prove
      nothing either, between the fault and the finding: a client cannot tell it from an outage.
    - Nor does one about what came late, or not at all, while the subject was starved of a core.
    - A finding that was over before the first fault began shows that there was no steady state to
      break.
    - Whatever findings are left make ``fail``, even if another fault was not met.
    - Without findings it is ``not exercised`` if anything that must have happened did not, and if
      the machine stood still so long that a bound on a time proves nothing.

    Of each promise `ENOUGH` are told, of those that count and of those set aside: not before it is
    known which those are, or three that are excused would hide a fourth.

    Args:
        findings: All of them.
        seen: Each fault and each condition that had to be met.
        faults: In the order in which they began.
        stalls: When the machine stood still.
        crowding: When threads of this machine waited for a core.
        starved: When threads of the subject did.
        longest_stall: Seconds of standing still from which a pass proves nothing; None for any.
    """
    seen = list(seen)
    reasons = [one.text for one in seen if not one.met]
    evidence = [one.text for one in seen if one.met]
    counting: list[Finding] = []
    early: list[Finding] = []
    aside: list[SetAside] = []
    too_slow: list[SetAside] = []
    first = min((fault.began for fault in faults), default=None)
    stood_still = max((stall.length for stall in stalls), default=0.0)
    for finding in findings:
        if finding.harm:
            counting.append(finding)
        elif rests := _missing_ground(finding, faults, seen):
            aside.append(SetAside(finding, f"rests on {rests}, which was not met"))
        elif stall := _explained(finding, stalls, faults, longest_stall):
            too_slow.append(SetAside(finding, str(stall)))
        elif hunger := _starved(finding, starved):
            too_slow.append(SetAside(finding, hunger))
        elif first is not None and _over_by(finding, first):
            early.append(finding)
        else:
            counting.append(finding)
    harm = any(finding.harm for finding in counting)
    aside = _enough([*aside, *too_slow], lambda one: (one.finding.promise,))
    too_slow = _enough(too_slow, lambda one: (one.finding.promise,))
    reasons += [f"{TOO_SLOW}: {one.why}; set aside for it: {one.finding}" for one in too_slow]
    if early and not harm:
        early = _enough(early, lambda one: (one.promise,))
        aside += [SetAside(finding, "before any fault") for finding in early]
        reasons = [f"before any fault: {finding}" for finding in early] + reasons
        counting, reasons = _enough(counting, _kind), list(dict.fromkeys(reasons))
        return Verdict("not exercised", counting, reasons, evidence, aside, [], stood_still)
    counting = early + counting
    if not counting and longest_stall is not None:
        reasons += [f"{TOO_SLOW}: {stall}" for stall in stalls if stall.length > longest_stall][:1]
    word: Word = "fail" if counting else "not exercised" if reasons else "pass"
    crowded = bool(counting) and all(
        finding.repeated or _late_in_a_crowd(finding, crowding) for finding in counting
    )
    counting, reasons = _enough(counting, _kind), list(dict.fromkeys(reasons))
    return Verdict(word, counting, reasons, evidence, aside, [], stood_still, crowded)


def _kind(finding: Finding) -> Hashable:
    """What makes findings alike: harm is not told by what is none."""
    return finding.promise, finding.harm


def _enough(found: Sequence[_Told], kind: Callable[[_Told], Hashable]) -> list[_Told]:
    """The first of each kind, in their order."""
    told: Counter[Hashable] = Counter()
    kept = []
    for one in found:
        told[kind(one)] += 1
        if told[kind(one)] <= ENOUGH:
            kept.append(one)
    return kept


def _over_by(finding: Finding, moment: float) -> bool:
    """Whether a finding is known to be about a while that was over by then."""
    return finding.until is not None and finding.until < moment


def _missing_ground(
    finding: Finding, faults: Sequence[Fault], seen: Collection[Seen]
) -> str | None:
    """What a finding rests on and was not met, if anything."""
    if finding.rests_on is not None:
        return next((name for name in finding.rests_on if _not_met(name, finding, seen)), None)
    begun = [f for f in faults if finding.at is None or f.began <= finding.at]
    last = max(begun, key=lambda fault: fault.began, default=None)
    if last is None or last.optional:
        return None
    return last.name if _not_met(last.name, finding, seen) else None


def _not_met(name: str, finding: Finding, seen: Collection[Seen]) -> bool:
    """Whether nothing of that name was met by the time of a finding, and something had to be.

    A fault that is repeated has one name: whom the first of three has killed is touched by no
    other, and was broken by it all the same.
    """
    alike = [one for one in seen if one.name == name]
    if any(one.met and _before(one, finding) for one in alike):
        return False
    return any(not one.met for one in alike)


def _before(one: Seen, finding: Finding) -> bool:
    return one.at is None or finding.at is None or one.at <= finding.at


def _explained(
    finding: Finding,
    stalls: Sequence[Stall],
    faults: Sequence[Fault],
    longest_stall: float | None,
) -> Stall | None:
    """The stall that explains a finding, if one does."""
    if finding.at is None:
        return None
    if finding.missed is None:
        begun = max((f.began for f in faults if f.began <= finding.at), default=None)
        if longest_stall is None or begun is None:
            return None
        between = (stall for stall in stalls if stall.end >= begun and stall.at <= finding.at)
        return next((stall for stall in between if stall.length > longest_stall), None)
    until = finding.at if finding.until is None else finding.until
    within = [stall for stall in stalls if stall.at <= until and stall.end >= finding.at]
    longest = max(within, key=lambda stall: stall.length, default=None)
    if longest is not None and finding.missed <= STALLS_EXPLAIN * longest.length:
        return longest
    return None


def _starved(finding: Finding, starved: Sequence[Starved]) -> str:
    """How a subject that was starved of a core explains a finding, in words; empty if it does not.

    A time that was missed is told by its window alone: a bound of no length has nothing in it.
    """
    if finding.at is None or finding.until is None:
        return ""
    length = finding.until - finding.at
    waited = sum(one.within(finding.at, finding.until) for one in starved)
    missed = 0.0 if finding.lacks else math.inf if finding.missed is None else finding.missed
    if length <= 0 or waited < STARVED * length or missed > waited:
        return ""
    return f"no core was free for {waited:.2f} of the {length:.2f} s from +{finding.at:.2f} s"


def _late_in_a_crowd(finding: Finding, crowding: Sequence[Crowding]) -> bool:
    """Whether a bound on a time was missed by no more than others' turns may have taken."""
    if finding.at is None or finding.missed is None:
        return False
    since, until = finding.at, finding.at if finding.until is None else finding.until
    waited = sum(one.within(since, until) for one in crowding)
    return finding.missed <= CROWDING_EXPLAINS * waited


class NotExercised(Exception):
    """The scenario could not be carried out: no steady state, or nothing to break."""


class NotClaimed(Exception):
    """The subject does not claim, declare or tell what the scenario is about."""
