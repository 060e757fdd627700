"""One end for everything that a call does: look-ups, connections, requests, retries, logins."""

from __future__ import annotations

import time


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

    def for_socket(self) -> float:
        """Seconds left, as a socket's timeout, where zero would mean not to wait at all.

        Raises:
            TimeoutError: It is over.
        """
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the call's deadline is over")
        return left

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return time.monotonic() >= self.at

    def sooner(self, seconds: float) -> Deadline:
        """This deadline, or one in ``seconds`` if that comes first."""
        other = Deadline(seconds)
        return other if other.at < self.at else self
