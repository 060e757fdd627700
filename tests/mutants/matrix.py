"""Which scenario catches which mutant: ``python -m tests.mutants.matrix [GROUP ...]``.

Each mutant meets every scenario of the group that is to catch it, by the same `run_scenario` that
users run. The table goes to ``MATRIX.md`` beside this file; what a call does not run stays as it
is there. A mutant is *caught* where its own scenario fails it, and may break others. A group can
grow without being run whole::

    python -m tests.mutants.matrix NET --only-missing            # new mutants, new scenarios
    python -m tests.mutants.matrix --only-missing --own          # only what must catch them
    python -m tests.mutants.matrix --mutant never-renews         # one row anew
    python -m tests.mutants.matrix --scenario NET-19             # one column anew
    python -m tests.mutants.matrix --count-missing               # how much is left; runs nothing

Each cell is written as soon as it is known, so a call that was ended goes on with
``--only-missing`` where it was. What came out while the machine stood still is not written: a
client that got no core may pass for one that is calm, or fail for what it had no time to do.
"""

from __future__ import annotations

import argparse
import fcntl
import multiprocessing
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tests.mutants.catalogue import CATALOGUE, group_of
from tests.mutants.conftest import SCENARIOS, scenarios
from vault_harness.files import write_text
from vault_harness.interrupts import ended_by_signals
from vault_harness.scenario import open_environment, run_scenario
from vault_harness.scenario.catalogue import load
from vault_harness.scenario.verdict import BUSY, Verdict
from vault_harness.settings import Settings
from vault_harness.subjects import parse_subject

TABLE = Path(__file__).with_name("MATRIX.md")

HEAD = """\
# Which scenario catches which mutant

Made by `python -m tests.mutants.matrix`. F: fails it, ·: passes it, o: not exercised,
-: skipped, E: the harness failed, nothing: not run. Bold is the scenario that must catch it.
"""

_LETTERS = {"pass": "·", "fail": "F", "not exercised": "o", "skipped": "-", "error": "E"}

Cells = dict[str, dict[str, str]]
"""The letters of the table: by mutant, then by scenario."""


def verdicts(name: str, wanted: Sequence[str]) -> tuple[str, dict[str, str]]:
    """What each of these scenarios says of one mutant, as letters; each is written at once.

    What the machine may have made is left out, and told on stderr.
    """
    catalogue, functions = load(SCENARIOS / "catalogue.toml"), scenarios()
    subject = parse_subject(CATALOGUE[name].subject)
    found = {}
    with open_environment(Settings(engine="process"), subject, seed=1) as environment:
        for one in wanted:
            result = run_scenario(environment, catalogue[one], functions[one], subject=subject)
            letter = _LETTERS.get(str(result.word), "?")
            if made_by_the_machine(result.verdict):
                sys.stderr.write(f"left out, the machine stood still: {name} by {one}: {letter}\n")
                continue
            found[one] = letter
            note({name: {one: letter}}, catalogue)
    return name, found


def made_by_the_machine(verdict: Verdict | None) -> bool:
    """Whether it stood still for long enough to be doubted, whatever the verdict says."""
    return verdict is not None and verdict.stood_still >= BUSY


def note(found: Mapping[str, Mapping[str, str]], ids: Iterable[str], table: Path = TABLE) -> None:
    """Put these cells into the file, and leave all others as they are, whoever writes meanwhile."""
    folder = os.open(table.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        cells = written(table)
        for name, row in found.items():
            cells[name] = {**cells.get(name, {}), **row}
        write_text(table, render(cells, ids))
    finally:
        os.close(folder)  # which lets go of the lock


def plan(
    cells: Mapping[str, Mapping[str, str]],
    ids: Iterable[str],
    *,
    groups: Sequence[str] = (),
    mutants: Sequence[str] = (),
    only: Sequence[str] = (),
    only_missing: bool = False,
    own: bool = False,
) -> dict[str, list[str]]:
    """Which scenarios each mutant has yet to meet; what is not named is not narrowed.

    Args:
        cells: What the table has already.
        ids: The ids of all scenarios.
        groups: Only mutants that these groups must catch.
        mutants: Only these mutants.
        only: Only these scenarios.
        only_missing: Only cells that the table has not.
        own: Only the scenario that must catch the mutant.
    """
    ids = sorted(ids)
    planned = {}
    for name, mutant in CATALOGUE.items():
        group = group_of(mutant.scenario)
        if (groups and group not in groups) or (mutants and name not in mutants):
            continue
        planned[name] = [
            one
            for one in ids
            if group_of(one) == group
            and (not only or one in only)
            and (not own or one == mutant.scenario)
            and not (only_missing and one in cells.get(name, {}))
        ]
    return {name: wanted for name, wanted in planned.items() if wanted}


def table(group: str, cells: Mapping[str, Mapping[str, str]], ids: Iterable[str]) -> str:
    """One group as Markdown; the scenario that must catch a mutant is in bold."""
    ids = sorted(one for one in ids if group_of(one) == group)
    lines = [
        f"| mutant | {' | '.join(one.partition('-')[2] for one in ids)} |",
        f"| --- |{' :-: |' * len(ids)}",
    ]
    for name in sorted(cells):
        own = CATALOGUE[name].scenario
        if group_of(own) == group:
            row = (_cell(cells[name].get(one, ""), own=one == own) for one in ids)
            lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines)


