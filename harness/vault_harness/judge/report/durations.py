"""Update durations from a run: ``python -m vault_harness.judge.report.durations JOURNAL FILE``.

FILE is the table beside a catalogue. It has whole seconds, so that it changes only if a scenario
does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.errors import HarnessError, SettingsError
from vault_harness.judge.catalogue import load_durations
from vault_harness.judge.report.journal import load


def measured(journal: Mapping[str, Any], before: Mapping[str, float]) -> dict[str, int]:
    """Return the measured time of each pass, and the known time of every other scenario.

    A failure, or a scenario that ran more than once, says little about its usual time.
    """
    found = {id: round(seconds) for id, seconds in before.items()}  # noqa: A001 - it is one
    for scenario in journal["scenarios"]:
        several = scenario.get("runs") or scenario.get("confirmation")
        if scenario["word"] == "pass" and not several:
            found[str(scenario["id"])] = max(1, round(scenario["seconds"]))
    return dict(sorted(found.items()))


def main(arguments: Sequence[str]) -> int:
    """Replace an unreadable file, as its own error advises."""
    parser = argparse.ArgumentParser(
        prog="python -m vault_harness.judge.report.durations", description=__doc__
    )
    parser.add_argument("journal", type=Path, help="journal.json of a run")
    parser.add_argument("file", type=Path, help="durations.json beside the catalogue")
    given = parser.parse_args(arguments)
    before: Mapping[str, float] = {}
    with contextlib.suppress(SettingsError):
        before = load_durations(given.file)
    try:
        found = measured(load(given.journal), before)
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    files.write_text(given.file, json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
