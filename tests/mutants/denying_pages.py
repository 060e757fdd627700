"""Clients to which a gateway's page with 403 says of a token or a lease what only Vault can say.

`tests.mutants.srv` lists those of tokens (SRV-11), `tests.mutants.lease` of leases (LEASE-06).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import ClassVar

from resilient_vault_client import VaultError
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import UnexpectedAnswer
from resilient_vault_client._grant import Grant
from resilient_vault_client._held import Held
from resilient_vault_client._leases import Leases
from tests.mutants.clients import Leasing
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import UnavailableError, Wire

# Tokens

DENIED = "403 by a page"


class _ReadsTheStatus(Wire):
    """Looks at the status of a page, where one is answered."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        head = raw.partition(b"\r\n\r\n")[0].lower()
        if head.startswith(b"http/1.1 403") and b"text/html" in head:
            raise UnavailableError(DENIED)
        return raw


class LogsInAtADenyingPage(LazyClient):
    """Takes another token where a renewal is answered 403, whoever says so."""

    wire_type = _ReadsTheStatus

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError as error:
            if DENIED not in str(error):
                raise
            return self._goes_on()

    def _goes_on(self) -> bool:
        """Whether the token lives on to it."""
        return False


class GivesUpRenewingAtADenyingPage(LogsInAtADenyingPage):
    """Renews no more where a renewal is answered 403: it logs in once its token has ended."""

    _over = False

    def _goes_on(self) -> bool:
        self._over = True
        return True

    def _arm(self, seconds: float) -> None:
        if not self._over:
            super()._arm(seconds)


class DoublesItsPausesBetweenRenewals(LazyClient):
    """Tries a renewal again after 1.5 s, then after 3 s, and declares no longest pause."""

    times = 3.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {"deadline": self._deadline}

    def _arm(self, seconds: float) -> None:
        token = self._token
        if token is not None and seconds > self._longest:  # else it is a pause after a failure
            seconds = token.since + 0.5 * token.ttl - time.monotonic()
        else:
            seconds *= self.times
        super()._arm(seconds)


# Leases


class _MeetsEachPage(Leases):
    """Renews the short lease early and the long one late, so that each has a page of its own."""

    def _plan(self, held: Held, grant: Grant) -> None:
        super()._plan(held, grant)
        held.due = grant.granted_at + grant.life * (0.5 if grant.life < 18.0 else 0.7)


class _LosesItsToken(_MeetsEachPage):
    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        try:
            return super()._renew(held, grant, deadline)
        except UnexpectedAnswer as error:
            if error.status == 403:
                self._authenticator._lose(grant.token, "rejected")
            raise


class LogsInAtADenyingPageForALease(Leasing):
    """Its token is dead, as it understands a 403 to a lease's renewal, whoever says so."""

    leases_type: ClassVar[type[Leases]] = _LosesItsToken


class _LeavesIt(_MeetsEachPage):
    def _failed(self, held: Held, error: VaultError) -> float:
        wait = super()._failed(held, error)
        if error.status == 403:
            held.due = wait = math.inf
        return wait


class LeavesALeaseAtADenyingPage(Leasing):
    """Renews a lease no more that it may not renew, as it understands a 403."""

    leases_type: ClassVar[type[Leases]] = _LeavesIt