def _cell(letter: str, *, own: bool) -> str:
    return f"**{letter}**" if own and letter else letter


def read(text: str) -> Cells:
    """The cells of a table that `render` wrote."""
    cells: Cells = {}
    for part in text.split("\n## ")[1:]:
        group, head, _, *rows = [line for line in part.splitlines() if line.strip()]
        ids = [f"{group.strip()}-{one.strip()}" for one in head.split("|")[2:-1]]
        for row in rows:
            name, *letters = [one.strip().strip("*") for one in row.split("|")[1:-1]]
            cells[name] = {one: got for one, got in zip(ids, letters, strict=True) if got}
    return cells


def render(cells: Mapping[str, Mapping[str, str]], ids: Iterable[str]) -> str:
    """The whole file. A mutant or a scenario that is no more is left out."""
    ids = list(ids)
    kept = {name: row for name, row in cells.items() if name in CATALOGUE}
    groups = sorted({group_of(CATALOGUE[name].scenario) for name in kept})
    return "\n".join([HEAD, *(f"## {one}\n\n{table(one, kept, ids)}\n" for one in groups)])


def written(table: Path = TABLE) -> Cells:
    """What the file says now."""
    return read(table.read_text(encoding="utf-8")) if table.is_file() else {}


def missing(planned: Mapping[str, Sequence[str]]) -> str:
    """How many cells are yet to be run, in all and by group: a line each."""
    groups: dict[str, list[int]] = {}
    for name, wanted in planned.items():
        groups.setdefault(group_of(CATALOGUE[name].scenario), []).append(len(wanted))
    lines = [f"{sum(map(sum, groups.values()))} cells of {len(planned)} mutants are missing"]
    lines += [f"{group}: {sum(cells)} of {len(cells)}" for group, cells in sorted(groups.items())]
    return "".join(f"{line}\n" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 if a mutant that was run is not caught by its own scenario."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants.matrix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("group", nargs="*", help="TOK, NET, ...; all by default")
    parser.add_argument(
        "--mutant", action="append", default=[], choices=sorted(CATALOGUE), metavar="NAME"
    )
    parser.add_argument("--scenario", action="append", default=[], metavar="ID")
    parser.add_argument("--only-missing", action="store_true", help="only what the table has not")
    parser.add_argument("--own", action="store_true", help="only what must catch each mutant")
    parser.add_argument(
        "--count-missing", action="store_true", help="say how much that is; 1 if it is anything"
    )
    parser.add_argument("--workers", type=int, default=6)
    given = parser.parse_args(arguments)
    ids = list(load(SCENARIOS / "catalogue.toml"))
    planned = plan(
        written(),
        ids,
        groups=given.group,
        mutants=given.mutant,
        only=given.scenario,
        only_missing=given.only_missing or given.count_missing,
        own=given.own,
    )
    if given.count_missing:
        sys.stdout.write(missing(planned))
        return 1 if planned else 0
    if not planned and not given.only_missing:
        parser.error("no mutant meets such a scenario: look at the names of groups and scenarios")
    escaped = []
    with ended_by_signals(), ProcessPoolExecutor(given.workers) as pool:
        rows = [pool.submit(verdicts, *each) for each in planned.items()]
        try:
            for future in as_completed(rows):
                name, found = future.result()
                own = CATALOGUE[name].scenario
                if found.get(own, "F") != "F":
                    escaped.append(f"{name} by {own}: {found[own]}")
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)  # rows that have not begun never do
            for worker in multiprocessing.active_children():
                worker.terminate()  # or it would go on to the end of its row, with its servers
            raise
    sys.stdout.write(TABLE.read_text(encoding="utf-8"))
    for one in escaped:
        sys.stderr.write(f"not caught: {one}\n")
    return 1 if escaped else 0


if __name__ == "__main__":
    raise SystemExit(main())
