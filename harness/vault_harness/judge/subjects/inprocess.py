"""Test a client that is a Python object in this process."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import vault_harness
from vault_harness import errors
from vault_harness.errors import without_frames
from vault_harness.judge.subjects.python_object import (
    Workers,
    as_credential,
    as_failure,
    as_flag,
    as_reading,
    as_whole,
    describe,
    find_factory,
    in_words,
    passed,
)
from vault_harness.judge.subjects.shape import (
    Credential,
    Kind,
    OperationFailed,
    Reading,
    SubjectSpec,
    Whole,
    log_text,
)

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


class InProcessSubject:
    """A Python object with ``read``, ``close`` and its claimed methods.

    Every operation runs on a thread, which is abandoned if the client does not return. `timeout` is
    the seconds that the factory may take.
    """

    kind: Kind = "in-process"
    pid: int | None = None
    exit_code: int | None = None

    @without_frames
    def __init__(
        self, spec: SubjectSpec, environ: Mapping[str, str], *, log: Path, timeout: float = 10.0
    ) -> None:
        self.name = spec.text
        self._log = log
        self._told = False
        self._workers = Workers(spec.text)
        factory = find_factory(spec)
        self._capture = Capture(log)
        try:
            self._client = self._make(factory, dict(environ), timeout)
            said = describe(self._client)
        except BaseException:
            self.kill()
            raise
        self.capabilities = said.capabilities
        self.declares = said.declares
        self.version = said.version
        self.leaves = said.leaves

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def reports_outcomes(self) -> bool:
        return self._told or "outcomes" in self.capabilities

    @without_frames
    def read(self, path: str, key: str, *, timeout: float) -> Reading:
        return as_reading(self._call("read", timeout, path, key))

    @without_frames
    def read_cached(self, path: str, key: str, *, timeout: float) -> Reading:
        return as_reading(self._call("read_cached", timeout, path, key))

    @without_frames
    def read_all(self, path: str, *, timeout: float) -> Whole:
        return as_whole(self._call("read_all", timeout, path))

    @without_frames
    def read_all_and_change_it(self, path: str, *, timeout: float) -> None:
        """Read a secret, and change each value in the object that the client returned.

        A client in a process of its own always returns a copy.
        """
        given = self._call("read_all", timeout, path)
        values = given if isinstance(given, Mapping) else getattr(given, "value", None)
        if isinstance(values, MutableMapping):
            with suppress(Exception):  # it may refuse changes with any exception
                for key in list(values):
                    values[key] = "changed by a caller"

    @without_frames
    def write(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        self._call("write", timeout, path, dict(data))

    @without_frames
    def lease(self, path: str, failed: str | None = None, *, timeout: float) -> Credential:
        return as_credential(self._call("lease", timeout, path, failed))

    @without_frames
    def static(self, path: str, failed: str | None = None, *, timeout: float) -> Credential:
        return as_credential(self._call("static", timeout, path, failed), of="static")

    @without_frames
    def update(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        self._call("update", timeout, path, dict(data))

    @without_frames
    def fork(
        self, path: str, key: str, *, seconds: float, every: float, timeout: float
    ) -> Sequence[Reading | OperationFailed]:
        """Raise `SubjectError`: the process is the suite's own."""
        del path, key, seconds, every, timeout
        raise self._needs_a_process("cannot be forked")

    @without_frames
    def herd(self, clients: int, *, timeout: float) -> None:
        """Raise `SubjectError`: the suite itself would disturb a herd in its process."""
        del clients, timeout
        raise self._needs_a_process("cannot be a herd")

    @without_frames
    def read_by(self, client: int, path: str, key: str, *, timeout: float) -> Reading:
        del client, path, key, timeout
        raise self._needs_a_process("cannot be a herd")

    def _needs_a_process(self, cannot: str) -> errors.SubjectError:
        return errors.SubjectError(
            f"a client in the suite's own process {cannot}",
            looked_at=self.name,
            remedy=f"run it as 'command:python -m vault_harness.judge.subjects {self.name}'",
        )

    @without_frames
    def health(self, *, timeout: float) -> bool:
        return as_flag(self._call("health", timeout))

    @without_frames
    def close(self, *, timeout: float, beyond: float = 0.0) -> None:
        if self._workers.closed:
            return
        try:
            self._call("close", timeout + beyond)
        finally:
            self.kill()

    @without_frames
    def read_once_closed(self, path: str, key: str, *, timeout: float) -> Reading:
        """Read with a closed client, like a caller that is a moment too late."""
        workers = Workers(self.name)
        try:
            return as_reading(workers.run(lambda: self._client.read(path, key), "read", timeout))
        except errors.SubjectError:
            raise
        except Exception as error:
            raise as_failure(error) from error
        finally:
            workers.close()

    def kill(self) -> None:
        """Release it without ``close``; its own threads live on, as Python cannot end them."""
        self._workers.close()
        self._capture.close()

    def logs(self) -> str:
        return log_text(self._log)

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

    def _call(self, op: str, timeout: float, *arguments: object) -> object:
        if self._workers.closed:
            raise errors.SubjectDied(
                f"the subject is closed, so it cannot be asked to {op}",
                looked_at=self.name,
                remedy="open it again",
            )
        method = getattr(self._client, op, None)
        if not callable(method):
            raise errors.SubjectError(
                f"the subject has no method {op!r}",
                looked_at=f"its class {type(self._client).__qualname__}",
                remedy="leave out the capability that it does not have",
            )
        try:
            return self._workers.run(lambda: method(*arguments), op, timeout)
        except errors.SubjectError:
            raise
        except Exception as error:
            failure = as_failure(error)
            self._told = self._told or failure.outcome is not None
            raise failure from error
