"""Put the page together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from vault_harness import files
from vault_harness.errors import SettingsError
from vault_harness.judge.report.html import data
from vault_harness.judge.report.lines import lines_in
from vault_harness.judge.report.summary import RunSummary, all_causes, summary_of
from vault_harness.judge.report.timing import one_line

WORDS = ("fail", "error", "flaky", "not exercised", "pass", "skipped")
"""In the order of the list. Those that need attention come first."""


@dataclass(frozen=True)
class RunColumn:
    """One journal: its summary, and its column in the list.

    Attributes:
        letter: Empty if it is the only column.
        under: The line between headline and causes.
        unfinished: The summary of a run that did not end; otherwise empty.
        marks: Why a verdict counts as another one: known, fixed, SHOULD.
    """

    letter: str
    subject: str
    where: str
    headline: str
    under: str
    head: RunSummary
    all_causes: str
    about: tuple[str, ...]
    unfinished: str
    verdicts: dict[str, str]
    marks: dict[str, str]

    @property
    def name(self) -> str:
        """Return a name that two runs of one subject do not share."""
        return f"{self.letter} {self.subject}".strip()


@dataclass(frozen=True)
class Row:
    """One scenario in the list, with the verdict of each run (None: not run)."""

    id: str
    promise: str
    severity: str
    source: str
    words: tuple[str | None, ...]
    marks: tuple[str, ...]

    @property
    def rank(self) -> int:
        """Excused failures come later."""
        places = [
            WORDS.index(word) + 0.5 * bool(mark)
            for word, mark in zip(self.words, self.marks, strict=True)
            if word in WORDS
        ]
        return int(2 * min(places, default=len(WORDS)))


def render(journals: Sequence[data.Journal]) -> str:
    """Several runs stand side by side."""
    if len(journals) > len(ascii_uppercase):
        raise SettingsError(
            f"a page shows at most {len(ascii_uppercase)} runs side by side",
            looked_at=f"{len(journals)} journals",
            remedy="make several pages, each with some of them",
        )
    letters = ascii_uppercase if len(journals) > 1 else " "
    runs = [
        _run(journal, letter.strip()) for journal, letter in zip(journals, letters, strict=False)
    ]
    rows = _rows(journals, runs)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    environment.filters["one_line"] = one_line
    environment.filters["sentence"] = lambda text: text[:1].upper() + text[1:]
    return environment.from_string(_asset("page.html.jinja")).render(
        runs=runs,
        rows=rows,
        words=[word for word in WORDS if any(word in row.words for row in rows)],
        style=Markup(_asset("page.css")),  # noqa: S704 - our own files, not data
        script=Markup(_asset("page.js")),  # noqa: S704 - the same
        heads={
            "runs": [run.name for run in runs],
            "scenarios": {
                row.id: {"promise": row.promise, "severity": row.severity, "source": row.source}
                for row in rows
            },
        },
        data=data.histories(journals, [row.id for row in rows]),
    )


def write_page(journals: Sequence[data.Journal], target: Path) -> Path:
    files.write_text(target, render(journals))
    return target


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _run(journal: data.Journal, letter: str) -> RunColumn:
    verdicts = {str(one["id"]): str(one.get("word", "error")) for one in journal["scenarios"]}
    subject = one_line(str(journal.get("subject", "?")))
    engine, suite = journal.get("engine"), journal.get("suite_version")
    where = [
        *(journal.get("product"), engine and f"{engine} engine", *(journal.get("wires") or ())),
        *(suite and f"suite {suite}", journal.get("shard") and f"part {journal['shard']}"),
        *_of_the_client(journal),
    ]
    head = summary_of(journal)
    counts = head.verdict.removeprefix(f"{subject}: ")
    explains = f"{head.explains[:1].upper()}{head.explains[1:]}:" if head.explains else ""
    ended = journal.get("complete", True)
    return RunColumn(
        letter=letter,
        subject=subject,
        where=one_line(", ".join(str(part) for part in where if part)),
        headline=f"Grade {head.grade}: {head.grade_words}" if head.grade else counts,
        under=f"{counts}. {explains}" if head.grade else explains,
        head=head,
        all_causes=all_causes(journal) if head.more else "",
        about=tuple(map(one_line, _about(journal))) if ended else (),
        unfinished="" if ended else one_line(str(journal.get("summary") or "")),
        verdicts=verdicts,
        marks={line.id: line.mark for line in lines_in(journal)},
    )


def _of_the_client(journal: data.Journal) -> list[str]:
    client = journal.get("client") or {}
    version, times = client.get("version"), client.get("declares") or {}
    declared = ", ".join(f"{name} {value:g} s" for name, value in sorted(times.items()))
    found = [f"client {version}"] if version else []
    return [*found, f"declares {declared}"] if declared else found


def _about(journal: data.Journal) -> list[str]:
    if not journal.get("scenarios") or "complete" not in journal:
        return []
    from vault_harness.judge.report.score import claims_of, score_of

    score = score_of(journal)
    grade = f"grade {score.grade}" if score.grade else "no grade"
    return [f"{grade} (claims {claims_of(score)})", *score.why]


def _rows(journals: Sequence[data.Journal], runs: Sequence[RunColumn]) -> list[Row]:
    entries: dict[str, Mapping[str, Any]] = {}
    for journal in journals:
        for one in journal["scenarios"]:
            entries.setdefault(str(one["id"]), one)
    rows = [
        Row(
            id=name,
            promise=one_line(str(one.get("promise", ""))),
            severity=str(one.get("severity", "")),
            source=one_line(str(one.get("source", ""))),
            words=tuple(run.verdicts.get(name) for run in runs),
            marks=tuple(run.marks.get(name, "") for run in runs),
        )
        for name, one in entries.items()
    ]
    return sorted(rows, key=lambda row: (row.rank, row.id))
