"""JSON lines on standard output, written by a thread of their own.

A pipe that nobody empties would stop a server that wrote by itself. Here its log lines wait, and
when too many do they are dropped and counted, while it goes on serving.
"""

from __future__ import annotations

import datetime
import json
import os
import queue
import sys
import threading

LEVELS = ("trace", "debug", "info", "warn", "error", "fatal", "panic")
WAITING = 10_000
"""Lines that may wait to be written."""


class Log:
    """Writes lines of a level and above.

    Args:
        level: Name of the lowest level that is written.
    """

    def __init__(self, level: str = "info") -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread: threading.Thread | None = None
        self._lowest = LEVELS.index("info")
        if level.lower() in LEVELS:
            self._lowest = LEVELS.index(level.lower())
        else:
            self.error("unknown LOG_LEVEL", value=level)
        self.debugging = self._lowest <= LEVELS.index("debug")

    @classmethod
    def from_environment(cls) -> Log:
        """The level comes from ``LOG_LEVEL``; ``info`` without it."""
        return cls(os.environ.get("LOG_LEVEL", "info"))

    def debug(self, message: str, **fields: object) -> None:
        """For looking closely."""
        if self.debugging:
            self._write("debug", message, fields)

    def info(self, message: str, **fields: object) -> None:
        """What happens."""
        self._write("info", message, fields)

    def warning(self, message: str, **fields: object) -> None:
        """Something that somebody may want to mend."""
        self._write("warn", message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Something that did not work."""
        self._write("error", message, fields)

    def close(self, timeout: float = 1.0) -> None:
        """Write what waits, for at most ``timeout`` seconds."""
        if self._thread is not None:
            self._lines.put(None)
            self._thread.join(timeout)

    def _write(self, level: str, message: str, fields: dict[str, object]) -> None:
        if LEVELS.index(level) < self._lowest:
            return
        if self._lines.qsize() >= WAITING:
            self._dropped += 1
            return
        if self._dropped:
            fields = {**fields, "dropped_lines": self._dropped}
            self._dropped = 0
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = {"level": level, "time": now, "message": message, **fields}
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()
        self._lines.put(json.dumps(line, default=str))

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            except (OSError, ValueError):
                return  # nobody listens any more
