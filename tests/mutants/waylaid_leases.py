"""Clients that take what a quota or a gateway answers about a lease for a word of Vault's.

Each deviates from the reference client; `tests.mutants.lease` lists them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from resilient_vault_client import Credential, PermissionDenied
from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import RateLimited, UnexpectedAnswer
from resilient_vault_client._grant import Grant
from resilient_vault_client._held import Held
from resilient_vault_client._leases import Leases
from resilient_vault_client._token import Token
from tests.mutants.clients import Leasing
from tests.mutants.edges_leases import RenewsAtShare

# A quota, for a renewal (LEASE-04)


class _MintsAtAQuota(RenewsAtShare):
    share = 0.3

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        try:
            return super()._renew(held, grant, deadline)
        except RateLimited:
            return "not_found"


class MintsAtAQuota(Leasing):
    """Where a quota turns its renewal away it takes another credential, early in a life."""

    leases_type: ClassVar[type[Leases]] = _MintsAtAQuota


class _LogsInAtAQuota(RenewsAtShare):
    share = 0.3

    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        try:
            return super()._ask_for_more(grant, deadline)
        except RateLimited:
            self._authenticator._lose(grant.token, "rejected")
            raise


class LogsInAtAQuotaForALease(Leasing):
    """Where a quota turns its renewal away it takes another token."""

    leases_type: ClassVar[type[Leases]] = _LogsInAtAQuota


# Somebody else's answer to a request for a credential (LEASE-08)


class _Nothing(Grant):
    """A credential without a user, whose lease ends at once."""

    def __init__(self, path: str, token: Token, started: float) -> None:
        nothing = {
            "lease_id": "none",
            "lease_duration": 1,
            "data": {"username": "", "password": ""},
        }
        super().__init__(path, nothing, token, started)


class _TakesWhatComes(Leases):
    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        try:
            return super()._ask(path, token, deadline)
        except UnexpectedAnswer as error:
            if error.status != 200:
                raise
            return _Nothing(path, token, clock())


class HandsOutAPage(Leasing):
    """Hands out what is in an answer with 200, and be it nothing."""

    leases_type: ClassVar[type[Leases]] = _TakesWhatComes


class CallsAPageADenial(Leasing):
    """Tells whoever asks for a credential that he may not, where a gateway said 403."""

    def lease(self, path: str, failed: str | None = None) -> Credential:
        try:
            return super().lease(path, failed)
        except UnexpectedAnswer as error:
            if error.status != 403:
                raise
            raise PermissionDenied(str(error)) from error


class _DropsItsToken(Leases):
    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        try:
            return super()._ask(path, token, deadline)
        except UnexpectedAnswer as error:
            if error.status == 403:
                self._authenticator._lose(token, "rejected")
            raise


class TakesAPageForADeadToken(Leasing):
    """Logs in anew where a gateway answers 403 to a request for a credential."""

    leases_type: ClassVar[type[Leases]] = _DropsItsToken
