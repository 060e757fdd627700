"""Attempts under the circuit, and their repetition where that does no harm."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from resilient_vault_client._backoff import Backoff
from resilient_vault_client._circuit import Circuit, Permit
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import ClientClosed, VaultError, VaultTimeout, VaultUnavailable
from resilient_vault_client._translate import silence

T = TypeVar("T")


def always(error: VaultUnavailable) -> bool:
    """For what may be done twice, such as a read."""
    del error
    return True


def never(error: VaultUnavailable) -> bool:
    """For what may have happened although no answer came, such as a write."""
    del error
    return False


def unless_sent(error: VaultUnavailable) -> bool:
    """For what may be done again only if nothing was sent, such as a login."""
    return not error.sent


class Retrier:
    """Makes attempts under the circuit, and repeats what may be repeated.

    Args:
        circuit: What is known about outages.
        backoff: For its switch alone.
        timeout: What a call may take; an attempt with much less proves nothing by timing out.
        address: Vault's, for those who read errors.
    """

    def __init__(
        self, circuit: Circuit, backoff: Backoff, *, timeout: float, address: str = "Vault"
    ) -> None:
        self._circuit = circuit
        self.known_failure = circuit.known_failure
        self._backoff = backoff
        self._fair = timeout / 4
        self._address = address

    def run(
        self,
        operation: Callable[[], T],
        *,
        scope: str,
        deadline: Deadline,
        patience: float,
        repeat: Callable[[VaultUnavailable], bool],
    ) -> T:
        """What ``operation`` returns, after as many attempts as it takes and time allows.

        Args:
            operation: One attempt, which ends by the deadline; it raises the client's own errors.
            scope: What is asked for.
            deadline: When it ends in any case.
            patience: How many seconds after its beginning an outage is worth waiting for.
            repeat: Whether a further attempt is harmless after this error.

        Raises:
            VaultError: What the last attempt raised.
        """
        attempts = 0
        while True:
            permit = self._circuit.admit(scope, deadline, patience)
            attempts += 1
            try:
                return self._attempt(permit, operation, deadline)
            except VaultUnavailable as failure:
                most = failure.most_attempts
                tried_enough = most is not None and attempts >= most
                # A timeout is the deadline's, so there is no time for another attempt.
                late = isinstance(failure, VaultTimeout) or deadline.passed
                if tried_enough or late or not self._backoff.active or not repeat(failure):
                    raise

    def _attempt(self, permit: Permit, operation: Callable[[], T], deadline: Deadline) -> T:
        """Make one attempt, and tell the circuit what came of it."""
        began, budget = time.monotonic(), deadline.remaining()
        try:
            deadline.attend(lambda: self._unanswered(permit, budget))
            try:
                result = operation()
            finally:
                deadline.attend(None)
        except VaultUnavailable as failure:
            if self._circuit.closed:
                raise ClientClosed("the client was closed meanwhile") from failure
            if permit.told:
                raise  # it counted as failed when its call was over
            waited = max(budget, deadline.at - began)  # it may have gone on after its call
            if isinstance(failure, VaultTimeout) and self._proves_nothing(permit, waited):
                raise
            self._circuit.failed(permit, failure)
            raise
        except VaultError as error:
            if error.sent or error.status is not None:
                self._circuit.succeeded(permit)
            else:
                self._circuit.dropped(permit)  # it is from before a request: nobody was asked
            raise
        except BaseException:
            self._circuit.dropped(permit)
            raise
        self._circuit.succeeded(permit)
        return result

    def _unanswered(self, permit: Permit, budget: float) -> VaultTimeout:
        """The call is over and its attempt goes on; for all others it is one that has failed."""
        error = silence(self._address)
        if not self._circuit.closed and not self._proves_nothing(permit, budget):
            self._circuit.failed(permit, error)
            permit.told, permit.probes = True, ()
        return error

    def _proves_nothing(self, permit: Permit, waited: float) -> bool:
        """Who had hardly any time has not found out that Vault is slow."""
        return waited < self._fair and not permit.probes
