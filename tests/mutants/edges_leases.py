"""Clients whose leases come to their end, or whose renewals break off, hang, or come in a rush.

Each deviates from the reference client. ``thresholds.toml`` says which of them stands on which side
of what; `tests.mutants.lease` lists them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from resilient_vault_client import Credential, VaultError, VaultUnavailable
from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Grant
from resilient_vault_client._held import Held
from resilient_vault_client._leases import Leases
from resilient_vault_client._token import Token
from tests.mutants.clients import Leasing


class RenewsAtShare(Leases):
    """Renews at a fixed share of a lease's life."""

    share: ClassVar[float]

    def _plan(self, held: Held, grant: Grant) -> None:
        super()._plan(held, grant)
        held.due = grant.granted_at + grant.life * self.share


class Trusting(Leases):
    """Renews as long as it takes, and hands out what has ended meanwhile."""

    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        grant = super()._ask(path, token, deadline)
        grant.__class__ = _Endless
        return grant

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        grant.renewable = True
        return super()._renew(held, grant, deadline)


class _Endless(Grant):
    @property
    def usable(self) -> bool:
        return self.lost is None


class NeverRenews(Leases):
    """Takes a new credential where others renew."""

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        del held, grant, deadline
        return "not_renewable"


# At a lease's max TTL (LEASE-07)


class _Believing(RenewsAtShare):
    share = 2 / 3

    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        return {**super()._ask_for_more(grant, deadline), "lease_duration": grant.increment}


class PlansByTheFirstLife(Leasing):
    """Takes each renewal for one in full, whatever Vault says of it."""

    leases_type = _Believing


class _NeverRenewsEarly(NeverRenews, RenewsAtShare):
    share = 0.4


class LeasesTooEarlyInstead(Leasing):
    """Asks for a new credential before half of a life is over."""

    leases_type = _NeverRenewsEarly


class _NeverRenewsInTurn(NeverRenews, RenewsAtShare):
    share = 0.56


class LeasesInTurn(Leasing):
    """After it."""

    leases_type = _NeverRenewsInTurn


class _RenewsOn(RenewsAtShare):
    """Renews what is left once it is less than at first, and so again and again."""

    share = 0.3
    times: ClassVar[float] = math.inf
    _capped = 0

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        if self._capped < self.times:
            grant.capped = False
        reason = super()._renew(held, grant, deadline)
        self._capped += grant.life + 1.0 < grant.increment
        return reason

    def _replace(self, held: Held, deadline: Deadline, patience: float, reason: str) -> Grant:
        self._capped = 0
        return super()._replace(held, deadline, patience, reason)


class RenewsToTheVeryEnd(Leasing):
    """At 0.3 of what Vault has just granted, however little that is."""

    leases_type: ClassVar[type[Leases]] = _RenewsOn


class _RenewsOnFourTimes(_RenewsOn):
    times = 4


class RenewsWhatIsLeftFourTimes(Leasing):
    """Four times, and then there is a new credential."""

    leases_type = _RenewsOnFourTimes


class _RenewsOnFiveTimes(_RenewsOn):
    times = 5


class RenewsWhatIsLeftFiveTimes(Leasing):
    """Five times."""

    leases_type = _RenewsOnFiveTimes


# Renewals that fail (LEASE-04)


class _TriesOn(RenewsAtShare):
    """Tries a renewal that has failed so often, and then waits for its lease's last part."""

    share = 0.5
    tries: ClassVar[float] = math.inf
    pause = 0.0
    _tried = 0

    def _failed(self, held: Held, error: VaultError) -> float:
        super()._failed(held, error)
        grant = held.grant
        assert grant is not None  # it is the one that could not be kept
        self._tried += 1
        if self._tried < self.tries:
            held.due = clock() + self.pause
        else:
            grant.renewable = False
            held.due = grant.granted_at + 0.85 * grant.life
        return held.due - clock()

    def _replace(self, held: Held, deadline: Deadline, patience: float, reason: str) -> Grant:
        self._tried = 0
        return super()._replace(held, deadline, patience, reason)


class RenewsWithoutAPause(Leasing):
    """Asks again as fast as the refusals come, up to the last part of a life."""

    leases_type: ClassVar[type[Leases]] = _TriesOn


