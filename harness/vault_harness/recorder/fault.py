"""Faults: things broken on purpose, and their marks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import KW_ONLY, dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, Protocol

from vault_harness.errors import HarnessDefect


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The marks that a fault leaves on a client's traffic. One is enough.

    Attributes:
        statuses: An answer has one of these while the fault lasts.
        kinds: The requests for `statuses` and `unanswered`; empty means all.
        unanswered: A request has no complete answer, or an operation failed or was stale.
        late: An answer took this many seconds.
        token: The accessor of a refused request's token.
        turned_away: A connection carried no request, because no server answered.
        interference: The name of one that acted on a request.
        lingers: The mark may appear after the fault's end (a revoked token stays revoked).
        answers_late: Seconds by which Vault's answers reach the client late; infinite if they may
            come at the fault's end, or never. This is no mark.
    """

    statuses: frozenset[int] = frozenset()
    kinds: frozenset[str] = frozenset()
    unanswered: bool = False
    late: float | None = None
    toxics: frozenset[str] = frozenset()
    token: str | None = None
    refused: bool = False
    turned_away: bool = False
    swallowed: bool = False
    stubbed: bool = False
    interference: str | None = None
    lingers: bool = False
    answers_late: float = 0.0


class Counter(Protocol):
    """Counts requests."""

    @property
    def taken(self) -> int:
        """The requests on which it has acted."""


@dataclass
class Fault:
    """One fault in a history. Times are seconds on the history's clock.

    Attributes:
        detail: For the report; never a secret.
        optional: It need not touch the subject.
        counter: None if it does not act on single requests.
    """

    name: str
    signature: Signature
    detail: Mapping[str, object] = field(default_factory=dict)
    began: float = 0.0
    ended: float | None = None
    optional: bool = False
    counter: Counter | None = field(default=None, repr=False, compare=False)

    @property
    def touched(self) -> int:
        return self.counter.taken if self.counter is not None else 0

    @property
    def end(self) -> float:
        """When it was undone; raise `HarnessDefect` while it lasts."""
        if self.ended is None:
            raise HarnessDefect(f"fault {self.name} still lasts, and its end was asked for")
        return self.ended

    @property
    def length(self) -> float:
        return self.end - self.began

    def over(self, seconds: float = 0.0) -> float:
        return self.end + seconds


class FaultLog(Protocol):
    """A scenario's history, or a list in a test."""

    def begin_fault(
        self,
        name: str,
        signature: Signature,
        detail: Mapping[str, object] | None = None,
        *,
        optional: bool = False,
    ) -> Fault:
        """Note that a fault begins."""

    def end_fault(self, fault: Fault) -> None:
        """Note that a fault ends."""


@contextmanager
def noted(
    log: FaultLog,
    name: str,
    signature: Signature,
    detail: Mapping[str, object] | None = None,
    *,
    optional: bool = False,
    undo: Callable[[], object] = lambda: None,
) -> Iterator[Fault]:
    """Note a fault that lasts as long as the block.

    `undo` runs after the block and before the end is noted: times after a fault count from when its
    cause is gone.
    """
    fault = log.begin_fault(name, signature, detail, optional=optional)
    try:
        yield fault
    finally:
        try:
            undo()
        finally:
            log.end_fault(fault)


RequestKind = Literal[
    "login",
    "renew",
    "lookup",
    "revoke",
    "capabilities",
    "unwrap",
    "lease",
    "credential",
    "read",
    "write",
    "metadata",
    "status",
    "other",
]

Affected = RequestKind | Literal["health", "any"]
"""A kind of request, ``sys/health`` alone, or any request."""


@dataclass(frozen=True, kw_only=True)
class Stub:
    """An answer in Vault's place.

    Attributes:
        headers: Beyond ``Content-Length``.
        kinds: The requests that get it; empty means all.
        times: None for all while the stub is set.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    kinds: frozenset[RequestKind] = frozenset()
    times: int | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The requests that a fault acts on.

    Attributes:
        kinds: Empty means any.
        path: A pattern (``*``, ``?``) for the path below ``/v1/``.
        every: 3 means the third, the sixth and so on.
    """

    kinds: frozenset[RequestKind] = frozenset()
    path: str | None = None
    first: int | None = None
    nth: int | None = None
    every: int | None = None

    def fits(self, kind: RequestKind, path: str) -> bool:
        return (not self.kinds or kind in self.kinds) and (
            self.path is None or fnmatchcase(path, self.path)
        )

    def turn(self, number: int) -> bool:
        if self.first is not None:
            return number <= self.first
        if self.nth is not None:
            return number == self.nth
        return self.every is None or number % self.every == 0

    def over(self, seen: int) -> bool:
        """Return whether it acts on no request after ``seen`` of them."""
        last = self.first if self.first is not None else self.nth
        return last is not None and seen >= last


@dataclass(eq=False)
class Interference:
    """Acts on some of the requests that pass; thread-safe.

    Attributes:
        name: Unique.
        late: Hold Vault's answer back for this many seconds.
        loses: Drop Vault's answer and the connection, after ``late`` seconds.
        instead: Send this in place of a lost answer, and keep the connection.
        closes: Announce the connection's end with the answer, and ignore further requests on it.
    """

    name: str
    choice: Choice
    _: KW_ONLY
    stub: Stub | None = None
    late: float = 0.0
    loses: bool = False
    instead: Stub | None = None
    closes: bool = False
    _seen: int = field(default=0, init=False)
    _taken: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def takes(self, kind: RequestKind, path: str) -> bool:
        """Count a request, and return whether to act on it."""
        if not self.choice.fits(kind, path):
            return False
        with self._lock:
            self._seen += 1
            taken = self.choice.turn(self._seen)
            self._taken += taken
            return taken

    @property
    def seen(self) -> int:
        return self._seen

    @property
    def taken(self) -> int:
        return self._taken

    @property
    def over(self) -> bool:
        return self.choice.over(self._seen)


class Relay(Protocol):
    """Reads the requests between clients and Vault."""

    def interfere(self, one: Interference) -> AbstractContextManager[None]:
        """Interfere while the block runs."""
