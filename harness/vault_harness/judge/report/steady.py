"""Compare several runs of one suite with the first run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.errors import SettingsError
from vault_harness.judge.report.timing import SEEN, in_short, plain
from vault_harness.judge.verdict import TOO_SLOW

FORMAT = 1
"""Of ``steady.json``."""

MISSING = "missing"
"""The word for a scenario that a run lacks, because its process died or the run broke off."""


@dataclass(frozen=True)
class Judged:
    """The verdicts of one run.

    Attributes:
        number: Counted from 1.
        busy: Whether other programs kept the machine busy.
        slow: Ids of scenarios that have no verdict only because the machine was too slow.
        kept: Folder of its journal; empty if it was not kept.
    """

    number: int
    busy: bool
    seconds: float
    words: Mapping[str, str]
    why: Mapping[str, str] = field(default_factory=dict)
    slow: Sequence[str] = ()
    kept: str = ""


@dataclass(frozen=True)
class Difference:
    """A verdict that differs from the scenario's first one.

    Attributes:
        first: The verdict in the first run that has one.
    """

    id: str
    first: str
    word: str
    why: str
    run: int
    busy: bool


def judged(number: int, journal: Mapping[str, Any], *, busy: bool, kept: str = "") -> Judged:
    scenarios = journal["scenarios"]
    return Judged(
        number=number,
        busy=busy,
        seconds=float(journal["seconds"]),
        words={one["id"]: one["word"] for one in scenarios},
        why={one["id"]: one["why"] for one in scenarios if one["word"] != "pass"},
        slow=[one["id"] for one in scenarios if _too_slow(one)],
        kept=kept,
    )


def _too_slow(record: Mapping[str, Any]) -> bool:
    reasons = record.get("untouched") or [""]
    return record["word"] == "not exercised" and all(text.startswith(TOO_SLOW) for text in reasons)


def differences(runs: Sequence[Judged]) -> list[Difference]:
    """``too slow`` counts as a difference only in a run on an idle machine."""
    found = []
    for id in sorted({id for run in runs for id in run.words}):  # noqa: A001 - they are
        first = _first(runs, id)
        for run in runs:
            word = run.words.get(id, MISSING)
            if not run.busy if id in run.slow else word != first:
                found.append(Difference(id, first, word, run.why.get(id, ""), run.number, run.busy))
    return found


def _first(runs: Iterable[Judged], id: str) -> str:  # noqa: A002 - it is one
    words = [run.words.get(id, MISSING) for run in runs if id not in run.slow]
    return words[0] if words else "not exercised"


def alike(runs: Sequence[Judged]) -> int:
    """Count the runs that have no verdict that differs from the first."""
    return len(runs) - len({found.run for found in differences(runs)})


def told(runs: Sequence[Judged], *, subject: str) -> str:
    """Return Markdown."""
    found = differences(runs)
    busy = sum(run.busy for run in runs)
    slow = sum(len(run.slow) for run in runs if run.busy)
    lines = [
        f"# {subject}: {alike(runs)} of {len(runs)} runs alike",
        "",
        f"{len(runs)} runs of {len(runs[0].words)} scenarios"
        + (f", {busy} of them with every core kept busy by other programs" if busy else "")
        + (
            f"; there the machine was too slow for {slow} verdicts, which counts not"
            if slow
            else ""
        )
        + ".",
        "",
    ]
    if found:
        lines += ["| scenario | first | run | verdict | why |", "| --- | --- | --- | --- | --- |"]
        for one in found:
            where = f"{one.run} (busy)" if one.busy else str(one.run)
            why = plain(in_short(one.why, SEEN))
            lines.append(f"| {one.id} | {one.first} | {where} | {one.word} | {why} |")
    else:
        lines.append("No verdict differs from that of the first run.")
    lines += [
        "",
        "| run | machine | time | pass | else | journal |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for run in runs:
        passed = sum(word == "pass" for word in run.words.values())
        cells = ["busy" if run.busy else "idle", f"{run.seconds:.0f} s", str(passed)]
        rest = str(len(run.words) - passed)
        lines.append(f"| {run.number} | {' | '.join(cells)} | {rest} | {run.kept} |")
    return "\n".join(lines) + "\n"


def save(directory: Path, runs: Sequence[Judged], order: Mapping[str, Any]) -> None:
    """Write ``steady.json`` and ``steady.md``.

    `order` is the command's choice. `load` accepts only the same order.
    """
    data = {
        "format": FORMAT,
        "order": dict(order),
        "alike": alike(runs),
        "runs": [asdict(run) for run in runs],
        "differences": [asdict(one) for one in differences(runs)],
    }
    files.write_text(directory / "steady.json", json.dumps(data, indent=1) + "\n")
    files.write_text(directory / "steady.md", told(runs, subject=str(order["subject"])))


def load(directory: Path, order: Mapping[str, Any]) -> list[Judged]:
    """Return an empty list if there are none."""
    file = directory / "steady.json"
    if not file.exists():
        return []
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["format"] != FORMAT or data["order"] != dict(order):
            raise ValueError(f"it is of another order: {data['order']}")
        return [Judged(**run) for run in data["runs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"these runs cannot be gone on with: {error}",
            looked_at=str(file),
            remedy="leave out --resume to begin again",
        ) from error