class _TriesThirteenTimes(_TriesOn):
    tries, pause = 13, 0.1


class TriesALeaseThirteenTimes(Leasing):
    """Thirteen times in each life."""

    leases_type = _TriesThirteenTimes


class _TriesFifteenTimes(_TriesOn):
    tries, pause = 15, 0.1


class TriesALeaseFifteenTimes(Leasing):
    """Fifteen times."""

    leases_type = _TriesFifteenTimes


# A renewal that hangs and breaks off (LEASE-09)


def _is_lost(error: VaultError) -> bool:
    """Whether there was no answer at all."""
    return isinstance(error, VaultUnavailable) and error.status is None


class _DiesOfALostAnswer(Leases):
    def _failed(self, held: Held, error: VaultError) -> float:
        wait = super()._failed(held, error)
        if _is_lost(error):
            held.due = wait = math.inf
            assert held.grant is not None  # it is the one that could not be renewed
            held.grant.__class__ = _Endless  # only the thread would have looked at its end
        return wait


class DiesOfALostAnswer(Leasing):
    """Its thread knows what to do about an error of Vault's, and ends where there is no answer."""

    leases_type: ClassVar[type[Leases]] = _DiesOfALostAnswer


class _EndsWithALostAnswer(Leases):
    _lost = False

    def _failed(self, held: Held, error: VaultError) -> float:
        self._lost |= _is_lost(error)
        wait = super()._failed(held, error)
        if self._lost:
            held.due = wait = math.inf
        return wait

    def _replace(self, held: Held, deadline: Deadline, patience: float, reason: str) -> Grant:
        if self._lost:
            raise VaultUnavailable("nobody keeps the leases any more", sent=False)
        return super()._replace(held, deadline, patience, reason)


class EndsWithALostAnswer(Leasing):
    """So does this one's, and with it all that it leases, once that has ended."""

    leases_type = _EndsWithALostAnswer


class _ReplacesAtALostAnswer(RenewsAtShare):
    share = 0.4
    times = 1

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        try:
            return super()._renew(held, grant, deadline)
        except VaultError as error:
            if not _is_lost(error):
                raise
            grant.renewable = False  # remembered for as long as the circuit lets nothing through
            return "not_renewable"

    def _replace(self, held: Held, deadline: Deadline, patience: float, reason: str) -> Grant:
        for _ in range(self.times - 1 if reason == "not_renewable" else 0):
            super()._replace(held, deadline, patience, reason)
        return super()._replace(held, deadline, patience, reason)


class ReplacesAtALostAnswer(Leasing):
    """Takes a new credential for one whose renewal was not answered."""

    leases_type: ClassVar[type[Leases]] = _ReplacesAtALostAnswer


class _ReplacesTwiceAtALostAnswer(_ReplacesAtALostAnswer):
    times = 2


class ReplacesTwiceAtALostAnswer(Leasing):
    """Takes two, one after the other."""

    leases_type = _ReplacesTwiceAtALostAnswer


class _Patient(Leases):
    """Would like to hand out what comes of a renewal, and waits for it."""

    waits: ClassVar[float] = math.inf

    def current(self, path: str, deadline: Deadline) -> Credential:
        held = self._by_path.setdefault(path, Held(path))
        if held._lock.acquire(timeout=max(0.0, min(self.waits, deadline.remaining()))):
            held._lock.release()
        return super().current(path, deadline)


class WaitsForARenewalOfALease(Leasing):
    """Looks at its credential under the lock that its thread holds until a renewal is over."""

    leases_type: ClassVar[type[Leases]] = _Patient


class _PatientForLong(_Patient):
    waits = 1.3


class WaitsLongForARenewalOfALease(Leasing):
    """Hands out the one that it has after more than half of that time."""

    leases_type = _PatientForLong


class _PatientForAMoment(_Patient):
    waits = 0.5


class WaitsALittleForARenewalOfALease(Leasing):
    """After less than a third of it."""

    leases_type = _PatientForAMoment


class RenewsLeasesInACallersCall(Leasing):
    """Has no thread for them: whoever asks when it is time renews, and all others are served."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client._session().leases._threaded = False
