"""Print what each engine skips, as Markdown: ``python -m vault_harness.judge.report.engines``.

The table compares the catalogue's needs with each engine's capabilities. It needs no run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from vault_harness.judge.catalogue import Entry, load
from vault_harness.local.engine.shape import CAPABILITIES
from vault_harness.settings import scenarios_folder


def skipped(entries: Iterable[Entry], able: Iterable[str]) -> list[str]:
    """Return the ids of the scenarios that need more than an engine is `able` to do."""
    can = {str(one) for one in able}
    return sorted(entry.id for entry in entries if entry.engine_needs - can)


def table(entries: Iterable[Entry]) -> str:
    """Return a row for each engine: the needs that it lacks, and the scenarios that it skips."""
    known = list(entries)
    needed = frozenset[str]().union(*(entry.engine_needs for entry in known))
    rows = ["| engine | cannot | skips |", "| --- | --- | --- |"]
    for engine, able in CAPABILITIES.items():
        lacking = ", ".join(sorted(needed - {str(one) for one in able})) or "-"
        rows.append(f"| {engine} | {lacking} | {', '.join(skipped(known, able)) or 'nothing'} |")
    return "\n".join(rows) + "\n"


def main() -> int:
    """Run the command line and return the exit code."""
    sys.stdout.write(table(load(scenarios_folder() / "catalogue.toml").values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
