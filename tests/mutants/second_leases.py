"""Clients that keep one lease well, and lose a second one, or all of them, beside what befalls it.

Each deviates from the reference client, and is listed in ``lease.py``.
"""

from __future__ import annotations

import math
import threading
from typing import Any, ClassVar

from resilient_vault_client import (
    Credential,
    PermissionDenied,
    VaultError,
    VaultSealed,
    VaultUnavailable,
)
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Grant
from resilient_vault_client._held import Held
from resilient_vault_client._leases import Leases
from resilient_vault_client._token import Token
from tests.mutants.clients import Leasing

# Another path


class _LivesAsTheFirst(Leases):
    _first = 0

    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        grant = super()._ask(path, token, deadline)
        self._first = grant.increment = self._first or grant.increment
        grant._expires_at = grant.granted_at + grant.increment
        return grant


class PlansEachLeaseByItsFirst(Leasing):
    """Takes it for granted that a lease of whatever path lives as long as its first one."""

    leases_type: ClassVar[type[Leases]] = _LivesAsTheFirst


class _Unbound(Grant):
    """A lease that does not look at the token on which it hangs."""

    @property
    def expires_at(self) -> float:
        return self._expires_at

    @property
    def usable(self) -> bool:
        return self.lost is None


class _MovesOneAlone(Leases):
    _moved_to: Token | None = None

    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        grant = super()._ask(path, token, deadline)
        grant.__class__ = _Unbound
        self._moved_to = token
        return grant

    def _reason(self, grant: Grant) -> str | None:
        current = self._authenticator.current
        moves = current is not None and current is not self._moved_to
        return "token" if moves or grant.lost is not None else None

    def _step(self) -> float | None:
        wait = super()._step()
        return 0.1 if wait is None else min(wait, 0.1)


class MovesOnePathAlone(Leasing):
    """Notes for all paths at once to which token its leases have moved, when the first one has."""

    leases_type: ClassVar[type[Leases]] = _MovesOneAlone


class _OnItsTokenAlone(Grant):
    """A lease that does not look at its own end."""

    @property
    def usable(self) -> bool:
        return self.lost is None and self.token.lost is None


class _RenewsOnItsFirstToken(Leases):
    _first: Token | None = None

    def _plan(self, held: Held, grant: Grant) -> None:
        super()._plan(held, grant)
        self._first = self._first or grant.token
        if grant.token is not self._first:
            grant.__class__ = _OnItsTokenAlone
            held.due = math.inf


class RenewsWhatItsFirstTokenLeases(Leasing):
    """Starts what renews its leases at its start: those of a later token nobody renews."""

    leases_type: ClassVar[type[Leases]] = _RenewsOnItsFirstToken


class _RenewsByItsFirstToken(Leases):
    _first: Token | None = None

    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        self._first = self._first or grant.token
        return self._api.renew_lease(self._first.text, grant.id, grant.increment, deadline)

    def _denied(
        self, held: Held, grant: Grant, denial: PermissionDenied, deadline: Deadline
    ) -> str | None:
        del held, grant, deadline
        raise denial


class RenewsItsLeasesByItsFirstToken(Leasing):
    """Renews by a client of its own, which has the token that was there when it was made."""

    leases_type: ClassVar[type[Leases]] = _RenewsByItsFirstToken


class _OneRound(Leases):
    def _step(self) -> float | None:
        waits = []
        for held in list(self._by_path.values()):
            if self._stopped:
                return None
            wait = self._tend(held)
            if wait is None:
                continue
            waits.append(max(0.0, wait))
            if held.pause is not None:  # it could not be kept: the round is over
                break
        return min(waits, default=None)

    def _replace(self, held: Held, deadline: Deadline, patience: float, reason: str) -> Grant:
        others = (other for other in self._by_path.values() if other is not held)
        if reason == "expired" and any(other.pause is not None for other in others):
            raise VaultUnavailable("its turn has not come", sent=False)
        return super()._replace(held, deadline, patience, reason)


class StarvesOtherLeasesWhileOneFails(Leasing):
    """As long as one lease cannot be kept its thread comes to no other, and nobody else does."""

    leases_type: ClassVar[type[Leases]] = _OneRound


class _OneLock(Leases):
    """Whoever wants a credential, of whatever path, waits for whoever was before him."""

    waits: ClassVar[float] = math.inf

    def current(self, path: str, deadline: Deadline) -> Credential:
        lock: threading.Lock = self.__dict__.setdefault("_one", threading.Lock())
        held = lock.acquire(timeout=max(0.0, min(self.waits, deadline.remaining())))
        try:
            return super().current(path, deadline)
        finally:
            if held:
                lock.release()


class HasOneLockForAllLeases(Leasing):
    """Holds a lock while Vault makes a user: who has a credential of another path gets it later."""

    leases_type: ClassVar[type[Leases]] = _OneLock


class _OneLockForAMoment(_OneLock):
    waits = 0.4


class HasOneLockForAMoment(Leasing):
    """Looks without it when that has lasted for a moment."""

    leases_type: ClassVar[type[Leases]] = _OneLockForAMoment


# A renewal that meets silence, or a seal


class _WaitsForEver(Leases):
    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        del deadline
        return super()._ask_for_more(grant, Deadline(3600.0))


class WaitsForEverForALease(Leasing):
    """A renewal of a lease has no deadline, alone of all requests."""

    leases_type: ClassVar[type[Leases]] = _WaitsForEver


class _EndsWithASeal(Leases):
    _over = False

    def _failed(self, held: Held, error: VaultError) -> float:
        wait = super()._failed(held, error)
        self._over |= isinstance(error, VaultSealed)
        if self._over:
            held.due = wait = math.inf
        return wait

    def _replace(self, held: Held, deadline: Deadline, patience: float, reason: str) -> Grant:
        if self._over:
            raise VaultUnavailable("nobody keeps the leases any more", sent=False)
        return super()._replace(held, deadline, patience, reason)


class EndsItsLeasesWithASeal(Leasing):
    """A renewal that meets a sealed Vault is its last: what it leases runs out, none follows."""

    leases_type: ClassVar[type[Leases]] = _EndsWithASeal


class HasNoCredentialInAnOutage(Leasing):
    """Gives nobody the credential that it holds while it knows that Vault is away."""

    def lease(self, path: str, failed: str | None = None) -> Credential:
        session = self.client._session()
        held = session.leases._by_path.get(path)
        if held is not None and held.grant is not None and session.circuit.outage is not None:
            raise VaultUnavailable("Vault is away", sent=False)
        return super().lease(path, failed)


class LooksBeforeItHandsOut(Leasing):
    """Asks Vault whether its token lives before it hands out a credential: without Vault, none."""

    def lease(self, path: str, failed: str | None = None) -> Credential:
        session = self.client._session()
        token = session.authenticator.current
        if token is not None and path in session.leases._by_path:
            session._api.look_up(token.text, Deadline(1.0))
        return super().lease(path, failed)
