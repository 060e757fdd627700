"""How long to pause between two attempts while Vault is away."""

from __future__ import annotations

import secrets

# The first pause: short enough for several tries in a call of a few seconds.
_FIRST = 0.3

# Until the first login nobody knows how long tokens live, and someone is waiting for a start.
_CAP_BEFORE_LOGIN = 2.5


# Of a token's life. A renewal that is due at 0.75 of it must not wait until past its end because an
# attempt failed a moment before.
_SHARE = 0.2


class Backoff:
    """Pauses that about double up to a cap, with jitter.

    The jitter is a quarter either way rather than the whole pause, so that each pause is longer
    than the one before: a server that comes up again must not meet a crowd that happened to draw
    zero.

    Args:
        cap: The longest pause, in seconds. A fifth of the token's life is the limit where that is
            shorter, since a token must not die between two attempts to renew it.
        active: False makes every pause nothing, for an application's tests.
    """

    def __init__(self, cap: float, *, active: bool = True) -> None:
        self._configured = cap
        self._ttl: float | None = None
        # The system's generator: two processes that were forked from one must not draw alike.
        self._random = secrets.SystemRandom()
        self.active = active

    @property
    def cap(self) -> float:
        """The longest pause, in seconds."""
        limit = _CAP_BEFORE_LOGIN if self._ttl is None else self._ttl * _SHARE
        return min(self._configured, limit)

    def learn(self, ttl: float | None) -> None:
        """Take note of how long a new token lives, in seconds; None for ever."""
        self._ttl = float("inf") if ttl is None else max(ttl, 0.1)

    def next(self, previous: float | None, *, first: float = _FIRST) -> float:
        """The pause after one of ``previous`` seconds, or one of about ``first`` seconds."""
        if not self.active:
            return 0.0
        if previous is None:
            return min(self.cap, first * self._random.uniform(0.75, 1.25))
        longer = previous * self._random.uniform(1.6, 2.4)
        return longer if longer < self.cap else self.cap * self._random.uniform(0.8, 1.0)

    def between(self, low: float, high: float) -> float:
        """A random number in that range, for other jitter than that of pauses."""
        return self._random.uniform(low, high)
