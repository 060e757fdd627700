"""One end for everything that a call does: look-ups, connections, requests, retries, logins."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar

# A name, not a state: each call binds its own deadline for its own thread, and the sockets ask for
# it.
_bound: ContextVar[Deadline | None] = ContextVar("vault_call_deadline", default=None)


class Deadline:
    """A point on the monotonic clock, which no change of the wall clock moves.

    Args:
        seconds: How far away it is.
    """

    __slots__ = ("at",)

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return time.monotonic() >= self.at

    def sooner(self, seconds: float) -> Deadline:
        """This deadline, or one in ``seconds`` if that comes first."""
        other = Deadline(seconds)
        return other if other.at < self.at else self

    @contextlib.contextmanager
    def bound(self) -> Iterator[None]:
        """Make every socket operation of this thread end by this deadline."""
        token = _bound.set(self)
        try:
            yield
        finally:
            _bound.reset(token)


def seconds_left(default: float | None = None) -> float | None:
    """Seconds left of the deadline that is bound to this thread.

    Args:
        default: What to answer where none is bound.

    Raises:
        TimeoutError: It is over.
    """
    deadline = _bound.get()
    if deadline is None:
        return default
    left = deadline.at - time.monotonic()
    if left <= 0:
        raise TimeoutError("the call's deadline is over")
    return left
