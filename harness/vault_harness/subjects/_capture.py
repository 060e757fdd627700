"""What a client in this process logs, and how its own threads die, goes to a file of its own."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import vault_harness

_HARNESS = Path(vault_harness.__file__).parent


class Capture:
    """Takes log records of every level from its making until `close`.

    What the harness logs is left out: records of ``vault_harness``, except its subjects', and all
    of the main thread, in which no client runs. An exception that ends a thread which runs no
    code of the harness, the client's own renewer for instance, is taken too.

    Args:
        log: The file, appended to, readable by its owner alone.
    """

    def __init__(self, log: Path) -> None:
        os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        root = logging.getLogger()
        self._handler = _Handler(log, encoding="utf-8", errors="backslashreplace")
        self._handler.restore = None if _captures(root) else root.level
        self._handler.setFormatter(_Formatter())
        self._handler.addFilter(_is_a_clients)
        root.addHandler(self._handler)
        root.setLevel(logging.DEBUG)
        self._closed = False
        self._before = threading.excepthook
        self._hook: Callable[[threading.ExceptHookArgs], None] = self._died
        threading.excepthook = self._hook

    def close(self) -> None:
        """Stop taking records. Does nothing the second time."""
        if self._closed:
            return
        self._closed = True
        root = logging.getLogger()
        root.removeHandler(self._handler)
        self._handler.close()
        if self._handler.restore is not None:
            others = _captures(root)
            if others:  # the last one to close restores what the first one found
                others[0].restore = self._handler.restore
            else:
                root.setLevel(self._handler.restore)
        if threading.excepthook is self._hook:
            threading.excepthook = self._before

    def _died(self, args: threading.ExceptHookArgs) -> None:
        if self._closed or args.exc_value is None or _is_the_harness(args.exc_traceback):
            self._before(args)
            return
        name = args.thread.name if args.thread else "of unknown name"
        text = "".join(
            traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback)
        )
        record = logging.LogRecord(
            "subject", logging.ERROR, __file__, 0, "thread %s died\n%s", (name, text), None
        )
        self._handler.handle(record)


class _Handler(logging.FileHandler):
    """A file handler that knows which level the root logger had before any capture."""

    restore: int | None = None


class _Formatter(logging.Formatter):
    """As any, but for the text of a second, which is made once for all lines of that second.

    A library that a client uses may log ten lines for each request: the time of day was a fifth of
    what they cost.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._second = (-1, "")

    def formatTime(  # noqa: N802 - logging's word
        self,
        record: logging.LogRecord,
        datefmt: str | None = None,  # noqa: ARG002 - logging's shape
    ) -> str:
        """The time of a record, as logging has it by default."""
        second, text = self._second
        if (now := int(record.created)) != second:
            text = time.strftime(self.default_time_format, time.localtime(now))
            self._second = now, text
        return f"{text},{int(record.msecs):03d}"


def _captures(root: logging.Logger) -> list[_Handler]:
    return [handler for handler in root.handlers if isinstance(handler, _Handler)]


def _is_a_clients(record: logging.LogRecord) -> bool:
    if record.thread == threading.main_thread().ident:
        return False
    top, _, rest = record.name.partition(".")
    if top == "resilient_vault_client":
        return True
    if top == "vault_harness":
        return rest.partition(".")[0] == "subjects"
    # Libraries such as urllib3 serve the harness too, but never on the threads that run the client.
    return record.threadName not in _OWN_THREADS


_OWN_THREADS = frozenset({"MainThread", "recorder", "flapping"})


def _is_the_harness(trace: TracebackType | None) -> bool:
    files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(trace)]
    return any(file.is_relative_to(_HARNESS) for file in files)
