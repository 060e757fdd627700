"""The subject's log, put on the history's clock."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vault_harness.scenario._beside import Beside

INTERVAL = 0.1
"""Seconds between two looks at the log files."""


_States = dict[Path, tuple[int, int]]
"""The size of each log file, in bytes, and when it was changed, in nanoseconds."""


@dataclass(frozen=True)
class LogLine:
    """One line of a subject's log.

    Attributes:
        at: When it was first seen, seconds on the history's clock: at most `INTERVAL` late.
        text: The line; it may hold anything, a secret too.
    """

    at: float
    text: str


class LogWatch(Beside):
    """A thread that notes when each log file grew, so that each line gets a time.

    Args:
        files: Gives the files that there are by now.
        now: The history's clock.
    """

    def __init__(self, files: Callable[[], list[Path]], now: Callable[[], float]) -> None:
        super().__init__("log watch")
        self._files = files
        self._now = now
        self._grown: dict[Path, list[tuple[int, float]]] = {}
        self._lock = threading.Lock()
        self._read: tuple[_States, list[LogLine]] = ({}, [])

    def _run(self) -> None:
        while not self._over.wait(INTERVAL):
            self.look()

    def look(self) -> None:
        """Note by how much the files have grown."""
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
        """Every line so far, in order; read anew only where a file has changed since the last time.

        At its end a scenario is asked for them again and again, and a client may log thousands.
        """
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
                # A program that floods its log has as many marks as there were looks.
                mark = min(bisect_left(sizes, position), len(marks) - 1)
                text = raw.decode("utf-8", "replace").rstrip("\r\n")
                found.append(LogLine(marks[mark][1], text))
        return sorted(found, key=lambda line: line.at)


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns
