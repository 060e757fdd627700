"""Calling a subject and noting what it answers: one witness of the history."""

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
from vault_harness.scenario._secrets import Secrets
from vault_harness.scenario.history import History
from vault_harness.scenario.observations import BESIDE, NOTHING, Operation, Outcome
from vault_harness.scenario.verdict import NotClaimed
from vault_harness.subjects import (
    Credential,
    OperationFailed,
    Reading,
    SecretNotServed,
    Subject,
    SubjectHung,
)

PATIENCE = 6.0
"""Seconds beyond its deadline after which a call is given up as hung."""

Verb = Literal["read", "read_cached"]

Way = Literal["read", "read_cached", "read_all"]
"""How a secret may be read: a key of it, or the whole of it."""

_OUTCOMES: dict[str, Outcome] = {
    "unavailable": "unavailable",
    "denied": "denied",
    "missing": "missing",
    "deleted": "deleted",
    "stale": "stale",
}


@dataclass(frozen=True)
class Child:
    """What a forked child of the subject came to.

    Attributes:
        operation: The whole of its life, as one call.
        values: The label of each value that it was given.
        failures: How each read of it ended that gave none.
    """

    operation: Operation
    values: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


LETTERS = 300
"""Of a message that are kept: a client may make thousands of them."""

LETTERS_OF_A_START = 1500
"""And of why it did not start, which happens once: the end of its log is in that."""


