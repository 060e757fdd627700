"""What each engine skips: ``python -m vault_harness.report.engines``, a table in Markdown.

Made of what the catalogue asks of an engine and what each can do, so that no run is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from vault_harness.engine import CAPABILITIES
from vault_harness.scenario.catalogue import Entry, load
from vault_harness.settings import scenarios_folder


def skipped(entries: Iterable[Entry], able: Iterable[str]) -> list[str]:
    """The ids of the scenarios that need what an engine cannot do.

    Args:
        entries: The scenarios.
        able: What it can do.
    """
    can = {str(one) for one in able}
    return sorted(entry.id for entry in entries if entry.engine_needs - can)


def table(entries: Iterable[Entry]) -> str:
    """A row an engine: what it cannot do that some scenario needs, and what it skips."""
    known = list(entries)
    needed = frozenset[str]().union(*(entry.engine_needs for entry in known))
    rows = ["| engine | cannot | skips |", "| --- | --- | --- |"]
    for engine, able in CAPABILITIES.items():
        lacking = ", ".join(sorted(needed - {str(one) for one in able})) or "-"
        rows.append(f"| {engine} | {lacking} | {', '.join(skipped(known, able)) or 'nothing'} |")
    return "\n".join(rows) + "\n"


def main() -> int:
    """The command line; returns the exit code."""
    sys.stdout.write(table(load(scenarios_folder() / "catalogue.toml").values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
