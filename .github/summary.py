"""Prints the journal of a run as a table in Markdown, for the page of a hosted job."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vault_harness.judge.report.lines import Line, lines_in

FIRST = ("fail", "error", "flaky", "not exercised", "pass (fixed)")
"""What a reader looks for. What fails no run comes after it, and then what was kept."""

LETTERS = 1000
"""Of a cell: some clients put whole pages in a message, and a job's page has a megabyte."""


def cell(text: object) -> str:
    """Text as itself, in a table's cell too: what a client said is no markup of the page.

    Neither a bar nor a line's end breaks the row, and no tag or comment hides what comes after it.
    """
    shown = str(text)
    if len(shown) > LETTERS:
        shown = f"{shown[:LETTERS]} ... all of it is in the journal"
    shown = shown.replace("&", "&amp;").replace("<", "&lt;")
    lines = re.sub(r"[\\`*\[\]|]", r"\\\g<0>", shown).splitlines()
    return "<br>".join(
        "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
        for line in lines
    )


def verdict(line: Line) -> str:
    """Return the verdict, and what it counts as if that differs: ``fail (known)``."""
    return f"{line.word} ({line.mark})" if line.mark else line.word


def standing(path: Path, journal: Mapping[str, Any]) -> list[str]:
    """The grade and what keeps it down; of a run that did not end, that it is no pass."""
    if not journal.get("complete", True):
        return ["**This run did not come to its end, and is no pass.**", ""]
    score = path.with_name("score.json")
    if not score.exists():  # a run of scenarios of somebody's own
        return []
    found = json.loads(score.read_text(encoding="utf-8"))
    claims = ", ".join(found["client"]["capabilities"]) or "nothing"
    head = f"grade {found['grade'] or 'none'} (claims {claims})"
    return [cell("; ".join([head, *found["why"]])), ""]


def main(path: Path) -> None:
    """Write the table to standard output."""
    if not path.exists():
        sys.exit("no journal: the scenarios did not begin")
    journal = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        f"### {cell(journal['summary'])}",
        "",
        *standing(path, journal),
        "| id | verdict | seconds | promise |",
        "| --- | --- | ---: | --- |",
    ]
    for line in sorted(lines_in(journal), key=lambda line: (_rank(verdict(line)), line.id)):
        promise = "\n".join(filter(None, (line.promise, line.why)))
        cells = (cell(line.id), verdict(line), f"{line.seconds:.1f}", cell(promise))
        lines.append(f"| {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


def _rank(word: str) -> int:
    """Where a verdict stands: a client's own skips, of which there are many, hide no failure."""
    if word in FIRST:
        return FIRST.index(word)
    return len(FIRST) + (word == "skipped") + 2 * (word == "pass")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
