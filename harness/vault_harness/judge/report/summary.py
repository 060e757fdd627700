"""Sum a run up in one screen, from the journal alone: the terminal and the page show the same."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vault_harness import files
from vault_harness.errors import named
from vault_harness.judge.report.causes import OF_THE_CLIENT, Cause, causes
from vault_harness.judge.report.explanation import explain
from vault_harness.judge.report.formats import Score
from vault_harness.judge.report.lines import WORDS, Line, lines_in
from vault_harness.judge.report.outcome import outcome, reason
from vault_harness.judge.report.score import causes_of, in_numbers, score_of
from vault_harness.judge.report.timing import one_line

MOST = 3
"""Causes that a summary shows. A file has all."""

NAMED = 4
"""Scenarios of one verdict that are named. The rest is counted."""

SEEN = 120
"""Characters of an example that are shown."""

CAUSES = "causes.txt"
"""All causes and all their scenarios."""

FAILURES = "failures.txt"
"""The text of each failure."""


@dataclass(frozen=True)
class RunSummary:
    """What a person wants to know about a run, the most important first.

    Attributes:
        verdict: ``mine: 62 of 103 scenarios pass; 41 fail; 23 skipped``.
        where: ``openbao 2.7.2, process engine, 118 s``.
        explains: ``3 causes explain 41 of 46 failures``; empty if nothing failed.
        causes: The first three causes.
        timeline: The command that prints the clearest scenario's history.
        again: The command that runs that scenario again.
    """

    verdict: str
    where: str
    good: bool
    grade: Literal["A+", "A", "B", "C", "D", "F"] | None
    grade_words: str
    explains: str
    causes: tuple[Cause, ...]
    more: int
    timeline: str
    again: str
    code: int
    why_code: str

    def lines(self, width: int | None = 100, *, page: Path | None = None) -> list[str]:
        """Return lines of text, without a break inside commands and paths.

        Args:
            width: None for lines of any length, as in a log.
            page: The report; `CAUSES` stands beside it.
        """
        told = _wrapped(self.verdict, width) + _wrapped(f"({self.where})", width)
        grade = "no grade" if self.grade is None else f"grade {self.grade}"
        told += _wrapped(f"{grade}: {self.grade_words}", width)
        told += [self.explains + ":"] if self.explains else []
        for number, cause in enumerate(self.causes, 1):
            told += _wrapped(_cut(f"{number}. {cause.title} ({cause.count})"), width, "   ")
            told += _wrapped(f"   {_cut(str(cause.clearest))}", width, "   ")
            told += _wrapped(f"   {cause.theme.remedy}", width, "   ")
        if self.more and page is not None:
            noun = "cause" if self.more == 1 else "causes"
            told.append(f"   {self.more} more {noun}: {page.with_name(CAUSES)}")
        told += [f"see:    {self.timeline}"] if self.timeline else []
        told += [f"again:  {self.again}"] if self.again else []
        told += [f"report: {page}"] if page is not None else []
        return told + _wrapped(f"exit code {self.code}: {self.why_code}", width, "  ")


def summary_of(journal: Mapping[str, Any], *, code: int | None = None) -> RunSummary:
    """Sum up the run of a journal.

    By default `code` comes from the journal, or else from its verdicts.
    """
    records = list(journal["scenarios"])
    complete, leaks_known = bool(journal.get("complete")), bool(journal.get("leaks_known"))
    lines = lines_in(journal)
    if code is None:
        found = outcome(lines, complete=complete, leaks_known=leaks_known)
        said = journal.get("code")
        code = int(found if said is None else said)
    ordered = causes(records, lines)
    shown = [cause for cause in ordered if cause.counts][:MOST]
    score = score_of(journal)
    best = ordered[0].clearest.id if ordered else ""
    return RunSummary(
        verdict=_verdict(str(journal["subject"]), lines, journal.get("unfinished") or ()),
        where=_where(journal),
        good=not ordered and code == 0,
        grade=score.grade,
        grade_words=grade_in_words(score),
        explains=_explains(shown, ordered),
        causes=tuple(shown),
        more=len(ordered) - len(shown),
        timeline=one_line(named("timeline", best)) if best else "",
        again=one_line(next((str(r.get("again") or "") for r in records if r["id"] == best), "")),
        code=code,
        why_code=one_line(reason(code, lines, complete=complete, leaks_known=leaks_known)),
    )


def all_causes(journal: Mapping[str, Any]) -> str:
    told = []
    for number, cause in enumerate(causes(journal["scenarios"], lines_in(journal)), 1):
        told += [f"{number}. {cause.title} ({cause.count})", f"   {cause.theme.remedy}"]
        told += [f"   {one}" for one in cause.examples]
        told.append("")
    return "\n".join(told).rstrip() + "\n" if told else "nothing was found\n"


def write_texts(journal: Mapping[str, Any], folder: Path) -> None:
    texts = [
        explain(record, again=str(record.get("again") or ""))
        for record in journal["scenarios"]
        if record["word"] not in ("pass", "skipped") and "set_aside" in record
    ]
    files.write_text(folder / CAUSES, all_causes(journal))
    files.write_text(folder / FAILURES, "\n\n".join(texts) + "\n" if texts else "")


def grade_in_words(score: Score) -> str:
    if score.grade is None:
        return _cut(score.why[0])
    return in_numbers(causes_of(score.scenarios)) or "nothing is broken"


def _verdict(subject: str, lines: Sequence[Line], unfinished: Sequence[str]) -> str:
    counts = Counter(line.word for line in lines)
    judged = len(lines) - counts["skipped"]
    words = [f"{one_line(subject)}: {counts['pass']} of {judged} scenarios pass"]
    words += [f"{counts[o]} {o}{_of_these(lines, o)}" for o in WORDS if counts[o]]
    words += [f"{counts['skipped']} skipped"] if counts["skipped"] else []
    words += [f"{len(unfinished)} did not come to an end"] if unfinished else []
    return one_line("; ".join(words))


def _of_these(lines: Iterable[Line], word: str) -> str:
    """Return a verdict's scenarios if they are few, and the excused: `` (TOK-02; 3 known)``."""
    ours = [line for line in lines if line.word == word]
    known = sum(line.is_excused for line in ours)
    should = sum(line.forgiven for line in ours)
    told = [", ".join(sorted(line.id for line in ours))] if len(ours) <= NAMED else []
    told += [f"{known} as known"] if known else []
    told += [f"{should} SHOULD"] if should else []
    return f" ({'; '.join(told)})" if told else ""


