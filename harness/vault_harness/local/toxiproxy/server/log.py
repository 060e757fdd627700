"""JSON lines on standard output that never block the server.

A full pipe that nobody reads would stop a waiting server. So a line without room is dropped, and
the next line reports how many were.

The fields of a line are the mapping that `logging` accepts instead of arguments::
Fields of a line are given as the mapping that `logging` takes in place of arguments::

    logging.getLogger(__name__).info("Started proxy", {"name": "vault"})
"""

from __future__ import annotations

import json
import logging
import os
import select
import time
from collections.abc import Mapping

ROOM = 4096
"""Bytes that a ready pipe takes at once (POSIX: ``PIPE_BUF``); longer lines are cut."""
STANDARD_OUTPUT = 1
LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
}
NAMES = {level: name for name, level in reversed(LEVELS.items())} | {logging.DEBUG: "debug"}


class JsonLines(logging.Handler):
    """Writes each record as a line of JSON if there is room for it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._dropped = 0

    def format(self, record: logging.LogRecord) -> str:
        """Format level, time (UTC), message, and the record's fields."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "level": NAMES.get(record.levelno, record.levelname.lower()),
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "message": str(record.msg) if isinstance(record.args, Mapping) else record.getMessage(),
        }
        if isinstance(record.args, Mapping):
            line |= record.args
        if record.exc_info:
            line["error"] = repr(record.exc_info[1])
        if self._dropped:
            line["dropped_lines"] = self._dropped
        text = json.dumps(line, default=str)
        if len(text) >= ROOM:
            line = {**line, "message": text[: ROOM // 4], "cut": True}
            text = json.dumps({key: line[key] for key in ("level", "time", "message", "cut")})
        return text

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or count it as dropped."""
        try:
            if select.select([], [self._descriptor], [], 0)[1]:
                # Directly: a line in the buffer of sys.stdout would stay there if nobody reads.
                os.write(self._descriptor, self.format(record).encode() + b"\n")
                self._dropped = 0
            else:
                self._dropped += 1
        except (OSError, ValueError):
            self._dropped += 1  # nobody reads any more


def set_up() -> None:
    """Log to standard output from the level of ``LOG_LEVEL`` on, ``info`` by default."""
    name = os.environ.get("LOG_LEVEL", "info").lower()
    root = logging.getLogger()
    root.handlers = [JsonLines(STANDARD_OUTPUT)]
    root.setLevel(LEVELS.get(name, logging.INFO))
    if name not in LEVELS:
        root.error("unknown LOG_LEVEL", {"value": name})
