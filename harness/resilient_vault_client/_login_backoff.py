"""When the next login makes sense after one that did no good."""

from __future__ import annotations

import time

from resilient_vault_client._backoff import Backoff
from resilient_vault_client._errors import CredentialsRejected, PermissionDenied, VaultError


class LoginBackoff:
    """Keeps the next login back for a while.

    Args:
        backoff: How long to pause.

    Attributes:
        failure: Why the last login failed, if it did.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._pause: float | None = None
        self._until = 0.0
        self.failure: VaultError | None = None

    def check(self) -> None:
        """Raise what is known, if a login makes no sense yet.

        Raises:
            VaultError: What the last login raised; `retry_in` says when the next one is due.
        """
        left = self._until - time.monotonic()
        if left <= 0 or self.failure is None:
            return
        failure = self.failure.again()
        failure.echo = True
        failure.retry_in = left
        raise failure

    def failed(self, failure: VaultError) -> float:
        """A login failed; the seconds until the next one makes sense."""
        self._pause = self._backoff.next(self._pause)
        # A rejected secret-id has times of its own, and a new one must be seen soon.
        missing = isinstance(failure, CredentialsRejected)
        pause = min(self._pause, 1.0) if missing else self._pause
        self._until = time.monotonic() + pause
        self.failure = failure.again()
        return max(pause, failure.retry_in or 0.0)

    def succeeded(self, *, stillborn: bool) -> None:
        """A login worked; if the token before was refused from the start, this one may be too."""
        if not stillborn:
            self._pause, self._until, self.failure = None, 0.0, None
            return
        self._pause = self._backoff.next(self._pause)
        self._until = time.monotonic() + self._pause
        self.failure = PermissionDenied(
            "Vault refuses tokens that it has just issued: does the role bind them to other "
            "addresses (token_bound_cidrs)?"
        )