def _where(journal: Mapping[str, Any]) -> str:
    engine = journal.get("engine")
    parts = [journal.get("product"), f"{engine} engine" if engine else ""]
    parts += [*(journal.get("wires") or ())]
    parts.append(f"{float(journal.get('seconds') or 0.0):.0f} s")
    return ", ".join(one_line(str(part)) for part in parts if part)


def _explains(shown: Sequence[Cause], ordered: Sequence[Cause]) -> str:
    shown, ordered = (
        [one for one in some if one.kind in OF_THE_CLIENT] for some in (shown, ordered)
    )
    if not shown:
        return ""
    told, there = (sum(len(cause.explains) for cause in some) for some in (shown, ordered))
    return (
        f"{_count(len(shown), 'cause')} explain{'s' * (len(shown) == 1)} "
        f"{told} of {_count(there, 'failure')}"
    )


def _wrapped(text: str, width: int | None, indent: str = "  ") -> list[str]:
    if width is None:
        return [text]
    lines: list[str] = []
    for line in textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ):
        if lines and line.lstrip().startswith("::"):  # a hosted CI job would take it for a command
            lines[-1] += f" {line.lstrip()}"
        else:
            lines.append(line)
    return lines


def _cut(text: str) -> str:
    told = one_line(text)
    return told if len(told) <= SEEN else f"{told[:SEEN]} ..."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
