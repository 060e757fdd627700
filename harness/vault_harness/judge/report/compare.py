"""Compare two runs: ``python -m vault_harness.judge.report.compare A B``, two journals.

It prints a table of the scenarios of either run, and ends with 1 if any verdict differs: two
engines must give the same client the same verdict. With ``--whole`` it also ends with 1 if the
second run has no verdict on a scenario that the first one judged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vault_harness.errors import HarnessError
from vault_harness.judge.report.journal import load

_NO_VERDICT = (None, "skipped")


@dataclass(frozen=True)
class Row:
    """One scenario in two runs. A verdict is None if the run did not have the scenario."""

    id: str
    first: str | None
    second: str | None

    @property
    def differs(self) -> bool:
        """A skip is no verdict."""
        both = {self.first, self.second} - {None, "skipped"}
        return None not in (self.first, self.second) and len(both) > 1

    @property
    def is_missing(self) -> bool:
        return self.first not in _NO_VERDICT and self.second in _NO_VERDICT


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Row]:
    words = [
        {scenario["id"]: scenario["word"] for scenario in run["scenarios"]}
        for run in (first, second)
    ]
    ids = sorted(words[0] | words[1])
    return [Row(id, words[0].get(id), words[1].get(id)) for id in ids]  # noqa: A001 - they are


def table(rows: list[Row], first: Mapping[str, Any], second: Mapping[str, Any]) -> Table:
    shown = Table("scenario", _head(first), _head(second), "")
    for row in rows:
        mark = "[red]differs" if row.differs else "no verdict" if row.is_missing else ""
        shown.add_row(row.id, row.first or "not run", row.second or "not run", mark)
    return shown


def _head(run: Mapping[str, Any]) -> str:
    return ", ".join([f"{run['engine']} engine", *run.get("wires", ())])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m vault_harness.judge.report.compare", description=__doc__
    )
    parser.add_argument("first", type=Path, help="journal.json of one run")
    parser.add_argument("second", type=Path, help="journal.json of the other")
    parser.add_argument(
        "--whole", action="store_true", help="what the first judged, the second must have judged"
    )
    given = parser.parse_args(arguments)
    try:
        first, second = load(given.first), load(given.second)
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    rows = compare(first, second)
    judged = [row for row in rows if not {row.first, row.second} & {*_NO_VERDICT}]
    different = [row.id for row in rows if row.differs]
    missing = [row.id for row in rows if row.is_missing]
    Console().print(table(rows, first, second))
    _say(f"{len(judged)} scenarios judged by both, {len(different)} verdicts differ", different)
    if given.whole:
        _say(f"{len(missing)} judged by the first alone", missing)
    return 1 if different or not judged or (given.whole and missing) else 0


def _say(text: str, ids: list[str]) -> None:
    sys.stdout.write(f"{text}{': ' + ', '.join(ids) if ids else ''}\n")


if __name__ == "__main__":
    sys.exit(main())