class Driver:
    """A subject whose every call is noted.

    Args:
        subject: A started client.
        history: Where operations are noted.
        secrets: Gives values their labels, and takes secrets out of messages.
        deadline: Seconds in which the client must end a call by its own promise.
        path: The secret that is read unless another is named.
        key: Which key of it.
        instance: Number of the operation that started it.

    Attributes:
        closed: Whether `close` was called.
        number: Of a client in a herd, which of them is called; None for the first, or the only one.
    """

    def __init__(
        self,
        subject: Subject,
        history: History,
        secrets: Secrets,
        *,
        deadline: float,
        path: str = "backend/django",
        key: str = "SECRET_KEY",
        instance: int | None = None,
    ) -> None:
        self.subject = subject
        self._instance = instance
        self._path, self._key = path, key
        self._history = history
        self._secrets = secrets
        self.closed = False
        self._timeout = deadline + PATIENCE
        self._unknown: dict[int, str] = {}
        self.number: int | None = None

    def herd(self, count: int, *, timeout: float) -> list[Driver]:
        """Have the subject make a herd in its process; a driver for each of its clients.

        The subject is closed once, by this driver: its clients end with it.

        Args:
            count: How many clients, the one that there is among them: it is the first.
            timeout: Seconds that it may take.

        Raises:
            OperationFailed: The subject says that it cannot.
            SubjectError: It does not answer as it should.
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
        """One read, of the scenario's own secret by default.

        Never raises for what the subject answers.

        Raises:
            NotClaimed: It was configured without this secret.
        """
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
        self, way: Way, path: str | None = None, key: str | None = None, *, caller: int = 0
    ) -> Operation:
        """One read in this way: of a key, or of the whole secret that has it."""
        if way == "read_all":
            return self.read_all(path or self._path, (key or self._key,), caller=caller)
        return self.read(path, key, verb=way, caller=caller)

    def read_all(
        self, path: str, keys: Collection[str], *, without: Collection[str] = (), caller: int = 0
    ) -> Operation:
        """One read of a whole secret; never raises for what the subject answers.

        Args:
            path: Which secret.
            keys: What its keys are. The operation's value has the label of each, and each label
                once: more than one where the values are not of one version, `NOTHING` for a key
                that is not there.
            without: Keys that it has not got any more: the label of each that is there all the
                same is among them.
            caller: As for `read`.
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
        """Have the subject fork a child that reads for so long; never raises for what it answers.

        Args:
            path: What the child reads.
            key: Which key of it.
            seconds: How long.
            every: Seconds from one read to the next.
        """
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
        """Seconds after which any call has ended, or was given up as hung."""
        return self._timeout

    def reserve_callers(self, count: int) -> int:
        """Reserve so many callers' numbers; the first of them."""
        return self._history.reserve_callers(count)

    def write(self, path: str, data: Mapping[str, str]) -> Operation:
        """One write; never raises for what the subject answers."""
        return self._store("write", self.subject.write, path, data)

    def update(self, path: str, data: Mapping[str, str]) -> Operation:
        """A change of some keys; never raises for what the subject answers."""
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
        """Ask for a credential; None if the subject gives none, which the history then tells.

        Args:
            path: Where, with the mount.
            failed: The user that the database refused, if the last one was.
        """
        operation = self._begin("lease", path)
        try:
            credential = self.subject.lease(path, failed, timeout=self._timeout)
        except (OperationFailed, SubjectError) as error:
            self._failed(operation, error)
            return None
        label = self._secrets.label(credential.password) or "unknown"
        self._history.end_operation(operation, "ok", value=label)
        return credential

    def healthy(self) -> bool:
        """What the subject says of its own health; False if it does not answer."""
        operation = self._history.begin_operation("health")
        try:
            well = self.subject.health(timeout=self._timeout)
        except (OperationFailed, SubjectError) as error:
            self._failed(operation, error)
            return False
        self._history.end_operation(operation, "ok", message="well" if well else "not well")
        return well

    def close(self, *, timeout: float = 10.0, beyond: float = 2.0) -> Operation:
        """The clean end.

        Args:
            timeout: Seconds that it has. By four fifths of them a process is told by SIGTERM.
            beyond: For so many more it is waited for, until it is killed: to be late by a moment is
                not never to end.
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
        """Note that this instance is called for something that it has to be loaded for."""
        return self._history.begin_operation(
            verb, path, key=key, caller=caller, instance=self._instance
        )

    def _read(self, operation: Operation, reading: Reading) -> None:
        label = self._known(operation, reading.value)
        if label is None:
            self._unknown[operation.number] = reading.value
        outcome: Outcome = "stale" if reading.stale else "ok"
        self._history.end_operation(operation, outcome, value=label or "unknown")

    def look_again(self) -> None:
        """Label the values that were not known when they came, but are by now.

        An operator's own tool may write a value before the lab can learn it.
        """
        for operation in self._history.calls("read", "read_cached", "warm-up"):
            value = self._unknown.get(operation.number)
            if value is not None and (label := self._known(operation, value)):
                operation.value = label

    def _known(self, operation: Operation, value: str) -> str | None:
        return self._secrets.value_label(operation.path, operation.key or "", value)

    def _failed(self, operation: Operation, error: OperationFailed | SubjectError) -> None:
        if isinstance(error, OperationFailed):
            # A failure that says `stale`: there is only an old value, and it is not handed out.
            outcome = _OUTCOMES.get(error.outcome or "", "error")
            outcome, text = ("unavailable" if outcome == "stale" else outcome), error.message
        elif isinstance(error, SubjectHung):
            outcome, text = "hung", error.cause
        elif isinstance(error, SubjectDied):
            outcome, text = "died", error.cause
        else:
            # The harness tells what it saw, up to where a secret may begin. What is of one in it
            # all the same is no message of the subject's.
            seen = self._secrets.redact(error.looked_at)
            told = SubjectError(error.cause, looked_at=seen, remedy=error.remedy)
            outcome, text = "error", in_a_line(told)
        self._history.end_operation(operation, outcome, message=redacted(self._secrets, text))


def in_a_line(error: OperationFailed | SubjectError) -> str:
    """What a subject says of a failure, or the harness of it, with all its parts.

    What was looked at comes last: it may be the end of a log, behind which the rest would be lost.
    """
    if isinstance(error, OperationFailed):
        return str(error)
    parts = (("what to do", error.remedy), ("looked at", error.looked_at))
    more = [f"{what}: {' '.join(text.split())}" for what, text in parts if text]
    return f"{error.cause} ({'; '.join(more)})" if more else error.cause


def redacted(secrets: Secrets, text: str, letters: int = LETTERS) -> str:
    """What a subject said, without secrets, and with a note if there were some.

    Args:
        secrets: What must not be in it.
        text: What it said.
        letters: How many of it are kept.
    """
    leaked = secrets.found_in(text)
    note = f" [contains {', '.join(leaked)}]" if leaked else ""
    shown = secrets.redact(text)
    return (shown if len(shown) <= letters else f"{shown[:letters]} ...") + note


@contextmanager
def reading(
    driver: Driver,
    *,
    every: float,
    path: str | None = None,
    key: str | None = None,
    verb: Way = "read",
    callers: int = 1,
    stop: threading.Event | None = None,
) -> Iterator[None]:
    """Read again and again, each caller one call at a time, while the block runs.

    No two blocks share a caller's number, so that a history tells all callers apart.

    Args:
        driver: The subject.
        every: Seconds from the start of one call to the start of the next, if it ended by then.
        path: Which secret; the scenario's own by default.
        key: Which key of it.
        verb: ``read``, ``read_cached`` or ``read_all``.
        callers: How many callers at once.
        stop: Set at the end of the block; one that several blocks share lets all their callers end
            at once, rather than one block after the other.
    """
    stop = stop or threading.Event()
    failures: list[BaseException] = []
    first = driver.reserve_callers(callers)

    def call(caller: int) -> None:
        due = time.monotonic()
        try:
            while not stop.is_set():
                if driver.ask(verb, path, key, caller=caller).outcome == "died":
                    return
                due = max(due + every, time.monotonic())
                stop.wait(due - time.monotonic())
        except BaseException as error:  # noqa: BLE001 - passed on below: a silent caller proves nothing
            failures.append(error)

    threads = [
        threading.Thread(target=call, args=(n,), name=f"caller-{n}", daemon=True)
        for n in range(first, first + callers)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        until = time.monotonic() + driver.patience + 1.0
        for thread in threads:
            # One that outlasts this cannot write any more once the history is judged.
            thread.join(timeout=max(0.0, until - time.monotonic()))
        if failures:
            raise failures[0]
