"""What a client holds of one path: its lease, the ones before it, and when to try what again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from resilient_vault_client._backoff import Backoff
from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import VaultError, VaultTimeout
from resilient_vault_client._grant import Grant


class Held:
    """What is held of one path.

    Attributes:
        grant: The current lease; None until there is one.
        due: When it is to be renewed or replaced, by `clock`.
        pause: The last pause after a failure.
        paused_for: The failure for which that pause was chosen, until somebody has waited for it.
        error: Why the last attempt to get a new one failed; None if it did not.
        blocked_until: No other attempt before.
        leaving: Leases that were replaced, and when they are let go.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.grant: Grant | None = None
        self.due = 0.0
        self.pause: float | None = None
        self.paused_for: VaultError | None = None
        self.error: VaultError | None = None
        self.blocked_until = 0.0
        self.leaving: list[tuple[Grant, float]] = []
        self._refusal_pause: float | None = None
        self._refusable_at = 0.0
        self._lock = threading.RLock()
        self._owner: int | None = None

    @contextlib.contextmanager
    def alone(self, deadline: Deadline) -> Iterator[None]:
        """One thread at a time asks Vault for a credential of this path.

        Raises:
            VaultTimeout: Another one still does at the deadline, or this one does, and a callback
                or a signal's handler in the middle of that asks for it.
        """
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise VaultTimeout("another thread's lease was not there in time", sent=False)
        try:
            if self._owner is not None:
                raise VaultTimeout(
                    "a callback or a signal's handler asks for the lease that is asked for",
                    sent=False,
                )
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = None
        finally:
            self._lock.release()

    @property
    def busy(self) -> bool:
        """Whether a thread asks Vault for it at this moment."""
        return self._owner is not None

    def check(self) -> None:
        """Raise what is known, if another attempt is not due yet.

        Raises:
            VaultError: Why there is no new credential.
        """
        left = self.blocked_until - clock()
        if self.error is None or left <= 0:
            return
        known = self.error.again()
        known.retry_in, known.echo = left, True
        raise known

    def may_refuse(self, backoff: Backoff) -> bool:
        """Whether a refused login makes the credential one of no use.

        A database that refuses one new user after the other is not to be filled with them.
        """
        now = clock()
        if now < self._refusable_at:
            return False
        if now - self._refusable_at > backoff.cap:
            self._refusal_pause = None  # the last one worked for a while
        self._refusal_pause = backoff.next(self._refusal_pause)
        self._refusable_at = now + self._refusal_pause
        return True
