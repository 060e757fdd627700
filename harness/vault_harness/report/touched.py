"""Which faults met which requests: ``python -m vault_harness.report.touched JOURNAL... FILE``.

Brings the table beside a catalogue up to date from journals of several runs and clients. It keeps
nothing that differs from run to run: of a scenario it has what every run of some client shows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.errors import HarnessError, SettingsError
from vault_harness.report._events import Record
from vault_harness.report._journal import NO_JOURNAL, load
from vault_harness.report._kinds import (
    ASKED,
    BY_VAULT,
    CARRIERS,
    MEETING_NONE,
    NO_REQUEST,
    NOT_BY_VAULT,
    ON_THE_WAY,
)
from vault_harness.report._reading import read_object, wrong
from vault_harness.report._touches import asked_in, touches_of

__all__ = [
    "ASKED",
    "BY_VAULT",
    "CARRIERS",
    "MEETING_NONE",
    "NOT_BY_VAULT",
    "NO_REQUEST",
    "ON_THE_WAY",
    "Run",
    "Table",
    "load_table",
    "main",
    "measured",
    "run_of",
    "written",
]

NO_TABLE = "no table of requests and faults"
"""What messages say of a file that is none."""

Pairs = frozenset[tuple[str, str]]
"""Each a kind of request, and what met it."""


@dataclass(frozen=True)
class Table:
    """What met which requests.

    Attributes:
        asked: The kinds of requests that some client has made.
        scenarios: The pairs of each scenario, by its id.
    """

    asked: frozenset[str] = frozenset()
    scenarios: Mapping[str, Pairs] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What one run shows.

    Attributes:
        subject: The client that was judged.
        asked: The kinds of requests that it has made.
        scenarios: The pairs of each scenario that it was judged in; None for one that it did not
            pass, or that was run more than once, of which others tell.
    """

    subject: str
    asked: frozenset[str]
    scenarios: Mapping[str, Pairs | None]


def run_of(journal: Mapping[str, Any]) -> Run:
    """What a run shows, by its journal.

    Raises:
        AttributeError, IndexError, KeyError, TypeError, ValueError: An event is of another form.
    """
    judged = [one for one in journal["scenarios"] if one["word"] != "skipped"]
    return Run(
        str(journal["subject"]),
        frozenset[str]().union(*map(asked_in, judged)),
        {str(one["id"]): _told(one) for one in judged},
    )


def _told(record: Record) -> Pairs | None:
    return None if record["word"] != "pass" or record.get("runs") else frozenset(touches_of(record))


def measured(runs: Iterable[Run], before: Table) -> Table:
    """The table after some runs; scenarios of which none of them tells stay as they were.

    A client tells of a scenario if it passed in all of its runs, and a pair counts if all of them
    have it. What several clients tell is put together: not each of them makes every request.

    Args:
        runs: Of any clients; those of one subject are one client's.
        before: The table up to now.
    """
    runs = tuple(runs)
    shown: dict[tuple[str, str], list[Pairs | None]] = {}
    for run in runs:
        for scenario, pairs in run.scenarios.items():
            shown.setdefault((scenario, run.subject), []).append(pairs)
    found: defaultdict[str, Pairs] = defaultdict(frozenset)
    for (scenario, _), told in shown.items():
        passed = [pairs for pairs in told if pairs is not None]
        if len(passed) == len(told):
            found[scenario] |= passed[0].intersection(*passed)
    kept = {one: before.scenarios[one] for one in before.scenarios if one not in found}
    asked = frozenset[str]().union(*(run.asked for run in runs))
    return Table(asked | before.asked if kept else asked, {**kept, **found})


def load_table(path: Path) -> Table:
    """Read a table.

    Raises:
        SettingsError: There is none, or it is of another form.
    """
    found = read_object(path, NO_TABLE)
    try:
        scenarios = {
            str(scenario): frozenset((asked, what) for asked in met for what in met[asked])
            for scenario, met in found["scenarios"].items()
        }
        return Table(frozenset(found["asked"]), scenarios)
    except (AttributeError, KeyError, TypeError) as error:
        remedy = f"make it of journals: python -m vault_harness.report.touched JOURNAL... {path}"
        raise wrong(path, NO_TABLE, f"{type(error).__name__}: {error}", remedy) from error


def written(table: Table) -> str:
    """A table as a file has it: a scenario a line, and all in order."""
    scenarios = ",\n".join(
        f"  {json.dumps(scenario)}: {json.dumps(_by_request(table.scenarios[scenario]))}"
        for scenario in sorted(table.scenarios)
    )
    asked = json.dumps(sorted(table.asked))
    return f'{{\n "asked": {asked},\n "scenarios": {{\n{scenarios}\n }}\n}}\n'


def _by_request(pairs: Pairs) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for asked, what in sorted(pairs):
        found[asked].append(what)
    return dict(found)


def _read(path: Path) -> Run:
    """What a journal shows.

    Raises:
        SettingsError: It is none, or its events are not of the form that a run leaves.
    """
    try:
        return run_of(load(path))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # Events have no form that reading looks at: there are thousands of them in a journal.
        cause = f"an event is not of the form that a run leaves ({type(error).__name__}: {error})"
        raise wrong(path, NO_JOURNAL, cause) from error


def main(arguments: Sequence[str]) -> int:
    """Bring a table up to date from journals; the exit code.

    One that cannot be read is made anew: that is what its error says to do.
    """
    parser = argparse.ArgumentParser(
        prog="python -m vault_harness.report.touched", description=__doc__
    )
    parser.add_argument("journals", nargs="+", type=Path, help="journal.json of each run")
    parser.add_argument("file", type=Path, help="touched.json beside the catalogue")
    given = parser.parse_args(arguments)
    before = Table()
    with contextlib.suppress(SettingsError):
        before = load_table(given.file)
    try:
        found = measured(map(_read, given.journals), before)
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    files.write_text(given.file, written(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
