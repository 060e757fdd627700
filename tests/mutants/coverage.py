"""What the suite covers: ``python -m tests.mutants.coverage`` writes ``docs/coverage.md``.

Promise, incident, scenario and mutant side by side, from the data that they stand in: the catalogue
of scenarios, the files of the scenarios, and the catalogue of mutants.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

from tests.mutants.catalogue import CATALOGUE
from tests.mutants.clients import Mutant
from vault_harness.files import write_text
from vault_harness.scenario.catalogue import Entry, load

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "coverage.md"

HEAD = """# What the suite covers

Made by `python -m tests.mutants.coverage` from `scenarios/catalogue.toml` and the catalogue of
mutants; a test says when it is out of date. A MUST is critical or high, a SHOULD medium or low. A
mutant is a client that is broken on purpose, and that this scenario has to fail.
"""


def page(entries: Mapping[str, Entry], mutants: Mapping[str, Mutant]) -> str:
    """The whole page as Markdown."""
    killed = defaultdict(list)
    for name, mutant in mutants.items():
        killed[mutant.scenario].append(name)
    parts = [HEAD, _counts(entries.values(), mutants)]
    ordered = sorted(entries.values(), key=lambda entry: entry.id)
    for group, members in groupby(ordered, key=lambda entry: entry.group):
        rows = [_row(entry, sorted(killed[entry.id])) for entry in members]
        head = ["| scenario | promise | | incidents | mutants |", "| --- | --- | --- | --- | --- |"]
        parts.append("\n".join([f"## {group}", "", *head, *rows, ""]))
    parts.append(_by_incident(ordered))
    return "\n".join(parts)


def _counts(entries: Iterable[Entry], mutants: Mapping[str, Mutant]) -> str:
    owed = [entry.obligation for entry in entries]
    return (
        f"{len(owed)} scenarios, {owed.count('MUST')} MUST and {owed.count('SHOULD')} SHOULD; "
        f"{len(mutants)} mutants.\n"
    )


def _row(entry: Entry, mutants: list[str]) -> str:
    cells = (
        f"[{entry.id}](../scenarios/test_{entry.group.lower()}.py)",
        entry.promise.replace("|", "\\|"),
        f"{entry.obligation}, {entry.severity}",
        ", ".join(map(_link, entry.all_incidents)) or "measured or documented",
        ", ".join(mutants),
    )
    return f"| {' | '.join(cells)} |"


def _by_incident(entries: Iterable[Entry]) -> str:
    found = defaultdict(list)
    for entry in entries:
        for incident in entry.all_incidents:
            found[incident].append(entry.id)
    rows = [f"| {_link(one)} | {', '.join(found[one])} |" for one in sorted(found, key=_by_number)]
    head = ["| incident | scenarios |", "| --- | --- |"]
    return "\n".join(["## By incident", "", *head, *rows, ""])


def _by_number(incident: str) -> tuple[str, int]:
    repository, _, number = incident.partition("#")
    return repository.lower(), int(number)


def _link(incident: str) -> str:
    repository, _, number = incident.partition("#")
    return f"[{incident}](https://github.com/{repository}/issues/{number})"


def current() -> str:
    """The page as it should be."""
    return page(load(ROOT / "scenarios" / "catalogue.toml"), CATALOGUE)


def main() -> int:
    """Write it."""
    write_text(PAGE, current())
    sys.stdout.write(f"written: {PAGE.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
