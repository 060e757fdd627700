"""Verdicts: pass, fail, or not exercised, and what they rest on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Word = Literal["pass", "fail", "not exercised", "skipped"]


@dataclass(frozen=True)
class Finding:
    """One promise that a history does not keep.

    Attributes:
        promise: What was promised, in one line.
        seen: What was seen instead, with times.
        at: When, in seconds on the history's clock; None where it is about the whole.
        harm: It counts even if the fault never touched the subject: a wrong value is always wrong.
    """

    promise: str
    seen: str
    at: float | None = None
    harm: bool = False

    def __str__(self) -> str:
        when = f"+{self.at:.2f} s: " if self.at is not None else ""
        return f"{when}{self.seen} (promised: {self.promise})"


@dataclass
class Verdict:
    """What a scenario says of a subject.

    Attributes:
        word: The verdict itself.
        findings: Why it is ``fail``.
        untouched: Why it is ``not exercised``.
        evidence: How each fault is known to have touched the subject.
    """

    word: Word
    findings: list[Finding] = field(default_factory=list)
    untouched: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)


def decide(findings: list[Finding], untouched: list[str], evidence: list[str]) -> Verdict:
    """The verdict on findings and on faults that did, or did not, touch the subject.

    A fault that never bit makes no pass, and no failure either, unless the subject did harm.
    """
    if untouched and not any(finding.harm for finding in findings):
        return Verdict("not exercised", findings, untouched, evidence)
    return Verdict("fail" if findings else "pass", findings, untouched, evidence)


class NotExercised(Exception):
    """The scenario could not be carried out: no steady state, or nothing to break."""
