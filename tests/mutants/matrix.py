"""Which scenario catches which mutant: ``python -m tests.mutants.matrix [GROUP ...]``.

Each mutant meets every scenario of the group that is to catch it, by the same `run_scenario` that
users run. The table goes to ``MATRIX.md`` beside this file; its rows are kept for the groups that a
call does not name. A mutant is *caught* where its own scenario fails it, and may break others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.mutants.clients import Mutant
from tests.mutants.conftest import SCENARIOS, scenarios
from tests.mutants.test_mutants import CATALOGUE
from vault_harness.files import write_text
from vault_harness.scenario import open_environment, run_scenario
from vault_harness.scenario.catalogue import load
from vault_harness.settings import Settings
from vault_harness.subjects import parse_subject

TABLE = Path(__file__).with_name("MATRIX.md")

_LETTERS = {"pass": "·", "fail": "F", "not exercised": "o", "skipped": "-", "error": "E"}

Row = tuple[str, str, dict[str, str]]
"""A mutant's name, the scenario that must catch it, and the verdict of each scenario."""


def group_of(scenario: str) -> str:
    """The group of a scenario's id."""
    return scenario.partition("-")[0]


def verdicts(name: str) -> Row:
    """What each scenario of its group says of one mutant."""
    mutant: Mutant = CATALOGUE[name]
    catalogue, functions = load(SCENARIOS / "catalogue.toml"), scenarios()
    subject = parse_subject(mutant.subject)
    found = {}
    with open_environment(Settings(engine="process"), subject, seed=1) as environment:
        for entry in catalogue.values():
            if group_of(entry.id) == group_of(mutant.scenario):
                result = run_scenario(environment, entry, functions[entry.id], subject=subject)
                found[entry.id] = str(result.word)
    return name, mutant.scenario, found


def table(rows: Iterable[Row]) -> str:
    """The rows of one group as Markdown; the scenario that must catch a mutant is in bold."""
    rows = sorted(rows)
    ids = sorted({scenario for _, _, found in rows for scenario in found})
    lines = [
        f"| mutant | {' | '.join(one.partition('-')[2] for one in ids)} |",
        f"| --- |{' :-: |' * len(ids)}",
    ]
    for name, own, found in rows:
        cells = (_cell(found.get(one, "error"), own=one == own) for one in ids)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(word: str, *, own: bool) -> str:
    letter = _LETTERS.get(word, "?")
    return f"**{letter}**" if own else letter


def written() -> dict[str, str]:
    """The table of each group, as it stands in the file."""
    if not TABLE.is_file():
        return {}
    parts = TABLE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {part.split("\n", 1)[0]: part.split("\n", 1)[1].strip() for part in parts}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 if a mutant is not caught by its own scenario."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.matrix", description=__doc__)
    parser.add_argument("group", nargs="*", help="TOK, NET, ...; all by default")
    parser.add_argument("--workers", type=int, default=6)
    given = parser.parse_args(arguments)
    groups = given.group or sorted({group_of(one.scenario) for one in CATALOGUE.values()})
    names = [name for name, one in CATALOGUE.items() if group_of(one.scenario) in groups]
    escaped = []
    with ProcessPoolExecutor(given.workers) as pool:
        rows = list(pool.map(verdicts, names))
    tables = written()  # only now: another call may have written other groups meanwhile
    for group in groups:
        own = [row for row in rows if group_of(row[1]) == group]
        tables[group] = table(own)
        escaped += [f"{name} by {scenario}" for name, scenario, f in own if f[scenario] != "fail"]
    head = (
        "# Which scenario catches which mutant\n\n"
        "Made by `python -m tests.mutants.matrix`. F: fails it, ·: passes it, o: not exercised,\n"
        "-: skipped, E: the harness failed. Bold is the scenario that must catch it.\n"
    )
    text = "\n".join([head, *(f"## {group}\n\n{tables[group]}\n" for group in sorted(tables))])
    write_text(TABLE, text)
    sys.stdout.write(text)
    for one in escaped:
        sys.stderr.write(f"not caught: {one}\n")
    return 1 if escaped else 0


if __name__ == "__main__":
    raise SystemExit(main())
