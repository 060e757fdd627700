"""Durations from a run: ``python -m vault_harness.report.durations JOURNAL FILE``.

Brings the table beside a catalogue up to date. It has whole seconds, so that it changes only when a
scenario does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.report._journal import load
from vault_harness.scenario.durations import load_durations


def measured(journal: Mapping[str, Any], before: Mapping[str, float]) -> dict[str, int]:
    """Durations after a run: of what passed, the time it took; of the rest, what was known.

    What failed or was run more than once says little of how long it takes.
    """
    found = {id: round(seconds) for id, seconds in before.items()}  # noqa: A001 - it is one
    for scenario in journal["scenarios"]:
        if scenario["word"] == "pass" and not scenario.get("runs"):
            found[str(scenario["id"])] = max(1, round(scenario["seconds"]))
    return dict(sorted(found.items()))


def main(arguments: Iterable[str]) -> None:
    """Bring a file of durations up to date from a journal."""
    journal, target = map(Path, arguments)
    found = measured(load(journal), load_durations(target))
    files.write_text(target, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
