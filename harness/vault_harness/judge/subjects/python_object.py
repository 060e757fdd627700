"""Find and call a client that is a Python object, and read its claims."""

from __future__ import annotations

import importlib
import inspect
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from vault_harness import errors
from vault_harness.judge.subjects import protocol
from vault_harness.judge.subjects.protocol import Hello, Object, claims, version_of
from vault_harness.judge.subjects.shape import (
    OperationFailed,
    SubjectHung,
    SubjectSpec,
    outcome_of,
)

METHODS = {
    **{word: word for word in ("read", "read_all", "write", "update", "health", "lease", "static")},
    "cached": "read_cached",
}
"""The method of each capability that needs one."""


def find_factory(spec: SubjectSpec) -> Callable[..., Any]:
    """Import what ``python:module:factory`` names, also from the working directory."""
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
    except (Exception, SystemExit) as error:  # SystemExit would end the suite too
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
    return found  # type: ignore[no-any-return] # callable() tells no more about an Any


@contextmanager
def _found_first(folder: str) -> Iterator[None]:
    """Look for modules in a folder first during the block, and last after it.

    The folder has precedence over an installed version of the client. Later imports must not take a
    file in it for a module of Python's own.
    """
    if "" in sys.path:
        yield
        return
    sys.path.insert(0, folder)  # also if listed: an installed version may come first
    try:
        yield
    finally:
        with suppress(ValueError):  # the subject may have removed it
            sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def describe(client: object) -> Hello:
    """Return a Python client's claims.

    Raises:
        SubjectError: A claim is unknown, or its method is missing or a coroutine. Nobody would
            await a coroutine, and a ``close`` or ``write`` would seem done.
    """
    said = claims(
        getattr(client, "capabilities", ["read"]),
        getattr(client, "declares", {}),
        getattr(client, "auth", ()),
        getattr(client, "leaves", ()),
    )
    wanted = [METHODS[word] for word in sorted(said.capabilities) if word in METHODS] + ["close"]
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
    return replace(said, version=version_of(getattr(client, "version", None)))


def answer(client: Any, op: str, fields: Object) -> dict[str, Any]:
    """Let a Python client do an operation, and return its answer in the line protocol."""
    match op:
        case "read" | "read_cached":
            value = getattr(client, op)(fields["path"], fields["key"])
            given = value if isinstance(value, str) else getattr(value, "value", value)
            given = str.__str__(given) if isinstance(given, str) else given
            understand: Callable[[Object], object] = protocol.reading
        case "read_all":
            value = client.read_all(fields["path"])
            given = value if isinstance(value, Mapping) else getattr(value, "value", value)
            given = dict(given) if isinstance(given, Mapping) else given
            understand = protocol.whole
        case "lease" | "static":
            value = getattr(client, op)(fields["path"], fields.get("failed"))
            look = value.get if isinstance(value, Mapping) else partial(_attribute, value)
            given = {name: look(name) for name in ("username", "password")}
            understand = protocol.credential
        case "health":
            value = given = client.health()
            understand = protocol.flag
        case "write" | "update":
            getattr(client, op)(fields["path"], fields["data"])
            return {"ok": True}
        case "close":
            client.close()
            return {"ok": True}
        case _:
            raise OperationFailed(None, f"there is no operation {op!r}")
    stale = bool(getattr(value, "stale", False))
    answered = {"ok": True, "value": given, **({"stale": True} if stale else {})}
    understand(answered)
    return answered


def _attribute(value: object, name: str) -> object:
    return getattr(value, name, None)


def as_failure(error: BaseException) -> OperationFailed:
    try:
        beside = dict(_beside(error))
    except Exception:  # noqa: BLE001 - its attributes may be broken in any way
        beside = {}
    return OperationFailed(outcome_of(getattr(error, "outcome", None)), in_words(error), beside)


CARRIERS = ("request", "response")
"""Attributes whose objects are searched, on an error or on such an object."""

DEEPEST = 8
"""Most steps from an error to a carried text."""


def _beside(error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield the texts, with their places, that an error and its chain carry besides its message."""
    place, seen, one = "", set[int](), error
    while id(one) not in seen:
        seen.add(id(one))
        if place:
            yield place, in_words(one)
        for name, value in (("args", one.args), *vars(one).items()):
            yield from _texts(value, f"{place}.{name}".lstrip("."), DEEPEST)
        if one.__cause__ is not None:
            place, one = f"{place}.__cause__".lstrip("."), one.__cause__
        elif one.__context__ is not None and not one.__suppress_context__:
            place, one = f"{place}.__context__".lstrip("."), one.__context__


def _texts(value: object, place: str, steps: int) -> Iterator[tuple[str, str]]:
    inside: Iterable[tuple[object, object]] = ()
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, bytes | bytearray):
        yield place, value.decode("utf-8", "replace")
    elif isinstance(value, BaseException):
        yield place, in_words(value)
    elif isinstance(value, Mapping):
        inside = list(value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        inside = enumerate(value)
    elif place.rpartition(".")[2].lstrip("_") in CARRIERS:
        inside = list(getattr(value, "__dict__", {}).items())
    if steps:
        for name, one in inside:
            yield from _texts(one, f"{place}.{name}", steps - 1)


def passed(error: BaseException) -> str:
    """Return where a client's exception was raised, since its frames are not kept."""
    places = traceback.extract_tb(error.__traceback__)
    return f", at {places[-1].filename}:{places[-1].lineno}" if places else ""


def in_words(error: BaseException) -> str:
    """Return an exception as text, even if its own ``__str__`` raises."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - as above
        text = "(its text cannot be had)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


T = TypeVar("T")


class Workers:
    """Threads that run one call each and are reused, so that thread-local state lives on.

    At exit, the interpreter waits for the threads of `concurrent.futures`. A thread that a client
    blocks for ever would then block the harness too.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self.closed = False

    def run(self, call: Callable[[], T], what: str, timeout: float) -> T:
        """Call in a thread; raise `SubjectHung` if that takes too long."""
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
        with self._lock:
            worker = self._idle.pop() if self._idle else _Worker(self._name, self._back)
        future: Future[T] = Future()
        worker.give(call, future)
        return future

    def close(self) -> None:
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
    """Wait for the future; `result(timeout)` raises the same error as a call that timed out."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(timeout):
        raise TimeoutError
    return future


class _Worker:
    """A thread, and the place for its next call."""

    def __init__(self, name: str, back: Callable[[_Worker], bool]) -> None:
        self._back = back
        self._ready = threading.Semaphore(0)
        self._call: Callable[[], None] | None = None
        threading.Thread(target=self._run, name=f"subject {name}", daemon=True).start()

    def give(self, call: Callable[[], T], future: Future[T]) -> None:
        def settle() -> None:
            try:
                result = call()
            except Exception as error:  # noqa: BLE001 - whatever a client raises is its answer
                outcome: Exception | None = error
            except BaseException as error:  # noqa: BLE001 - SystemExit must not end our thread
                outcome = RuntimeError(f"the client raised {in_words(error)}")
            else:
                outcome = None
            # Do this before the waiting caller goes on, since the next call must find this thread.
            self._alive = self._back(self)
            if outcome is None:
                future.set_result(result)
            else:
                future.set_exception(outcome)

        self._call = settle
        self._ready.release()

    def stop(self) -> None:
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
