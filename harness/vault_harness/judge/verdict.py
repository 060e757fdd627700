"""Verdicts, and what they rest on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from vault_harness.recorder.fault import Fault

Word = Literal["pass", "fail", "flaky", "not exercised", "skipped", "error"]

_Told = TypeVar("_Told")

TOO_SLOW = "this machine is too slow"
"""The start of a reason that is not about the client."""

BEFORE_ANY_FAULT = "before any fault"
"""Why a finding does not count if the client was not steady when the first fault began."""

ENOUGH = 3
"""Findings that a verdict reports for one promise, at most."""


@dataclass(frozen=True)
class Finding:
    """One promise that was not kept.

    Attributes:
        at: Seconds on the history's clock; None for the whole scenario.
        harm: Whether the finding counts whatever else happened: a wrong value is always wrong.
        rests_on: Names of the faults and conditions without which the finding means nothing. Empty
            for an excess, such as two renewals at once. None stands for the last fault that began
            before `at`.
        missed: Seconds beyond the limit; None if the event never came, or time does not matter.
        until: End of the time that the finding is about, which begins `at`; None if unknown.
    """

    promise: str
    seen: str
    at: float | None = None
    harm: bool = False
    rests_on: tuple[str, ...] | None = None
    missed: float | None = None
    until: float | None = None
    closing: bool = False

    def __str__(self) -> str:
        when = f"+{self.at:.2f} s: " if self.at is not None else ""
        return f"{when}{self.seen} (promised: {self.promise})"


@dataclass(frozen=True)
class SetAside:
    """A finding that does not count, and why."""

    finding: Finding
    why: str

    def __str__(self) -> str:
        return f"{self.finding} [{self.why}]"


@dataclass
class Verdict:
    """The judgement on one run of a scenario.

    Attributes:
        untouched: Reasons why the verdict is, or would be, ``not exercised``.
        evidence: How each fault touched the subject, and how each condition was met.
        leaks: Secrets that leaked in a scenario on something else.
    """

    word: Word
    findings: list[Finding] = field(default_factory=list)
    untouched: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    leaks: list[Finding] = field(default_factory=list)

    @property
    def why(self) -> str:
        """Empty for a pass."""
        if self.word == "fail":
            return self.findings[0].seen
        return self.untouched[0] if self.untouched else ""


@dataclass(frozen=True)
class Seen:
    """Whether a fault or a condition was met, and the evidence.

    `at` is when the fault began; None for a condition.
    """

    name: str
    text: str
    met: bool
    at: float | None = None


def decide(
    findings: Iterable[Finding], seen: Iterable[Seen] = (), *, faults: Sequence[Fault] = ()
) -> Verdict:
    """Return the verdict on one run.

    - Harm makes ``fail`` in any case.
    - A finding does not count if it rests on a fault or a condition that was not met.
    - A finding that was over before the first fault began shows that there was no steady state.
    - Any other finding makes ``fail``, even if another fault was not met.
    - Without findings, a fault or condition that was not met makes ``not exercised``.

    `faults` are in the order in which they began.
    """
    seen = list(seen)
    reasons = [one.text for one in seen if not one.met]
    evidence = [one.text for one in seen if one.met]
    counting: list[Finding] = []
    early: list[Finding] = []
    aside: list[SetAside] = []
    first = min((fault.began for fault in faults), default=None)
    for finding in findings:
        if finding.harm:
            counting.append(finding)
        elif rests := _missing_ground(finding, faults, seen):
            aside.append(SetAside(finding, f"rests on {rests}, which was not met"))
        elif first is not None and _over_by(finding, first):
            early.append(finding)
        else:
            counting.append(finding)
    aside = _enough(aside, lambda one: (one.finding.promise,))
    if early and not any(finding.harm for finding in counting):
        early = _enough(early, lambda one: (one.promise,))
        aside += [SetAside(finding, BEFORE_ANY_FAULT) for finding in early]
        reasons = [f"{BEFORE_ANY_FAULT}: {finding}" for finding in early] + reasons
        word: Word = "not exercised"
    else:
        counting = early + counting
        word = "fail" if counting else "not exercised" if reasons else "pass"
    counting, reasons = _enough(counting, _kind), list(dict.fromkeys(reasons))
    return Verdict(word, counting, reasons, evidence, aside)


def _kind(finding: Finding) -> Hashable:
    """No other finding may displace harm."""
    return finding.promise, finding.harm


def _enough(found: Sequence[_Told], kind: Callable[[_Told], Hashable]) -> list[_Told]:
    told: Counter[Hashable] = Counter()
    kept = []
    for one in found:
        told[kind(one)] += 1
        if told[kind(one)] <= ENOUGH:
            kept.append(one)
    return kept


def _over_by(finding: Finding, moment: float) -> bool:
    return finding.until is not None and finding.until < moment


def _missing_ground(
    finding: Finding, faults: Sequence[Fault], seen: Collection[Seen]
) -> str | None:
    if finding.rests_on is not None:
        return next((name for name in finding.rests_on if _not_met(name, finding, seen)), None)
    begun = [f for f in faults if finding.at is None or f.began <= finding.at]
    last = max(begun, key=lambda fault: fault.began, default=None)
    if last is None or last.optional:
        return None
    return last.name if _not_met(last.name, finding, seen) else None


def _not_met(name: str, finding: Finding, seen: Collection[Seen]) -> bool:
    """Return whether a fault or condition of this name was due, but not met before the finding.

    A repeated fault has one name. If the first of three kills the client, the finding rests on a
    fault that was met.
    """
    alike = [one for one in seen if one.name == name]
    if any(one.met and _before(one, finding) for one in alike):
        return False
    return any(not one.met for one in alike)


def _before(one: Seen, finding: Finding) -> bool:
    return one.at is None or finding.at is None or one.at <= finding.at


class NotExercised(Exception):
    """Raised if the scenario could not be carried out: no steady state, or nothing to break."""


class NotClaimed(Exception):
    """Raised if the subject does not claim or declare what the scenario needs."""
