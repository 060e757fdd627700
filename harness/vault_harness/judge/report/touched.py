"""Table faults and requests: ``python -m vault_harness.judge.report.touched JOURNAL... FILE``.

It updates the table beside a catalogue from journals of several runs and clients. The table has
nothing that differs from run to run, only what every run of some client shows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Final

from vault_harness import files
from vault_harness.errors import HarnessError, SettingsError
from vault_harness.judge.report.events import (
    CHANGED,
    CLOCK,
    CONNECTION,
    CUT,
    DELETED,
    EXCHANGED,
    GOODBYE,
    HANDSHAKE,
    KEPT,
    MOVED,
    NO_REQUEST,
    REFUSED,
    RIGHTS,
    SILENT,
    STOPPED,
    Record,
    asked_by,
    before_the_end,
    ended_of,
    faults_of,
    met,
    unseen,
    way_of,
)
from vault_harness.judge.report.journal import load, malformed
from vault_harness.judge.report.reading import read_object, wrong

_BELOW: Final[Mapping[str, str]] = {
    "client's clock set": CLOCK,
    "client paused": STOPPED,
    "role changed": RIGHTS,
    "policy changed": RIGHTS,
}

_DELIVERED = re.compile(r"(secret-id|jwt|token|wrapping)-\d+ delivered|secret-id rotated")


def asked_in(record: Record) -> set[str]:
    return {asked for one in record.get("exchanges", ()) if (asked := asked_by(record, one))}


def touches_of(record: Record) -> set[tuple[str, str]]:
    """Return pairs of a request and what happened to it, before the closing act."""
    found = set(met(record))
    for fault in faults_of(record):
        found |= set(unseen(record, fault))
    return found | set(_carried(record, found)) | {(NO_REQUEST, what) for what in _beside(record)}


def _carried(record: Record, found: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    ways = {what for _, what in found}
    names = {fault["name"] for fault in faults_of(record)}
    if REFUSED in ways:
        yield CONNECTION, REFUSED
    if "nobody takes connections" in names and SILENT in ways:
        yield CONNECTION, SILENT
    if "idle connections dead" in names and SILENT in ways:
        yield KEPT, SILENT
    if "connections ended" in names:
        yield KEPT, CUT
    if GOODBYE in ways:
        yield KEPT, GOODBYE
    if any(_by_words(one["refused"]) for one in before_the_end(record, "handshakes", "at")):
        yield HANDSHAKE, REFUSED
    for fault in faults_of(record):
        way, toxic = way_of(fault), fault["detail"].get("toxic")
        new = any(
            touch["toxic"] == toxic and fault["began"] <= touch["opened"] <= ended_of(fault)
            for touch in record.get("touches", ())
        )
        if new and way == CUT:
            yield CONNECTION, CUT
        if new and way is not None and record.get("wire", "plain") != "plain":
            yield HANDSHAKE, way


def _by_words(refused: str | None) -> bool:
    """Return whether a handshake was refused. One that broke off holds an exception's name."""
    return refused is not None and not refused.endswith("Error")


def _beside(record: Record) -> Iterator[str]:
    """Yield what happened to the client, or to the state of Vault, instead of a request."""
    for fault in faults_of(record):
        yield from (what for name, what in _BELOW.items() if fault["name"].startswith(name))
    start = next((call["began"] for call in record.get("operations", ())), inf)
    known: set[str] = set()
    for rotation in before_the_end(record, "rotations", "at"):
        if rotation["value"].startswith("none ("):
            yield DELETED
        elif rotation["path"] in known and rotation["at"] > start:
            yield CHANGED
        known.add(rotation["path"])
    delivered: set[str] = set()
    for mark in before_the_end(record, "marks", "at"):
        if (one := _DELIVERED.match(mark["text"])) is not None:
            if one[1] is None or one[1] in delivered:
                yield EXCHANGED
            delivered.add(one[1])
        if mark["text"].startswith("the name leads to "):
            yield MOVED


NO_TABLE = "no table of requests and faults"

Pairs = frozenset[tuple[str, str]]
"""A kind of request and what happened to it."""


@dataclass(frozen=True)
class Table:
    """The kinds of requests that any client has made, and the pairs of each scenario."""

    asked: frozenset[str] = frozenset()
    scenarios: Mapping[str, Pairs] = field(default_factory=dict)


@dataclass(frozen=True)
class RunTouches:
    """The table of one run.

    Attributes:
        scenarios: The pairs of each judged scenario; None if it did not pass or ran more than once.
    """

    subject: str
    asked: frozenset[str]
    scenarios: Mapping[str, Pairs | None]


def run_of(journal: Mapping[str, Any]) -> RunTouches:
    judged = [one for one in journal["scenarios"] if one["word"] != "skipped"]
    return RunTouches(
        str(journal["subject"]),
        frozenset[str]().union(*map(asked_in, judged)),
        {str(one["id"]): _told(one) for one in judged},
    )


def _told(record: Record) -> Pairs | None:
    return None if record["word"] != "pass" or record.get("runs") else frozenset(touches_of(record))


def measured(runs: Iterable[RunTouches], before: Table) -> Table:
    """Return the table after some runs; scenarios without news stay as they were.

    A client (a subject) counts for a scenario if it passed in all of its runs. A pair counts if all
    these runs have it. The pairs of several clients are joined, since not every client makes every
    request.
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
    found = read_object(path, NO_TABLE)
    try:
        scenarios = {
            str(scenario): frozenset((asked, what) for asked in met for what in met[asked])
            for scenario, met in found["scenarios"].items()
        }
        return Table(frozenset(found["asked"]), scenarios)
    except (AttributeError, KeyError, TypeError) as error:
        remedy = (
            f"make it of journals: python -m vault_harness.judge.report.touched JOURNAL... {path}"
        )
        raise wrong(path, NO_TABLE, f"{type(error).__name__}: {error}", remedy) from error


def written(table: Table) -> str:
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


def _read(path: Path) -> RunTouches:
    with malformed(path, "an event"):
        return run_of(load(path))


def main(arguments: Sequence[str]) -> int:
    """Replace an unreadable table, as its own error advises."""
    parser = argparse.ArgumentParser(
        prog="python -m vault_harness.judge.report.touched", description=__doc__
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
