"""Print what each engine skips, as Markdown: ``python -m vault_harness.judge.report.engines``."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from vault_harness.judge.catalogue import Entry, load
from vault_harness.local.engine.shape import CAPABILITIES
from vault_harness.settings import scenarios_folder


def skipped(entries: Iterable[Entry], able: Iterable[str]) -> list[str]:
    can = {str(one) for one in able}
    return sorted(entry.id for entry in entries if entry.engine_needs - can)


def table(entries: Iterable[Entry]) -> str:
    known = list(entries)
    needed = frozenset[str]().union(*(entry.engine_needs for entry in known))
    rows = ["| engine | cannot | skips |", "| --- | --- | --- |"]
    for engine, able in CAPABILITIES.items():
        lacking = ", ".join(sorted(needed - {str(one) for one in able})) or "-"
        rows.append(f"| {engine} | {lacking} | {', '.join(skipped(known, able)) or 'nothing'} |")
    return "\n".join(rows) + "\n"


def main() -> int:
    sys.stdout.write(table(load(scenarios_folder() / "catalogue.toml").values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
