"""Clients whose leases are renewed well, until something else is answered, or asks for it.

A gateway's page comes in the place of Vault's answer to a renewal, or nothing of use up to the
lease's end, or the renewal itself is sent to another place than all the rest. Each deviates from
the reference client, and is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from resilient_vault_client import Credential, VaultError
from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import UnexpectedAnswer
from resilient_vault_client._grant import Grant
from resilient_vault_client._held import Held
from resilient_vault_client._leases import Leases
from tests.mutants.clients import Leasing

# A page for a renewal


class _EndsAtAPage(Leases):
    _ended = False

    def _failed(self, held: Held, error: VaultError) -> float:
        wait = super()._failed(held, error)
        self._ended |= error.status == 502
        if self._ended:
            held.due = wait = math.inf
        return wait

    def _plan(self, held: Held, grant: Grant) -> None:
        super()._plan(held, grant)
        if self._ended:
            held.due = math.inf


class EndsItsRenewalsAtAPage(Leasing):
    """A page ends what renews its leases: whoever asks after the end of one gets another."""

    leases_type: ClassVar[type[Leases]] = _EndsAtAPage


class _TakesAPage(Leases):
    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        try:
            return super()._ask_for_more(grant, deadline)
        except UnexpectedAnswer as error:
            if error.status != 200:
                raise
            return {"lease_duration": grant.increment, "renewable": True}


class TakesAPageForARenewal(Leasing):
    """Looks at the status of what its renewal is answered, and at nothing else."""

    leases_type: ClassVar[type[Leases]] = _TakesAPage


class _ReplacesAtAPage(Leases):
    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        try:
            return super()._renew(held, grant, deadline)
        except VaultError:
            grant.renewable = False  # remembered for as long as the circuit lets nothing through
            return "not_renewable"


class ReplacesAtAPage(Leasing):
    """Takes a new credential for one whose renewal failed, whatever was answered."""

    leases_type: ClassVar[type[Leases]] = _ReplacesAtAPage


# No answer, past a lease's end


class _HandsOutTheEnded(Leases):
    seconds = math.inf

    def current(self, path: str, deadline: Deadline) -> Credential:
        held = self._by_path.get(path)
        grant = held.grant if held is not None else None
        if held is not None and grant is not None and held.pause is not None:
            alive = grant.lost is None and grant.token.lost is None
            if alive and clock() < grant.expires_at + self.seconds:
                return grant.credential
        return super().current(path, deadline)


class HandsOutWhatHasEnded(Leasing):
    """While nobody renews a lease the last credential stands in, as the last good value does."""

    leases_type: ClassVar[type[Leases]] = _HandsOutTheEnded


class _HandsOutTheEndedForAMoment(_HandsOutTheEnded):
    seconds = 1.2


class HandsOutWhatHasEndedForAMoment(Leasing):
    """For a second after its end, and a little more."""

    leases_type: ClassVar[type[Leases]] = _HandsOutTheEndedForAMoment


# In a namespace


class RenewsLeasesInTheRoot(Leasing):
    """Leases with the header for its namespace, and renews by code that does not know it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        transport = self.client._session()._transport
        send = transport._send

        def without(method: Any, url: Any, headers: Any, content: Any, deadline: Any) -> Any:
            if "/leases/renew" in url.path:
                headers = [(name, value) for name, value in headers if name != b"X-Vault-Namespace"]
            return send(method, url, headers, content, deadline)

        transport._send = without  # type: ignore[method-assign]
