"""Call a subject, and note its answers in the history."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

from vault_harness.errors import SubjectDied, SubjectError
from vault_harness.judge.subjects import (
    Credential,
    OperationFailed,
    Reading,
    SecretNotServed,
    Subject,
    SubjectHung,
)
from vault_harness.judge.verdict import NotClaimed
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import BESIDE, NOTHING, Operation, Outcome
from vault_harness.recorder.secrets import Secrets

PATIENCE = 6.0
"""Seconds beyond its deadline after which a call counts as hung."""

Verb = Literal["read", "read_cached"]

ReadVerb = Literal["read", "read_cached", "read_all"]
"""One key, one key from the cache, or the whole secret."""

_OUTCOMES: dict[str, Outcome] = {
    "unavailable": "unavailable",
    "denied": "denied",
    "missing": "missing",
    "deleted": "deleted",
    "stale": "stale",
}


@dataclass(frozen=True)
class Child:
    """What a forked child of the subject did.

    Attributes:
        operation: The child's whole life, as one call.
        values: The label of each value that it read.
    """

    operation: Operation
    values: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


LETTERS = 300
"""Characters of a message that are kept, since there may be thousands of messages."""

LETTERS_OF_A_START = 1500
"""A failed start's message contains the end of a log."""


class Driver:
    """A subject whose calls are noted in the history. Failures are in the returned `Operation`.

    Args:
        deadline: Seconds within which the client promises to end a call.

    Attributes:
        instance: Number of the operation that started the subject.
        number: Index of this client within a herd; None for the first or only client.
    """

    def __init__(
        self,
        subject: Subject,
        history: History,
        secrets: Secrets,
        *,
        deadline: float,
        secret: tuple[str, str] = ("backend/django", "SECRET_KEY"),
    ) -> None:
        self.subject = subject
        self.instance: int | None = None
        self._path, self._key = secret
        self._history = history
        self._secrets = secrets
        self.closed = False
        self._timeout = deadline + PATIENCE
        self._unknown: dict[int, str] = {}
        self.number: int | None = None

    def herd(self, count: int, *, timeout: float) -> list[Driver]:
        """Make a herd in the subject's process, and return a driver for each of its clients.

        This driver is the first of them, and closes the subject for all.
        """
        self.subject.herd(count, timeout=timeout)
        return [self, *(self._member(number) for number in range(1, count))]

    def _member(self, number: int) -> Driver:
        member = copy.copy(self)
        member.number = number
        return member

    def read(
        self,
        path: str | None = None,
        key: str | None = None,
        *,
        verb: Verb = "read",
        caller: int = 0,
    ) -> Operation:
        """Raise `NotClaimed` if the subject was configured without this secret."""
        path, key = path or self._path, key or self._key
        operation = self._begin(verb, path, key=key, caller=caller)
        call = self.subject.read if verb == "read" else self.subject.read_cached
        if self.number is not None:
            call = partial(self.subject.read_by, self.number)
        try:
            reading = call(path, key, timeout=self._timeout)
        except SecretNotServed as error:
            self._history.end_operation(operation, "error", message=error.cause)
            raise NotClaimed(error.cause) from None
        except (OperationFailed, SubjectError) as error:
            self._failed(operation, error)
        else:
            self._read(operation, reading)
        return operation

    def ask(
        self, verb: ReadVerb, path: str | None = None, key: str | None = None, *, caller: int = 0
    ) -> Operation:
        if verb == "read_all":
            return self.read_all(path or self._path, (key or self._key,), caller=caller)
        return self.read(path, key, verb=verb, caller=caller)

    def read_all(
        self, path: str, keys: Collection[str], *, without: Collection[str] = (), caller: int = 0
    ) -> Operation:
        """Read a whole secret once.

        The operation's value has each label once, and `NOTHING` for a missing key. Several labels
        mean several versions. `without` has removed keys.
        """
        operation = self._begin("read_all", path, caller=caller)
        try:
            whole = self.subject.read_all(path, timeout=self._timeout)
        except (OperationFailed, SubjectError) as error:
            self._failed(operation, error)
        else:
            values = whole.values
            there = [*keys, *(key for key in without if key in values)]
            found = {self._label(path, key, values.get(key)) for key in there}
            outcome: Outcome = "stale" if whole.stale else "ok"
            self._history.end_operation(operation, outcome, value=BESIDE.join(sorted(found)))
        return operation

    def _label(self, path: str, key: str, value: str | None) -> str:
        if value is None:
            return NOTHING
        return self._secrets.value_label(path, key, value) or "unknown"

    def fork(self, path: str, key: str, *, seconds: float, every: float) -> Child:
        operation = self._history.begin_operation("fork", path)
        try:
            reads = self.subject.fork(
                path, key, seconds=seconds, every=every, timeout=seconds + 2 * self._timeout
            )
        except (OperationFailed, SubjectError) as error:
            self._failed(operation, error)
            return Child(operation)
        values = [self._label(path, key, one.value) for one in reads if isinstance(one, Reading)]
        failures = [
            redacted(self._secrets, str(one)) for one in reads if not isinstance(one, Reading)
        ]
        self._history.end_operation(operation, "ok", value=BESIDE.join(sorted(set(values))))
        return Child(operation, tuple(values), tuple(failures))

    @property
    def patience(self) -> float:
        """Return the seconds after which any call has ended or counts as hung."""
        return self._timeout

    def reserve_callers(self, count: int) -> int:
        return self._history.reserve_callers(count)

    def write(self, path: str, data: Mapping[str, str]) -> Operation:
        return self._store("write", self.subject.write, path, data)

    def update(self, path: str, data: Mapping[str, str]) -> Operation:
        return self._store("update", self.subject.update, path, data)

    def _store(
        self, verb: str, call: Callable[..., None], path: str, data: Mapping[str, str]
    ) -> Operation:
        operation = self._begin(verb, path)
        try:
            call(path, data, timeout=self._timeout)
        except (OperationFailed, SubjectError) as error:
            self._failed(operation, error)
        else:
            self._history.end_operation(operation, "ok")
        return operation

    def lease(self, path: str, failed: str | None = None) -> Credential | None:
        """`failed` is the user that the database has just refused."""
        return self._credential("lease", self.subject.lease, path, failed)

    def static(self, path: str, failed: str | None = None) -> Credential | None:
        """`failed` is the password that the database has just refused."""
        return self._credential("static", self.subject.static, path, failed)

    def _credential(
        self, verb: str, call: Callable[..., Credential], path: str, failed: str | None
    ) -> Credential | None:
        operation = self._begin(verb, path)
        try:
            credential = call(path, failed, timeout=self._timeout)
        except (OperationFailed, SubjectError) as error:
            self._failed(operation, error)
            return None
        label = self._secrets.label(credential.password) or "unknown"
        self._history.end_operation(operation, "stale" if credential.stale else "ok", value=label)
        return credential

    def healthy(self) -> bool:
        """Return False too if the subject does not answer."""
        operation = self._history.begin_operation("health")
        try:
            well = self.subject.health(timeout=self._timeout)
        except (OperationFailed, SubjectError) as error:
            self._failed(operation, error)
            return False
        self._history.end_operation(operation, "ok", message="well" if well else "not well")
        return well

    def close(self, *, timeout: float = 10.0, beyond: float = 2.0) -> Operation:
        """Close the subject properly.

        A process gets SIGTERM after four fifths of `timeout`, and is killed `beyond` seconds after
        `timeout`, so that a late close still counts as a close.
        """
        self.closed = True
        operation = self._history.begin_operation("close")
        try:
            self.subject.close(timeout=timeout, beyond=beyond)
        except (OperationFailed, SubjectError) as error:
            self._failed(operation, error)
        else:
            self._history.end_operation(operation, "ok")
        return operation

    def _begin(self, verb: str, path: str, *, key: str = "", caller: int = 0) -> Operation:
        return self._history.begin_operation(
            verb, path, key=key, caller=caller, instance=self.instance
        )

    def _read(self, operation: Operation, reading: Reading) -> None:
        label = self._known(operation, reading.value)
        if label is None:
            self._unknown[operation.number] = reading.value
        outcome: Outcome = "stale" if reading.stale else "ok"
        self._history.end_operation(operation, outcome, value=label or "unknown")

    def look_again(self) -> None:
        """Label values that were unknown when they were read."""
        for operation in self._history.calls("read", "read_cached", "warm-up"):
            value = self._unknown.get(operation.number)
            if value is not None and (label := self._known(operation, value)):
                operation.value = label

    def _known(self, operation: Operation, value: str) -> str | None:
        return self._secrets.value_label(operation.path, operation.key or "", value)

    def _failed(self, operation: Operation, error: OperationFailed | SubjectError) -> None:
        beside: Mapping[str, str] = {}
        if isinstance(error, OperationFailed):
            # A subject that fails with "stale" withholds an old value.
            outcome = _OUTCOMES.get(error.outcome or "", "error")
            outcome, text = ("unavailable" if outcome == "stale" else outcome), error.message
            beside, error.beside = error.beside, {}
        elif isinstance(error, SubjectHung):
            outcome, text = "hung", error.cause
        elif isinstance(error, SubjectDied):
            outcome, text = "died", error.cause
        else:
            # The harness wrote this text, so a secret in it is no leak of the subject.
            seen = self._secrets.redact(error.looked_at)
            told = SubjectError(error.cause, looked_at=seen, remedy=error.remedy)
            outcome, text = "error", in_a_line(told)
        message = redacted(self._secrets, text) + self._carried(beside)
        self._history.end_operation(operation, outcome, message=message)

    def _carried(self, beside: Mapping[str, str]) -> str:
        """Note secrets that an error carried outside its text."""
        return "".join(
            # `traceback` prints ``__notes__`` like a message, and no other attribute.
            f" [{'contains' if place.endswith('__') else 'carries'} {', '.join(leaked)} in {place}]"
            for place, text in beside.items()
            if (leaked := self._secrets.found_in(text))
        )


