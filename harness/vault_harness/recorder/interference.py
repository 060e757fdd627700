"""What may happen to a request that passes the recorder: an own answer, a late or a lost one."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, Protocol

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
    """An answer given in Vault's place, without a request to Vault.

    Attributes:
        status: HTTP status.
        body: The whole body.
        headers: Headers beyond ``Content-Length``.
        kinds: The requests that get it; empty means all.
        times: How many requests get it; None means all while the stub is set.
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
        kinds: Their purpose; empty means any.
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


class Interference:
    """Acts on some of the requests that pass, and counts them. Thread-safe.

    Args:
        name: A unique name, by which the affected requests are known.
        choice: The requests.
        stub: Answer with this instead of asking Vault.
        late: Hold Vault's answer back for this many seconds.
        loses: Drop Vault's answer and the connection, after ``late`` seconds.
        instead: Send this in place of a lost answer, and keep the connection.
        closes: Announce with the answer that the connection ends, and ignore further requests on
            it.
    """

    def __init__(
        self,
        name: str,
        choice: Choice,
        *,
        stub: Stub | None = None,
        late: float = 0.0,
        loses: bool = False,
        instead: Stub | None = None,
        closes: bool = False,
    ) -> None:
        self.name = name
        self.stub = stub
        self.late = late
        self.loses = loses
        self.instead = instead
        self.closes = closes
        self._choice = choice
        self._seen = 0
        self._taken = 0
        self._lock = threading.Lock()

    def takes(self, kind: RequestKind, path: str) -> bool:
        """Count a request, and return whether this acts on it."""
        if not self._choice.fits(kind, path):
            return False
        with self._lock:
            self._seen += 1
            taken = self._choice.turn(self._seen)
            self._taken += taken
            return taken

    @property
    def seen(self) -> int:
        """The number of counted requests, whether it acted on them or not."""
        return self._seen

    @property
    def taken(self) -> int:
        """The number of requests on which it has acted."""
        return self._taken

    @property
    def over(self) -> bool:
        """Whether it has acted for the last time."""
        return self._choice.over(self._seen)


class Relay(Protocol):
    """Stands between clients and Vault, and reads their requests."""

    def interfere(self, one: Interference) -> AbstractContextManager[None]:
        """Interfere while the block runs."""
