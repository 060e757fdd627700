"""Keep the runs that passed, so that an interrupted search goes on where it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vault_harness.errors import SettingsError
from vault_harness.judge.explore.life import Seen
from vault_harness.judge.explore.points import Point
from vault_harness.judge.explore.schedule import Schedule, Step


@dataclass(frozen=True)
class _Line:
    """What pairs of faults need to know of a run that passed."""

    steps: tuple[Step, ...]
    max_ttl: float
    begun: int
    later: tuple[Point, ...]
    signature: tuple[Any, ...]


_LINE = TypeAdapter(_Line)


class Passed:
    """The runs of one search that passed, in a file with one line for each.

    Runs that broke are not kept: they run again, since the client may have been mended.

    Args:
        search: What a run's result depends on. A file of another search is replaced.
    """

    def __init__(self, file: Path, search: Mapping[str, str]) -> None:
        self._file = file
        self._head = json.dumps(search, sort_keys=True).encode()
        self._found = _read(file, self._head)
        if not self._found:
            self.end()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, schedule: Schedule) -> Seen | None:
        return self._found.get(schedule)

    def note(self, schedule: Schedule, seen: Seen) -> None:
        line = _Line(schedule.steps, schedule.max_ttl, seen.begun, seen.later, seen.signature)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as file:
            if not file.tell():
                file.write(self._head)
            file.write(b"\n" + _LINE.dump_json(line))

    def end(self) -> None:
        """Remove the file: the search is over, and the next one begins at the start."""
        self._file.unlink(missing_ok=True)


def _read(file: Path, head: bytes) -> dict[Schedule, Seen]:
    try:
        lines = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(
            f"the runs of an interrupted search cannot be read: {error.strerror}",
            looked_at=str(file),
            remedy="make the file readable, or remove it to begin at the start",
        ) from None
    found = {}
    if lines[0] == head:
        for text in lines[1:]:
            with suppress(ValidationError):  # a killed search may leave half a line
                line = _LINE.validate_json(text)
                schedule = Schedule(line.steps, max_ttl=line.max_ttl)
                found[schedule] = Seen(
                    "pass",
                    begun=line.begun,
                    later=line.later,
                    signature=_tuples(line.signature),
                )
    return found


def _tuples(found: Any) -> Any:
    """Return lists as tuples, since JSON has only lists."""
    return tuple(map(_tuples, found)) if isinstance(found, list | tuple) else found
