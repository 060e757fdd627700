"""One end for everything that a call does: look-ups, connections, requests, retries, logins."""

from __future__ import annotations

import time
from collections.abc import Callable

from resilient_vault_client._errors import VaultError


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

    def goes_on(self) -> bool:
        """Whether an answer to what was sent is waited for although this is over."""
        return False

    def attend(self, silent: Callable[[], VaultError] | None) -> None:
        """Have the attempt under way say what it is for who waits no longer than until this."""


class Outliving(Deadline):
    """A call's deadline for everything but the answer to what was sent: that has more time.

    What was not sent is lost to nobody, so it ends with the call. Upon what was sent Vault may act
    in any case: who does not wait for its answer has a token more there, or a secret-id less.

    Args:
        call: The deadline of the call.
        seconds: From now on, for all of it, if the call ends in the wait for an answer.
        let_go: Called when it does, in the thread that waits, with what the call is to be told.
    """

    __slots__ = ("_later", "_let_go", "_silent")

    def __init__(
        self, call: Deadline, seconds: float, let_go: Callable[[VaultError | None], None]
    ) -> None:
        super().__init__(seconds)
        self._later = self.at
        self.at = call.at
        self._let_go = let_go
        self._silent: Callable[[], VaultError] | None = None

    def goes_on(self) -> bool:
        """Once: the call is over, and this is the client's own from now on."""
        if self._later <= self.at:
            return False
        self.at = self._later
        self._let_go(None if self._silent is None else self._silent())
        return True

    def attend(self, silent: Callable[[], VaultError] | None) -> None:
        """Have the attempt under way say what it is for who waits no longer than until this."""
        self._silent = silent