def in_a_line(error: OperationFailed | SubjectError) -> str:
    """Return a failure in one line; what was looked at comes last, as it may be a long log."""
    if isinstance(error, OperationFailed):
        return str(error)
    parts = (("what to do", error.remedy), ("looked at", error.looked_at))
    more = [f"{what}: {' '.join(text.split())}" for what, text in parts if text]
    return f"{error.cause} ({'; '.join(more)})" if more else error.cause


def redacted(secrets: Secrets, text: str, letters: int = LETTERS) -> str:
    """Return a subject's text without secrets, shortened, and with a note if there were any."""
    leaked = secrets.found_in(text)
    note = f" [contains {', '.join(leaked)}]" if leaked else ""
    shown = secrets.redact(text)
    return (shown if len(shown) <= letters else f"{shown[:letters]} ...") + note


def paced(stop: threading.Event, every: float) -> Iterator[None]:
    """Yield until `stop` is set, at most once in `every` seconds."""
    due = time.monotonic()
    while not stop.is_set():
        yield
        due = max(due + every, time.monotonic())
        stop.wait(due - time.monotonic())


@contextmanager
def beside(
    *works: Callable[[], None],
    name: str,
    stop: threading.Event,
    patience: float,
    apart: float = 0.0,
) -> Iterator[None]:
    """Run functions in threads, and set `stop` at the end of the block.

    An error of one is raised then, because silent callers prove nothing.

    Args:
        patience: Seconds that they may take to end.
        apart: Seconds between their starts.
    """
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    threads = [
        threading.Thread(target=run, args=(work,), name=f"{name}-{number}", daemon=True)
        for number, work in enumerate(works, start=1)
    ]
    for thread in threads:
        thread.start()
        stop.wait(apart)
    try:
        yield
    finally:
        stop.set()
        until = time.monotonic() + patience
        for thread in threads:
            # A call that takes longer cannot write to a history that is judged.
            thread.join(timeout=max(0.0, until - time.monotonic()))
        if failures:
            raise failures[0]


@contextmanager
def reading(
    driver: Driver,
    *,
    every: float,
    path: str | None = None,
    key: str | None = None,
    verb: ReadVerb = "read",
    callers: int = 1,
    stop: threading.Event | None = None,
) -> Iterator[None]:
    """Read repeatedly while the block runs, each caller one call at a time.

    Args:
        stop: Set at the end of the block. Blocks that share one event end all their callers at
            once.
    """
    stop = stop or threading.Event()
    first = driver.reserve_callers(callers)

    def call(caller: int) -> None:
        for _ in paced(stop, every):
            if driver.ask(verb, path, key, caller=caller).outcome == "died":
                return

    calls = [partial(call, number) for number in range(first, first + callers)]
    with beside(*calls, name="caller", stop=stop, patience=driver.patience + 1.0):
        yield
