"""JSON lines on standard output, which never block the server.

A pipe that nobody empties would stop a server that waited for it. Here a line for which there is no
room is dropped, and the next one that is written says how many were.

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
"""Bytes that a pipe which is ready takes at once; longer lines are cut (POSIX: ``PIPE_BUF``)."""
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
    """Writes each record as a line of JSON, as long as there is room for it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._dropped = 0

    def format(self, record: logging.LogRecord) -> str:
        """Level, time (UTC), message, and the record's fields."""
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
                # Past the buffer of sys.stdout, in which a line that nobody takes would stay.
                os.write(self._descriptor, self.format(record).encode() + b"\n")
                self._dropped = 0
            else:
                self._dropped += 1
        except (OSError, ValueError):
            self._dropped += 1  # nobody listens any more


def set_up() -> None:
    """Log to standard output from the level that ``LOG_LEVEL`` names; ``info`` without it."""
    name = os.environ.get("LOG_LEVEL", "info").lower()
    root = logging.getLogger()
    root.handlers = [JsonLines(STANDARD_OUTPUT)]
    root.setLevel(LEVELS.get(name, logging.INFO))
    if name not in LEVELS:
        root.error("unknown LOG_LEVEL", {"value": name})
