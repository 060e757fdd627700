"""Describe faults: things broken on purpose, their marks, and their effect on a single request."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, Protocol

from vault_harness.errors import HarnessDefect


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The marks that a fault leaves on a client's traffic. One mark is enough.

    Attributes:
        statuses: An answer with one of these statuses while the fault lasts.
        kinds: The kinds of request for `statuses` and `unanswered`; empty means all.
        unanswered: A request without a complete answer, or an operation that failed or was stale.
        late: An answer that took at least this many seconds.
        toxics: Names of toxics that acted on a connection.
        token: A refused request with the token of this accessor.
        refused: A TLS handshake that one side refused.
        turned_away: A connection that was opened and carried no request, because no server
            answered.
        swallowed: Data that the client sent over a dead connection.
        stubbed: An answer that the harness gave in Vault's place.
        interference: A request on which the interference of this name acted.
        lingers: Whether the mark may appear after the fault's end (a revoked token stays revoked).
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
        """Return the number of requests on which it has acted."""


@dataclass
class Fault:
    """One fault in a history. Times are seconds on the history's clock.

    Attributes:
        name: The name of the fault in plain words: ``vault sealed``.
        signature: The marks that show that the fault touched the subject.
        detail: Parameters for the report; never a secret.
        began: When it took effect.
        ended: When it was undone; None while it lasts.
        optional: Whether the fault need not touch the subject.
        counter: Counts the requests on which it acts; None if it does not act on single requests.
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
        """Return how many requests it has acted on; 0 if it does not act on single ones."""
        return self.counter.taken if self.counter is not None else 0

    @property
    def end(self) -> float:
        """Return when it was undone; raise `HarnessDefect` while it lasts."""
        if self.ended is None:
            raise HarnessDefect(f"fault {self.name} still lasts, and its end was asked for")
        return self.ended

    @property
    def length(self) -> float:
        """Return the seconds that it lasted."""
        return self.end - self.began

    def over(self, seconds: float = 0.0) -> float:
        """Return the time `seconds` after it was undone."""
        return self.end + seconds


class FaultLog(Protocol):
    """A log of faults: a scenario's history, or a list in a test."""

    def begin_fault(
        self,
        name: str,
        signature: Signature,
        detail: Mapping[str, object] | None = None,
        *,
        optional: bool = False,
    ) -> Fault:
        """Note that a fault is in force from now on."""

    def end_fault(self, fault: Fault) -> None:
        """Note that a fault is undone."""


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
"""The purpose of a request to Vault."""

Affected = RequestKind | Literal["health", "any"]
"""What a fault is for: a kind of request, ``sys/health`` alone, or any request."""


@dataclass(frozen=True, kw_only=True)
class Stub:
    """An answer in Vault's place, without a request to Vault.

    Attributes:
        headers: Headers beyond ``Content-Length``.
        kinds: The requests that get it; empty means all.
        times: Number of requests that get it; None means all while the stub is set.
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
        kinds: The purposes of the requests; empty means any.
        path: A pattern (``*``, ``?``) for the path below ``/v1/``; None for any.
        first: Only this many requests from the first on.
        nth: Only this one, counted from 1.
        every: 3 means the third, the sixth and so on.
    """

    kinds: frozenset[RequestKind] = frozenset()
    path: str | None = None
    first: int | None = None
    nth: int | None = None
    every: int | None = None

    def fits(self, kind: RequestKind, path: str) -> bool:
        """Return whether a request is counted."""
        return (not self.kinds or kind in self.kinds) and (
            self.path is None or fnmatchcase(path, self.path)
        )

    def turn(self, number: int) -> bool:
        """Return whether the fault acts on the request with this number, counted from 1."""
        if self.first is not None:
            return number <= self.first
        if self.nth is not None:
            return number == self.nth
        return self.every is None or number % self.every == 0

    def over(self, seen: int) -> bool:
        """Return whether the fault acts on no further request after ``seen`` of them."""
        last = self.first if self.first is not None else self.nth
        return last is not None and seen >= last


@dataclass(eq=False)
class Interference:
    """Acts on some of the requests that pass, and counts them; thread-safe.

    Attributes:
        name: A unique name, by which the affected requests are known.
        stub: Answer with this instead of asking Vault.
        late: Hold Vault's answer back for this many seconds.
        loses: Drop Vault's answer and the connection, after ``late`` seconds.
        instead: Send this in place of a lost answer, and keep the connection.
        closes: Announce with the answer that the connection ends, and ignore further requests on
            it.
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
        """Count a request, and return whether the interference acts on it."""
        if not self.choice.fits(kind, path):
            return False
        with self._lock:
            self._seen += 1
            taken = self.choice.turn(self._seen)
            self._taken += taken
            return taken

    @property
    def seen(self) -> int:
        """Return the number of counted requests, whether it acted on them or not."""
        return self._seen

    @property
    def taken(self) -> int:
        """Return the number of requests on which it has acted."""
        return self._taken

    @property
    def over(self) -> bool:
        """Return whether it has acted for the last time."""
        return self.choice.over(self._seen)


class Relay(Protocol):
    """A program between clients and Vault that reads their requests."""

    def interfere(self, one: Interference) -> AbstractContextManager[None]:
        """Interfere while the block runs."""
