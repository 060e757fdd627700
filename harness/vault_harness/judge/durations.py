"""Measured durations of scenarios, to order a suite, to split it and to predict its end.

`vault_harness.judge.report.durations` makes the table from a run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from vault_harness.errors import SettingsError

DURATIONS = "durations.json"
"""Name of the file beside a catalogue."""

DIGITS = 4
"""Maximum number of digits in ``--shard``."""


def load_durations(catalogue: Path) -> dict[str, float]:
    """Return the measured seconds of a catalogue's scenarios; empty if there are none."""
    path = catalogue.with_name(DURATIONS)
    if not path.is_file():
        return {}
    try:
        found = {name: float(seconds) for name, seconds in json.loads(path.read_text()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise _wrong(path, f"the durations cannot be read: {error}") from error
    if wrong := sorted(name for name, seconds in found.items() if not 0 < seconds < float("inf")):
        raise _wrong(path, f"{wrong[0]} takes no number of seconds above 0")
    return found


def shard(seconds: Mapping[str, float], number: int, of: int) -> frozenset[str]:
    """Return the scenarios of part `number`, from 1, of several that take about equally long.

    The longest remaining scenario goes to the shortest part. So parts differ by at most one
    scenario's duration, and the same table always gives the same parts.
    """
    parts: list[tuple[float, int, list[str]]] = [(0.0, n, []) for n in range(1, of + 1)]
    for name in sorted(seconds, key=lambda name: (-seconds[name], name)):
        least = min(parts, key=lambda part: part[:2])
        parts[least[1] - 1] = (least[0] + seconds[name], least[1], [*least[2], name])
    return frozenset(parts[number - 1][2])


def parse_shard(text: str) -> tuple[int, int] | None:
    """Parse ``2/4`` into two numbers; return None for an empty text."""
    if not text:
        return None
    number, slash, of = text.partition("/")
    digits = slash and number.isdecimal() and of.isdecimal() and len(of) <= DIGITS
    if digits and len(number) <= DIGITS and 1 <= int(number) <= int(of):
        return int(number), int(of)
    raise SettingsError(
        f"--shard {text} does not make sense",
        looked_at="the command line and the configuration file",
        remedy="Give the part and how many there are: 1/4, 2/4, 3/4, 4/4",
    )


def _wrong(path: Path, cause: str) -> SettingsError:
    return SettingsError(
        cause,
        looked_at=str(path),
        remedy="make it again from the journal of a run: "
        f"python -m vault_harness.judge.report.durations JOURNAL {path}",
    )
