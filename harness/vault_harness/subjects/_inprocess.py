"""A client under test that is a Python object in this process."""

from __future__ import annotations

import importlib
import inspect
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from vault_harness import errors
from vault_harness.boundary import without_frames
from vault_harness.subjects import _protocol
from vault_harness.subjects._capture import Capture
from vault_harness.subjects._shape import (
    Credential,
    Kind,
    OperationFailed,
    Reading,
    SubjectHung,
    SubjectSpec,
    Whole,
    log_text,
    outcome_of,
)

T = TypeVar("T")


class InProcessSubject:
    """A Python object with ``read``, ``close`` and what else it claims.

    Every operation runs on a thread of the harness's own, which is abandoned when the client does
    not return. What is logged while the subject is open goes to its log file.

    Args:
        spec: Which factory to call.
        environ: What the factory is called with.
        log: Where to write what is logged.
        timeout: Seconds that the factory may take.
    """

    kind: Kind = "in-process"
    pid: int | None = None
    exit_code: int | None = None
    leaves: Collection[str] = ()

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

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def tells_outcomes(self) -> bool:
        """Whether it has claimed, or shown by now, that it tells one failure from another."""
        return self._told or "outcomes" in self.capabilities

    @without_frames
    def read(self, path: str, key: str, *, timeout: float) -> Reading:
        """One key of the secret at ``path``."""
        return as_reading(self._call("read", timeout, path, key))

    @without_frames
    def read_cached(self, path: str, key: str, *, timeout: float) -> Reading:
        """The same, from the client's cache if it likes."""
        return as_reading(self._call("read_cached", timeout, path, key))

    @without_frames
    def read_all(self, path: str, *, timeout: float) -> Whole:
        """All keys of the secret at ``path``, as one version has them."""
        return as_whole(self._call("read_all", timeout, path))

    @without_frames
    def write(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        """Store a new version of the secret at ``path``."""
        self._call("write", timeout, path, dict(data))

    @without_frames
    def lease(self, path: str, failed: str | None = None, *, timeout: float) -> Credential:
        """The credential of ``path`` that works now; ``failed`` names a user that was refused."""
        return as_credential(self._call("lease", timeout, path, failed))

    @without_frames
    def update(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        """Change these keys of the secret at ``path``, and keep the others as they are."""
        self._call("update", timeout, path, dict(data))

    @without_frames
    def fork(
        self, path: str, key: str, *, seconds: float, every: float, timeout: float
    ) -> Sequence[Reading | OperationFailed]:
        """Not here: the process is the suite's own.

        Raises:
            SubjectError: Always.
        """
        del path, key, seconds, every, timeout
        raise self._needs_a_process("cannot be forked")

    @without_frames
    def herd(self, clients: int, *, timeout: float) -> None:
        """Not here: the process is the suite's own, which would be in the herd's way.

        Raises:
            SubjectError: Always.
        """
        del clients, timeout
        raise self._needs_a_process("cannot be a herd")

    @without_frames
    def read_by(self, client: int, path: str, key: str, *, timeout: float) -> Reading:
        """Not here, see `herd`.

        Raises:
            SubjectError: Always.
        """
        del client, path, key, timeout
        raise self._needs_a_process("cannot be a herd")

    def _needs_a_process(self, cannot: str) -> errors.SubjectError:
        return errors.SubjectError(
            f"a client in the suite's own process {cannot}",
            looked_at=self.name,
            remedy=f"run it as 'command:python -m vault_harness.subjects {self.name}'",
        )

    @without_frames
    def health(self, *, timeout: float) -> bool:
        """Whether the client says that it is well."""
        return as_flag(self._call("health", timeout))

    @without_frames
    def close(self, *, timeout: float) -> None:
        """Call its ``close``.

        Raises:
            SubjectHung: It did not return in time.
            OperationFailed: It raised.
        """
        if self._workers.closed:
            return
        try:
            self._call("close", timeout)
        finally:
            self.kill()

    def kill(self) -> None:
        """Let go of it without ``close``. Threads of its own live on: Python cannot end them."""
        self._workers.close()
        self._capture.close()

    def logs(self) -> str:
        """What was logged while it was open."""
        return log_text(self._log)

    def is_alive(self) -> bool:
        """Whether it is not closed."""
        return not self._workers.closed

    def _make(self, factory: Callable[..., Any], environ: dict[str, str], timeout: float) -> Any:
        try:
            return self._workers.run(lambda: factory(environ), "start", timeout)
        except errors.SubjectError:
            raise
        except Exception as error:
            raise errors.SubjectDied(
                f"the factory of the subject raised {_words(error)}",
                looked_at=f"{self.name}{_passed(error)}",
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


def find_factory(spec: SubjectSpec) -> Callable[..., Any]:
    """Import what ``python:module:factory`` names; modules of the working directory are found too.

    Raises:
        SettingsError: There is no such module, or no such factory in it, or it is nothing to call.
    """
    here = str(Path.cwd())
    try:
        with _found_first(here):
            found: Any = importlib.import_module(spec.module)
        for part in spec.factory.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise errors.SettingsError(
            f"the subject {spec.text} cannot be imported: {error}",
            looked_at=f"module {spec.module}, factory {spec.factory}, from {here}",
            remedy="write python:package.module:factory, and start where the package is found",
        ) from error
    except (Exception, SystemExit) as error:  # a program that ends itself would end us too
        raise errors.SettingsError(
            f"the import of {spec.module} raised {type(error).__name__}: {error}",
            looked_at=f"module {spec.module}, from {here}",
            remedy=f"python -c 'import {spec.module}' shows where",
        ) from error
    if not callable(found):
        raise errors.SettingsError(
            f"the factory of {spec.text} is {type(found).__name__}, not something to call",
            looked_at=f"module {spec.module}",
            remedy="name a function or a class that takes the environment as a mapping",
        )
    return found  # type: ignore[no-any-return]  # callable() tells no more of an Any


@contextmanager
def _found_first(folder: str) -> Iterator[None]:
    """Look for modules in a folder first, and after the block last.

    What is tested is what lies there, not what was installed some time ago; and yet a file of the
    name of a module of Python's own must not be taken for it by all that is imported later.
    """
    if "" in sys.path:
        yield
        return
    sys.path.insert(0, folder)  # also if it is there already: at the end, what is installed wins
    try:
        yield
    finally:
        with suppress(ValueError):  # the subject may do with it what it likes
            sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def describe(client: object) -> _protocol.Hello:
    """What a Python client says of itself.

    Raises:
        SubjectError: It claims what nobody knows, or what it has no method for, or one that would
            have to be awaited: nobody does, so that a ``close`` or a ``write`` would look done.
    """
    said = _protocol.claims(
        getattr(client, "capabilities", ["read"]),
        getattr(client, "declares", {}),
        getattr(client, "auth", ()),
    )
    needs = {word: word for word in ("read", "read_all", "write", "update", "health", "lease")}
    needs["cached"] = "read_cached"
    wanted = [needs[word] for word in sorted(said.capabilities) if word in needs] + ["close"]
    missing = [method for method in wanted if not callable(getattr(client, method, None))]
    if missing:
        raise errors.SubjectError(
            f"the subject has no method {' and no method '.join(missing)}",
            looked_at=f"its class {type(client).__qualname__}, and what it claims",
            remedy="add the method, or leave out the capability",
        )
    awaited = [name for name in wanted if inspect.iscoroutinefunction(getattr(client, name))]
    if awaited:
        raise errors.SubjectError(
            f"the subject has coroutines for methods: {', '.join(awaited)}",
            looked_at=f"its class {type(client).__qualname__}; its methods are called from threads",
            remedy="run its event loop in a thread, and return from each method "
            "asyncio.run_coroutine_threadsafe(..., loop).result(); "
            "or let it speak the line protocol (command:)",
        )
    return replace(said, version=_protocol.version_of(getattr(client, "version", None)))


def as_reading(value: object) -> Reading:
    """What a Python client returned: a string, or something with ``value`` and ``stale``."""
    text = value if isinstance(value, str) else getattr(value, "value", None)
    if not isinstance(text, str):
        raise errors.SubjectError(
            f"the subject returned {type(value).__name__}, not a string",
            looked_at="what read or read_cached returned",
            remedy="return the value of the one key that was asked for",
        )
    return Reading(str.__str__(text), bool(getattr(value, "stale", False)))


def as_whole(value: object) -> Whole:
    """What a Python client's ``read_all`` returned: strings by their keys, ``stale`` or not.

    A mapping, or something with a mapping as its ``value``.
    """
    values = value if isinstance(value, Mapping) else getattr(value, "value", None)
    if not isinstance(values, Mapping) or not all(
        isinstance(word, str) for pair in values.items() for word in pair
    ):
        raise errors.SubjectError(
            f"the subject returned {type(value).__name__}, not strings by their keys",
            looked_at="what read_all returned",
            remedy="return a dictionary of every key of the secret and its value",
        )
    return Whole(dict(values), bool(getattr(value, "stale", False)))


def as_credential(value: object) -> Credential:
    """What a Python client leased: a mapping, or something with ``username`` and ``password``."""
    if isinstance(value, Mapping):
        username, password = value.get("username"), value.get("password")
    else:
        username, password = getattr(value, "username", None), getattr(value, "password", None)
    if not isinstance(username, str) or not isinstance(password, str):
        raise errors.SubjectError(
            f"the subject returned {type(value).__name__}, not a username and a password",
            looked_at="what lease returned",
            remedy="return both, as attributes or as the keys of a dictionary",
        )
    return Credential(username, password)


def as_flag(value: object) -> bool:
    """What a Python client's ``health`` returned."""
    if not isinstance(value, bool):
        raise errors.SubjectError(
            f"the subject returned {type(value).__name__}, not a bool",
            looked_at="what health returned",
            remedy="return True when it can serve, False when it cannot",
        )
    return value


def as_failure(error: BaseException) -> OperationFailed:
    """What a Python client's exception says."""
    return OperationFailed(outcome_of(getattr(error, "outcome", None)), _words(error))


def _passed(error: BaseException) -> str:
    """Where an exception of a foreign client came from, since its frames are not kept."""
    places = traceback.extract_tb(error.__traceback__)
    return f", at {places[-1].filename}:{places[-1].lineno}" if places else ""


def _words(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the exception of a foreign client may be broken in any way
        text = "(its text cannot be had)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Workers:
    """Threads that run one call each and are used again: a client's per-thread state lives on.

    `concurrent.futures` has such a pool, but the interpreter waits for its threads at exit, and
    one that a client keeps for ever would keep the harness too.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self.closed = False

    def run(self, call: Callable[[], T], what: str, timeout: float) -> T:
        """What ``call`` returns or raises.

        Raises:
            SubjectHung: It does neither within ``timeout`` seconds.
        """
        began = time.monotonic()
        future = self.start(call)
        try:
            done = _settled(future, timeout)
        except TimeoutError:
            raise SubjectHung(
                f"the subject did not return from {what} within {timeout:g} s",
                looked_at=f"{self._name}, for {time.monotonic() - began:.1f} s",
                remedy="give every call a deadline of its own",
            ) from None
        return done.result()

    def start(self, call: Callable[[], T]) -> Future[T]:
        """Run ``call`` on a thread, and do not wait for it."""
        with self._lock:
            worker = self._idle.pop() if self._idle else _Worker(self._name, self._back)
        future: Future[T] = Future()
        worker.give(call, future)
        return future

    def close(self) -> None:
        """End the idle threads; one that is in a call ends after it."""
        with self._lock:
            self.closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.stop()

    def _back(self, worker: _Worker) -> bool:
        with self._lock:
            if not self.closed:
                self._idle.append(worker)
            return not self.closed


def _settled(future: Future[T], timeout: float) -> Future[T]:
    """The future once it is done; ``result`` would confuse a TimeoutError of the call."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(timeout):
        raise TimeoutError
    return future


class _Worker:
    """One thread and the place where its next call is put."""

    def __init__(self, name: str, back: Callable[[_Worker], bool]) -> None:
        self._back = back
        self._ready = threading.Semaphore(0)
        self._call: Callable[[], None] | None = None
        threading.Thread(target=self._run, name=f"subject {name}", daemon=True).start()

    def give(self, call: Callable[[], T], future: Future[T]) -> None:
        """Run this call next."""

        def settle() -> None:
            try:
                result = call()
            except Exception as error:  # noqa: BLE001 - whatever a client raises is its answer
                outcome: Exception | None = error
            except BaseException as error:  # noqa: BLE001 - SystemExit must not end our thread
                outcome = RuntimeError(f"the client raised {_words(error)}")
            else:
                outcome = None
            # Before the one who waits goes on: the next call shall find this very thread.
            self._alive = self._back(self)
            if outcome is None:
                future.set_result(result)
            else:
                future.set_exception(outcome)

        self._call = settle
        self._ready.release()

    def stop(self) -> None:
        """End the thread, which must be idle."""
        self._call = None
        self._ready.release()

    def _run(self) -> None:
        self._alive = True
        while self._alive:
            self._ready.acquire()
            call, self._call = self._call, None
            if call is None:
                return
            call()
            del call
