"""Test a client that is a Python object in this process."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import vault_harness
from vault_harness import errors
from vault_harness.errors import without_frames
from vault_harness.judge.subjects.protocol import Object, Subject, T, check, closed, reading
from vault_harness.judge.subjects.python_object import (
    Workers,
    answer,
    as_failure,
    describe,
    find_factory,
    in_words,
    passed,
)
from vault_harness.judge.subjects.shape import Kind, OperationFailed, Reading, SubjectSpec

_HARNESS = Path(vault_harness.__file__).parent


class Capture:
    """Takes log records of every level until `close`.

    Records of the harness are left out, and those of the main thread, where no client runs. An
    exception that ends one of the client's own threads is taken too. Only the owner of `log` can
    read it.
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
    """Knows the level that the root logger had before any capture."""

    restore: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Drop a line of a late thread, which would open the file again and leave it open."""
        if self.stream is not None:
            super().emit(record)


class _Formatter(logging.Formatter):
    """Renders the time only once for all lines of a second.

    A client's library may log ten lines for each request. The time was a fifth of the cost of a
    line.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._second = (-1, "")

    def formatTime(  # noqa: N802 - logging's word
        self,
        record: logging.LogRecord,
        datefmt: str | None = None,  # noqa: ARG002 - logging's shape
    ) -> str:
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
    top = record.name.partition(".")[0]
    if top in ("resilient_vault_client", "vault_harness"):
        return top == "resilient_vault_client"
    # Libraries such as urllib3 serve the harness too, but never on threads that run a client.
    return record.threadName not in _OWN_THREADS


_OWN_THREADS = frozenset({"MainThread", "recorder", "flapping"})


def _is_the_harness(trace: TracebackType | None) -> bool:
    files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(trace)]
    return any(file.is_relative_to(_HARNESS) for file in files)


class InProcessSubject(Subject):
    """A Python object with ``read``, ``close`` and its claimed methods.

    Every operation runs on a thread, which is abandoned if the client does not return. `timeout` is
    the seconds that the factory may take.
    """

    kind: Kind = "in-process"

    @without_frames
    def __init__(
        self, spec: SubjectSpec, environ: Mapping[str, str], *, log: Path, timeout: float = 10.0
    ) -> None:
        super().__init__(spec.text, log)
        self._workers = Workers(spec.text)
        factory = find_factory(spec)
        self._capture = Capture(log)
        try:
            self._client = self._make(factory, dict(environ), timeout)
            self._introduced(describe(self._client))
        except BaseException:
            self.kill()
            raise

    @without_frames
    def close(self, *, timeout: float, beyond: float = 0.0) -> None:
        if self._workers.closed:
            return
        try:
            self._ask("close", {}, check, timeout + beyond)
        finally:
            self.kill()

    @without_frames
    def read_once_closed(self, path: str, key: str, *, timeout: float) -> Reading:
        """Read with a closed client, like a caller that is a moment too late."""
        workers = Workers(self.name)
        try:
            fields = {"path": path, "key": key}
            call = partial(answer, self._client, "read", fields)
            return reading(self._run(workers, call, "read", timeout))
        finally:
            workers.close()

    @without_frames
    def read_all_and_change_it(self, path: str, *, timeout: float) -> None:
        """Read a secret, and change each value in the object that the client returned.

        A client in a process of its own always returns a copy.
        """
        given = self._run(self._workers, lambda: self._client.read_all(path), "read_all", timeout)
        values = given if isinstance(given, Mapping) else getattr(given, "value", None)
        if isinstance(values, MutableMapping):
            with suppress(Exception):  # it may refuse changes with any exception
                for key in list(values):
                    values[key] = "changed by a caller"

    def kill(self) -> None:
        """Release it without ``close``; its own threads live on, as Python cannot end them."""
        self._workers.close()
        self._capture.close()

    def is_alive(self) -> bool:
        return not self._workers.closed

    def _make(self, factory: Callable[..., Any], environ: dict[str, str], timeout: float) -> Any:
        try:
            return self._workers.run(lambda: factory(environ), "start", timeout)
        except errors.SubjectError:
            raise
        except Exception as error:
            raise errors.SubjectDied(
                f"the factory of the subject raised {in_words(error)}",
                looked_at=f"{self.name}{passed(error)}",
                remedy="call the factory by hand with the same environment",
            ) from error

    def _exchange(self, op: str, fields: Object, timeout: float) -> Object:
        if self._workers.closed:
            raise closed(self.name, op)
        if op in ("fork", "herd") or "client" in fields:
            # It is the suite's own process, which would also disturb a herd.
            raise errors.SubjectError(
                f"a client in the suite's own process cannot be asked to {op}",
                looked_at=self.name,
                remedy=f"run it as 'command:python -m vault_harness.judge.subjects {self.name}'",
            )
        return self._run(self._workers, partial(answer, self._client, op, fields), op, timeout)

    def _run(self, workers: Workers, call: Callable[[], T], op: str, timeout: float) -> T:
        try:
            return workers.run(call, op, timeout)
        except (errors.SubjectError, OperationFailed):
            raise
        except Exception as error:
            raise as_failure(error) from error
