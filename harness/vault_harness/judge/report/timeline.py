"""Print a scenario on one clock: ``python -m vault_harness.judge.report.timeline JOURNAL ID``.

It prints everything that happened, or the part between ``--since`` and ``--until``: what the
scenario did, what the subject answered and logged, and every request that Vault got.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vault_harness.errors import HarnessError
from vault_harness.judge.report.explanation import explain
from vault_harness.judge.report.journal import NO_JOURNAL, load, record_in
from vault_harness.judge.report.reading import wrong
from vault_harness.judge.report.timing import lines_of, moments


def timeline(
    journal: Path,
    id: str,  # noqa: A002 - it is one
    *,
    since: float = 0.0,
    until: float = float("inf"),
    raw: bool = False,
) -> str:
    """`since` and `until` are seconds since it began. With `raw` no moments share a line."""
    record = record_in(load(journal), id, journal)
    try:
        if raw:
            lines = [str(moment) for moment in moments(record) if since <= moment.at <= until]
        else:
            lines = [line.text for line in lines_of(record, since, until, all_of_it=True)]
        head = explain({**record, "log": ()}).splitlines() if "times" in record else []
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # Reading a journal does not check the form of its thousands of events.
        raise wrong(
            journal,
            NO_JOURNAL,
            f"an event of {id.upper()} is not of the form that a run leaves"
            f" ({type(error).__name__}: {error})",
        ) from error
    return "\n".join([*head, "", *lines])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m vault_harness.judge.report.timeline", description=__doc__
    )
    parser.add_argument("journal", type=Path, help="journal.json of a run")
    parser.add_argument("id", help="of a scenario: TOK-11")
    parser.add_argument("--since", type=float, default=0.0, help="seconds since it began")
    parser.add_argument("--until", type=float, default=float("inf"), help="the same")
    parser.add_argument("--raw", action="store_true", help="put nothing together")
    given = parser.parse_args(arguments)
    try:
        text = timeline(
            given.journal, given.id, since=given.since, until=given.until, raw=given.raw
        )
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
