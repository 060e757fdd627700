"""One deadline for everything a call does."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable

from resilient_vault_client._errors import VaultError


def _found() -> int:
    if hasattr(time, "CLOCK_BOOTTIME"):
        with contextlib.suppress(OSError):  # the kernel does not know this clock
            time.clock_gettime(time.CLOCK_BOOTTIME)
            return time.CLOCK_BOOTTIME
    return time.CLOCK_MONOTONIC  # includes sleep on systems without CLOCK_BOOTTIME, such as macOS


_CLOCK = _found()


def clock() -> float:
    """Return seconds that include sleep, on a clock that nobody sets."""
    return time.clock_gettime(_CLOCK)


# Seconds: several attempts fit into a short call.
_FIRST = 0.3

# Seconds. Nobody knows yet how long tokens live, and an application waits to start.
_CAP_BEFORE_LOGIN = 2.5


# Of the token's life. A renewal is due at 0.75 of it, and a pause after a failed one must not
# outlast the token.
_SHARE = 0.2


class Backoff:
    """Pauses that about double up to a cap, with jitter.

    The jitter is a quarter of the pause, so that each is longer than the one before: clients with a
    pause near zero would all hit a server that has just started.

    ``cap`` is in seconds, or a fifth of the token's life if that is shorter. ``active=False``
    removes all pauses, for an application's tests.
    """

    def __init__(self, cap: float, *, active: bool = True) -> None:
        self._configured = cap
        self._ttl: float | None = None
        # The system's generator: two forked processes must not draw the same numbers.
        self._random = secrets.SystemRandom()
        self.active = active

    @property
    def cap(self) -> float:
        limit = _CAP_BEFORE_LOGIN if self._ttl is None else self._ttl * _SHARE
        return min(self._configured, limit)

    def learn(self, ttl: float | None) -> None:
        """Note a token's life in seconds; None means for ever."""
        self._ttl = float("inf") if ttl is None else max(ttl, 0.1)

    def next(self, previous: float | None, *, first: float = _FIRST) -> float:
        """Return the pause after ``previous``, or a first one."""
        if not self.active:
            return 0.0
        if previous is None:
            return min(self.cap, first * self._random.uniform(0.75, 1.25))
        longer = previous * self._random.uniform(1.6, 2.4)
        return longer if longer < self.cap else self.cap * self._random.uniform(0.8, 1.0)

    def between(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


# For work in the background: it never waits for the end of an outage.
NO_PATIENCE = 0.0


class Deadline:
    """A point on the monotonic clock, which no change of the wall clock moves.

    ``patience`` is how many seconds into an outage the call still waits for its end; by default its
    own ``seconds``.
    """

    __slots__ = ("at", "patience")

    def __init__(self, seconds: float, patience: float | None = None) -> None:
        self.at = time.monotonic() + seconds
        self.patience = seconds if patience is None else patience

    def remaining(self) -> float:
        """Return the seconds left, at least 0."""
        return max(0.0, self.at - time.monotonic())

    def for_socket(self) -> float:
        """Return the seconds left for a socket, where zero would mean not to wait.

        Raise `TimeoutError` if none are left.
        """
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the call's deadline is over")
        return left

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self.at

    def sooner(self, seconds: float) -> Deadline:
        other = Deadline(seconds)
        return other if other.at < self.at else self

    def without_patience(self) -> Deadline:
        return Deadline(self.at - time.monotonic(), NO_PATIENCE)

    def goes_on(self) -> bool:
        """Return whether to wait for the answer to a sent request after the call's end."""
        return False

    def attend(self, silent: Callable[[], VaultError] | None) -> None:
        """Let the current attempt supply the error if the caller leaves."""


class Outliving(Deadline):
    """A deadline that leaves more time for the answer to a request that was sent.

    Vault may act on such a request. Unless the client waits, a token stays behind in Vault, or a
    secret-id is used up.

    ``seconds`` counts from now, for everything. When the call is over, ``let_go`` runs in the
    waiting thread, with the call's error.
    """

    __slots__ = ("_later", "_let_go", "_silent")

    def __init__(
        self, call: Deadline, seconds: float, let_go: Callable[[VaultError | None], None]
    ) -> None:
        super().__init__(seconds, call.patience)
        self._later = self.at
        self.at = call.at
        self._let_go = let_go
        self._silent: Callable[[], VaultError] | None = None

    def goes_on(self) -> bool:
        """Return True, once, when the call is over."""
        if self._later <= self.at:
            return False
        self.at = self._later
        self._let_go(None if self._silent is None else self._silent())
        return True

    def attend(self, silent: Callable[[], VaultError] | None) -> None:
        self._silent = silent
