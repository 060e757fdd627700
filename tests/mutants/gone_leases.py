"""Clients that renew their leases well while Vault answers, and not when it is gone.

Each deviates from the reference client; `tests.mutants.net` lists them (NET-18).
"""

from __future__ import annotations

import math
from typing import ClassVar

from resilient_vault_client import Credential, VaultError, VaultUnavailable
from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Grant
from resilient_vault_client._held import Held
from resilient_vault_client._leases import Leases
from tests.mutants.clients import Leasing


def _found_nobody(error: VaultError) -> bool:
    """Whether no answer came at all, be it a page."""
    return isinstance(error, VaultUnavailable) and error.status is None


class _RenewsThen(Leases):
    """Renews when it is sure to find nobody."""

    share = 0.58
    """Of a lease's life."""

    def _plan(self, held: Held, grant: Grant) -> None:
        super()._plan(held, grant)
        held.due = grant.granted_at + self.share * grant.life


class _KnowsStatusesOnly(_RenewsThen):
    _ended = False

    def current(self, path: str, deadline: Deadline) -> Credential:
        held = self._by_path.get(path)
        if self._ended and held is not None and held.grant is not None:
            return held.grant.credential  # it is kept alive all the time
        return super().current(path, deadline)

    def _failed(self, held: Held, error: VaultError) -> float:
        wait = super()._failed(held, error)
        self._ended |= _found_nobody(error)
        if self._ended:
            held.due = wait = math.inf
        return wait


class EndsItsRenewalsWhereNobodyAnswers(Leasing):
    """What renews its leases knows answers with a status; any other failure ends it, unnoticed."""

    leases_type: ClassVar[type[Leases]] = _KnowsStatusesOnly


class _TakesItForDone(_RenewsThen):
    def _failed(self, held: Held, error: VaultError) -> float:
        grant = held.grant
        if grant is None or not _found_nobody(error):
            return super()._failed(held, error)
        grant.granted_at, grant._expires_at = clock(), clock() + grant.increment
        self._plan(held, grant)
        return held.due - clock()


class TakesALeaseForRenewedWhereNobodyAnswers(Leasing):
    """Sets the time for the next renewal before it sends one, and looks at no failure of it."""

    leases_type: ClassVar[type[Leases]] = _TakesItForDone


class _WaitsForItsEnd(_RenewsThen):
    left = 0.6

    def _failed(self, held: Held, error: VaultError) -> float:
        wait = super()._failed(held, error)
        grant = held.grant
        if grant is not None and grant.usable and _found_nobody(error):
            wait = max(wait, grant.remaining - self.left)
            held.due = clock() + wait
        return wait


class RenewsALeaseAtItsEndWhereNobodyAnswers(Leasing):
    """Finds nobody, and waits with its second try until the lease has half a second left."""

    leases_type: ClassVar[type[Leases]] = _WaitsForItsEnd
