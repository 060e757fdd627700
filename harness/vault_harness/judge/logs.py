"""The subject's log, on the history's clock."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

INTERVAL = 0.1
"""Seconds between two checks of the log files."""

_LAST_LOOK_SECONDS = 5.0


_States = dict[Path, tuple[int, int]]
"""Size of each log file in bytes, and its change time in nanoseconds."""


@dataclass(frozen=True)
class LogLine:
    """One line of a subject's log, which may contain secrets.

    `at` is when it was first seen, on the history's clock, at most `INTERVAL` late.
    """

    at: float
    text: str


class LogWatch:
    """Notes in a thread when each log file grew, so that each line gets a time."""

    def __init__(self, files: Callable[[], list[Path]], now: Callable[[], float]) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log watch", daemon=True)
        self._files = files
        self._now = now
        self._grown: dict[Path, list[tuple[int, float]]] = {}
        self._lock = threading.Lock()
        self._read: tuple[_States, list[LogLine]] = ({}, [])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(timeout=_LAST_LOOK_SECONDS)

    def _run(self) -> None:
        while not self._over.wait(INTERVAL):
            self.look()

    def look(self) -> None:
        """Note how much the files have grown."""
        with self._lock:
            for file in self._files():
                try:
                    size = file.stat().st_size
                except FileNotFoundError:
                    continue
                marks = self._grown.setdefault(file, [])
                if size > (marks[-1][0] if marks else 0):
                    marks.append((size, self._now()))

    def lines(self) -> list[LogLine]:
        """Return all lines so far, in order. Unchanged files are not read again."""
        self.look()
        with self._lock:
            grown = {file: _state(file) for file in self._grown}
            if grown != self._read[0]:
                self._read = grown, self._lines()
            return list(self._read[1])

    def _lines(self) -> list[LogLine]:
        found = []
        for file, marks in sorted(self._grown.items()):
            sizes = [size for size, _ in marks]
            position = 0
            for raw in file.read_bytes().splitlines(keepends=True):
                position += len(raw)
                mark = min(bisect_left(sizes, position), len(marks) - 1)
                text = raw.decode("utf-8", "replace").rstrip("\r\n")
                found.append(LogLine(marks[mark][1], text))
        return sorted(found, key=lambda line: line.at)


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns
