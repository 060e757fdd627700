"""Putting the page together."""

from __future__ import annotations

from collections import Counter
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
from vault_harness.report._lines import OFTEN
from vault_harness.report._moments import one_line
from vault_harness.report.html import _data
from vault_harness.report.known import FIXED, is_a_part, mark

WORDS = ("fail", "error", "flaky", "not exercised", "skipped", "pass")
"""Verdicts, the ones to look at first."""

NO_PASS = ("fail", "error", "flaky", "not exercised")
"""Verdicts for which somebody opens the page."""

NAMED = 40
"""How many scenarios of one such verdict are named above the table; of more it is told how many."""

SEVERITIES = ("critical", "high", "medium", "low")


@dataclass(frozen=True)
class Run:
    """One journal's column.

    Attributes:
        subject: Which client.
        where: Server and engine.
        summary: The counts, in one line.
        grade: With what the client claims, and what keeps it down; empty of a run without one.
        unfinished: What a run came to that did not come to its end; empty of others.
        often: Promises that one scenario after the other found broken, a line each.
        verdicts: The verdict of each scenario that it judged.
        marks: Why one that is no pass failed no run: ``known``, or a ``SHOULD``; and why a pass
            failed it: ``fixed``.
    """

    subject: str
    where: str
    summary: str
    grade: str
    unfinished: str
    often: tuple[str, ...]
    verdicts: dict[str, str]
    marks: dict[str, str]

    @property
    def first(self) -> list[tuple[str, list[str], int]]:
        """What to look at first: a verdict, who has it, and how many more have.

        What fails no run is not among them; what is fixed fails it.
        """
        found: dict[str, list[str]] = {}
        for name, word in sorted(self.verdicts.items()):
            mark = self.marks[name]
            if (word in NO_PASS and not mark) or mark == FIXED:
                found.setdefault(f"{word} ({mark})" if mark else word, []).append(name)
        words = (*NO_PASS, f"pass ({FIXED})")
        return [(w, found[w][:NAMED], len(found[w][NAMED:])) for w in words if w in found]


@dataclass(frozen=True)
class Row:
    """One scenario's row: what is promised, and the verdict of each run (None: not run)."""

    id: str
    group: str
    promise: str
    severity: str
    source: str
    words: tuple[str | None, ...]
    marks: tuple[str, ...]


def render(journals: Sequence[_data.Journal]) -> str:
    """The page on these journals, whole.

    Args:
        journals: What ``journal.json`` holds, one or more; more than one stand side by side.

    Raises:
        SettingsError: They are more than there are letters for their columns.
    """
    if len(journals) > len(ascii_uppercase):
        raise SettingsError(
            f"a page shows at most {len(ascii_uppercase)} runs side by side",
            looked_at=f"{len(journals)} journals",
            remedy="make several pages, each with some of them",
        )
    runs = [_run(journal) for journal in journals]
    rows = _rows(journals, runs)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    template = environment.from_string(_asset("page.html.jinja"))
    return template.render(
        runs=runs,
        rows=rows,
        groups=list(dict.fromkeys(row.group for row in rows)),
        words=[word for word in WORDS if any(word in row.words for row in rows)],
        severities=SEVERITIES,
        style=Markup(_asset("page.css")),  # noqa: S704 - our own files, not data
        script=Markup(_asset("page.js")),  # noqa: S704 - the same
        heads={
            "runs": [_title(n, run, of=len(runs)) for n, run in enumerate(runs)],
            "scenarios": {
                row.id: {"promise": row.promise, "severity": row.severity, "source": row.source}
                for row in rows
            },
        },
        data=_data.histories(journals, [row.id for row in rows]),
    )


def write_page(journals: Sequence[_data.Journal], target: Path) -> Path:
    """Write the page to a file, which is replaced as a whole; returns the file."""
    files.write_text(target, render(journals))
    return target


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _run(journal: _data.Journal) -> Run:
    verdicts = {str(one["id"]): str(one.get("word", "error")) for one in journal["scenarios"]}
    counts = Counter(verdicts.values())
    engine, suite = journal.get("engine"), journal.get("suite_version")
    where = [
        *(journal.get("product"), engine and f"{engine} engine", *(journal.get("wires") or ())),
        *(suite and f"suite {suite}", journal.get("shard") and f"part {journal['shard']}"),
        *_of_the_client(journal),
    ]
    ended = journal.get("complete", True)
    part = is_a_part(journal)
    marks = {str(one["id"]): mark(one, part=part) for one in journal["scenarios"]}
    return Run(
        subject=one_line(str(journal.get("subject", "?"))),
        where=one_line(", ".join(str(part) for part in where if part)),
        summary=", ".join(f"{counts[word]} {word}" for word in reversed(WORDS) if counts[word]),
        grade=one_line(_grade(journal)) if ended else "",
        unfinished="" if ended else one_line(str(journal.get("summary") or "")),
        often=_often(journal),
        verdicts=verdicts,
        marks=marks,
    )


def _of_the_client(journal: _data.Journal) -> list[str]:
    """Its version, and the times by which it asked to be judged."""
    client = journal.get("client") or {}
    version, times = client.get("version"), client.get("declares") or {}
    declared = ", ".join(f"{name} {value:g} s" for name, value in sorted(times.items()))
    found = [f"client {version}"] if version else []
    return [*found, f"declares {declared}"] if declared else found


def _often(journal: _data.Journal) -> tuple[str, ...]:
    """What many scenarios found broken: one cause in the client, it may be, told once."""
    failed = [one for one in journal["scenarios"] if one.get("word") == "fail"]
    broken = [{str(f.get("promise")) for f in one.get("findings") or ()} for one in failed]
    counts = Counter(promise for promises in broken for promise in sorted(promises))
    often = [(text, count) for text, count in counts.most_common() if count >= OFTEN]
    return tuple(f"{count} scenarios: {one_line(text)}" for text, count in often)


def _grade(journal: _data.Journal) -> str:
    """The grade, what it is given for, and what keeps it down, in one line."""
    if not journal.get("scenarios") or "complete" not in journal:
        return ""
    from vault_harness.report.score import profile, score_of

    score = score_of(journal)
    said = f"grade {score.grade}" if score.grade else "no grade"
    return "; ".join([f"{said} (claims {profile(score)})", *score.why])


def _title(number: int, run: Run, *, of: int) -> str:
    """What a run is called: with the letter of its column, as both may be of one subject."""
    return run.subject if of == 1 else f"{ascii_uppercase[number]} {run.subject}"


def _rows(journals: Sequence[_data.Journal], runs: Sequence[Run]) -> list[Row]:
    entries: dict[str, Mapping[str, Any]] = {}
    for journal in journals:
        for one in journal["scenarios"]:
            entries.setdefault(str(one["id"]), one)
    return [
        Row(
            id=name,
            group=name.partition("-")[0],
            promise=one_line(str(one.get("promise", ""))),
            severity=str(one.get("severity", "")),
            source=one_line(str(one.get("source", ""))),
            words=tuple(run.verdicts.get(name) for run in runs),
            marks=tuple(run.marks.get(name, "") for run in runs),
        )
        for name, one in sorted(entries.items())
    ]
