"""Clients that break LEASE-03, 04, 06, 07 or 09: renewal of leases."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from resilient_vault_client import (
    Credential,
    PermissionDenied,
    RequestRefused,
    VaultError,
    VaultSealed,
    VaultUnavailable,
)
from resilient_vault_client._deadline import Deadline, clock
from resilient_vault_client._errors import ServerFailed, UnexpectedAnswer
from resilient_vault_client._grant import Grant, Token
from resilient_vault_client._grant import Token as LeasingToken
from resilient_vault_client._leases import Held, Leases
from tests.mutants.clients import REFERENCE, Mutant, Tolerated, by_name
from tests.mutants.reference_clients import (
    Leasing,
    NeverRenewsALease,
    RenewsAtShare,
    Trusting,
    _Endless,
)


class _LeasesTwo(Leases):
    times = 2

    def _replace(self, held: Held, deadline: Deadline, patience: float, reason: str) -> Grant:
        for _ in range(self.times - 1 if self._is_for(reason) else 0):
            super()._replace(held, deadline, patience, reason)
        return super()._replace(held, deadline, patience, reason)

    def _is_for(self, reason: str) -> bool:
        return reason != "start"


class _Silent(Leases):
    """Asks for nothing for some seconds after its last credential's end."""

    seconds = math.inf

    def _replace(self, held: Held, deadline: Deadline, patience: float, reason: str) -> Grant:
        old = held.grant
        over = old is None or clock() >= old.expires_at + self.seconds
        if self._is_for(reason) and not over:
            raise VaultUnavailable("the lease has ended, and there is no other", sent=False)
        return super()._replace(held, deadline, patience, reason)

    def _is_for(self, reason: str) -> bool:
        return reason in ("token", "expired")


# LEASE-03


class _Insists(Leases):
    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        reason = super()._renew(held, grant, deadline)
        if reason == "not_found":
            grant.lost = None
            raise RequestRefused("lease not found")
        return reason


class RetriesTheRenewalOfALostLease(Leasing):
    """Takes `lease not found` for a temporary failure."""

    leases_type = _Insists


class _FetchesTwice(_LeasesTwo):
    def _is_for(self, reason: str) -> bool:
        return reason == "not_found"


class ReplacesALostLeaseTwice(Leasing):
    """The renewer and a caller both do."""

    leases_type = _FetchesTwice


class _AsksTwice(Leases):
    tries = 2
    _asked = 0

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        reason = super()._renew(held, grant, deadline)
        if reason == "not_found":
            self._asked += 1
            if self._asked < self.tries:
                grant.lost = None
                return self._renew(held, grant, deadline)
        return reason


class _AsksThreeTimes(_AsksTwice):
    tries = 3


class AsksThreeTimesAboutALostLease(Leasing):
    leases_type = _AsksThreeTimes


class KeepsOnlyOneLease(Leasing):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._path = ""

    def lease(self, path: str, failed: str | None = None) -> Credential:
        self._path = self._path or path
        return super().lease(self._path, failed)


class _EndsWithOne(Leases):
    _over = False

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        reason = super()._renew(held, grant, deadline)
        self._over |= reason == "not_found"
        return reason

    def _step(self) -> float | None:
        return None if self._over else super()._step()


class StopsAllRenewalsAtOneLostLease(Leasing):
    leases_type: ClassVar[type[Leases]] = _EndsWithOne


class _LosesAll(Leases):
    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        reason = super()._renew(held, grant, deadline)
        if reason == "not_found":
            for other in self._by_path.values():
                if other.grant is not None:
                    other.grant.lost = reason
        return reason


class ReplacesAllCredentialsForOneLostLease(Leasing):
    leases_type: ClassVar[type[Leases]] = _LosesAll


class _LogsInForEachFailure(Leases):
    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        try:
            return super()._ask_for_more(grant, deadline)
        except VaultError:
            with contextlib.suppress(VaultError):
                self._authenticator._method.log_in(Deadline(self._timeout), 0.0)
            raise


class LogsInForEachFailedLease(Leasing):
    """Its leases stay with their token; nobody uses the new tokens, which live on."""

    leases_type: ClassVar[type[Leases]] = _LogsInForEachFailure


class _WaitsForeverForAnother(NeverRenewsALease):
    def _ask(self, path: str, token: LeasingToken, deadline: Deadline) -> Grant:
        if self._by_path[path].grant is not None:
            deadline = Deadline(3600.0)
        return super()._ask(path, token, deadline)


class WaitsForeverForAnotherCredential(Leasing):
    """Renews nothing, and has no deadline for a replacement in the background."""

    leases_type: ClassVar[type[Leases]] = _WaitsForeverForAnother


class AsksTwiceAboutALostLease(Leasing):
    """Checks once more that a lease is gone."""

    leases_type = _AsksTwice


class RenewsInCalls(Leasing):
    """Without a thread: callers renew what is due."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client._session().leases._threaded = False


def _is_lost(error: VaultError) -> bool:
    return isinstance(error, VaultUnavailable) and error.status is None


class _ReplacesAtALostAnswer(RenewsAtShare):
    share = 0.4
    times = 1

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        try:
            return super()._renew(held, grant, deadline)
        except VaultError as error:
            if not _is_lost(error):
                raise
            grant.renewable = False  # remembered while the circuit lets nothing through
            return "not_renewable"

    def _replace(self, held: Held, deadline: Deadline, patience: float, reason: str) -> Grant:
        for _ in range(self.times - 1 if reason == "not_renewable" else 0):
            super()._replace(held, deadline, patience, reason)
        return super()._replace(held, deadline, patience, reason)


class ReplacesAtALostAnswer(Leasing):
    """If a renewal was not answered."""

    leases_type: ClassVar[type[Leases]] = _ReplacesAtALostAnswer


# LEASE-04


class _MintsAtEachFailure(RenewsAtShare):
    share = 0.4

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        try:
            return super()._renew(held, grant, deadline)
        except Exception:  # noqa: BLE001 - every failure counts as the lease's end
            return "not_renewed"


class ReplacesACredentialAtEachFailedRenewal(Leasing):
    leases_type = _MintsAtEachFailure


class HandsOutEndedCredentialsWhileItRenews(Leasing):
    """Gives renewals unlimited time."""

    leases_type = Trusting


class _SilentAfterA500(_Silent):
    _failing = False

    def _failed(self, held: Held, error: VaultError) -> float:
        self._failing |= isinstance(error, ServerFailed)
        return super()._failed(held, error)

    def _is_for(self, reason: str) -> bool:
        return self._failing and reason != "start"


class _SilentForLongAfterA500(_SilentAfterA500):
    seconds = 10.0


class PausesForTooLongAfterA500(Leasing):
    """For ten seconds, more than a life."""

    leases_type = _SilentForLongAfterA500


class _TriesOn(RenewsAtShare):
    """Retries a failing renewal some times, and waits for the lease's end."""

    share = 0.5
    tries: ClassVar[float] = math.inf
    pause = 0.0
    _tried = 0

    def _failed(self, held: Held, error: VaultError) -> float:
        super()._failed(held, error)
        grant = held.grant
        assert grant is not None
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


class RenewsLeasesWithoutAPause(Leasing):
    """Up to the last part of a life."""

    leases_type: ClassVar[type[Leases]] = _TriesOn


class _TriesAHundredTimes(_TriesOn):
    tries, pause = 100, 0.01


class TriesALeaseAHundredTimes(Leasing):
    leases_type = _TriesAHundredTimes


class _LogsInForDeniedRenewals(Leases):
    most = 99
    _logged_in = 0

    def _denied(
        self, held: Held, grant: Grant, denial: PermissionDenied, deadline: Deadline
    ) -> str | None:
        if self._logged_in < self.most:
            self._logged_in += 1
            with contextlib.suppress(VaultError):
                self._authenticator._method.log_in(Deadline(self._timeout), 0.0)
        if self._logged_in < self.most and grant.remaining > 0.15 * grant.life:
            held.due = clock() + 0.5
            return None
        return super()._denied(held, grant, denial, deadline)


class LogsInForDeniedRenewals(Leasing):
    """Twice a second, until the lease has nearly ended."""

    leases_type: ClassVar[type[Leases]] = _LogsInForDeniedRenewals


class _MintsInItsTime(_MintsAtEachFailure):
    share = 0.56


class ReplacesACredentialAtHalfItsLifeWhenRenewalsFail(Leasing):
    leases_type = _MintsInItsTime


class _LogsInOnceForThem(_LogsInForDeniedRenewals):
    most = 1


class LogsInOnceForDeniedRenewals(Leasing):
    """To see whether its role may do more now."""

    leases_type: ClassVar[type[Leases]] = _LogsInOnceForThem


class _SilentForAWhileAfterA500(_SilentAfterA500):
    seconds = 6.0


class PausesAWhileAfterA500(Leasing):
    """For three quarters of a life, as pauses may grow."""

    leases_type = _SilentForAWhileAfterA500


class _TriesThirteenTimes(_TriesOn):
    tries, pause = 13, 0.1


class TriesALeaseThirteenTimes(Leasing):
    leases_type = _TriesThirteenTimes


# LEASE-06


class ReplacesACredentialAtHalfItsLife(Leasing):
    leases_type = NeverRenewsALease


class _AsksForLittle(Leases):
    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        half = grant.increment // 2
        return self._api.renew_lease(grant.token.text, grant.id, half, deadline)


class RenewsALeaseForHalfItsLife(Leasing):
    """Asks for half of what the lease had at first."""

    leases_type = _AsksForLittle


class _RenewsLate(RenewsAtShare):
    share = 0.94


class RenewsLeasesLate(Leasing):
    """In the last tenth of a life, where a slow answer is too late."""

    leases_type = _RenewsLate


class _LivesAsTheFirst(Leases):
    _first = 0

    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        grant = super()._ask(path, token, deadline)
        self._first = grant.increment = self._first or grant.increment
        grant._expires_at = grant.granted_at + grant.increment
        return grant


class RenewsAllLeasesByTheLifeOfTheFirst(Leasing):
    leases_type: ClassVar[type[Leases]] = _LivesAsTheFirst


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


class StopsRenewingLeasesAfterASeal(Leasing):
    """After a renewal that meets a seal."""

    leases_type: ClassVar[type[Leases]] = _EndsWithASeal


class _MeetsEachPage(Leases):
    """Renews the short lease early and the long one late, so that each gets a page."""

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


class LogsInAfterAGateway403ForALease(Leasing):
    leases_type: ClassVar[type[Leases]] = _LosesItsToken


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


class StopsRenewingLeasesAfterAGatewayPage(Leasing):
    """A caller gets another credential after the end."""

    leases_type: ClassVar[type[Leases]] = _EndsAtAPage


class _AcceptsAGatewayPage(Leases):
    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        try:
            return super()._ask_for_more(grant, deadline)
        except UnexpectedAnswer as error:
            if error.status != 200:
                raise
            return {"lease_duration": grant.increment, "renewable": True}


class TreatsAGatewayPageAsARenewedLease(Leasing):
    """Looks only at the status."""

    leases_type: ClassVar[type[Leases]] = _AcceptsAGatewayPage


class HandsOutNoCredentialInAnOutage(Leasing):
    def lease(self, path: str, failed: str | None = None) -> Credential:
        session = self.client._session()
        held = session.leases._by_path.get(path)
        if held is not None and held.grant is not None and session.circuit.outage is not None:
            raise VaultUnavailable("Vault is away", sent=False)
        return super().lease(path, failed)


class LooksUpItsTokenBeforeItHandsOutACredential(Leasing):
    def lease(self, path: str, failed: str | None = None) -> Credential:
        session = self.client._session()
        token = session.authenticator.current
        if token is not None and path in session.leases._by_path:
            session._api.look_up(token.text, Deadline(1.0))
        return super().lease(path, failed)


class LooksUp(Leases):
    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        self._look(grant, deadline)
        answer = super()._ask_for_more(grant, deadline)
        self._look(grant, deadline)
        return answer

    def _look(self, grant: Grant, deadline: Deadline) -> None:
        self._api._transport.request(
            "POST",
            "sys/leases/lookup",
            token=grant.token.text,
            body={"lease_id": grant.id},
            deadline=deadline,
        )


class LooksUpItsLeases(Leasing):
    """Before and after it renews; neither is a renewal."""

    leases_type = LooksUp


class _RenewsJustInTime(RenewsAtShare):
    share = 0.86


class RenewsLeasesJustInTime(Leasing):
    leases_type = _RenewsJustInTime


class _ReplacesAtAPage(Leases):
    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        try:
            return super()._renew(held, grant, deadline)
        except VaultError:
            grant.renewable = False  # remembered while the circuit lets nothing through
            return "not_renewable"


class ReplacesACredentialAfterAGatewayPage(Leasing):
    leases_type: ClassVar[type[Leases]] = _ReplacesAtAPage


# LEASE-07


class _Believing(RenewsAtShare):
    share = 2 / 3

    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        return {**super()._ask_for_more(grant, deadline), "lease_duration": grant.increment}


class PlansEachRenewalByTheFirstLife(Leasing):
    """Assumes that each renewal grants the full life."""

    leases_type = _Believing


class _SilentAtItsMaxTtl(_Silent):
    def _is_for(self, reason: str) -> bool:
        return reason in ("expired", "max_ttl", "not_found")


class HandsOutNothingAtTheMaxTtl(Leasing):
    """If a lease could not be extended."""

    leases_type = _SilentAtItsMaxTtl


class _NeverRenewsEarly(NeverRenewsALease, RenewsAtShare):
    share = 0.4


class ReplacesACredentialTooEarly(Leasing):
    leases_type = _NeverRenewsEarly


class _RenewsOn(RenewsAtShare):
    """Renews on after a renewal grants less than at first."""

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


class RenewsALeaseToTheVeryEnd(Leasing):
    """At 0.3 of the last grant, however small."""

    leases_type: ClassVar[type[Leases]] = _RenewsOn


class _RenewsOnFiveTimes(_RenewsOn):
    times = 5


class RenewsTheRestOfALifeFiveTimes(Leasing):
    leases_type = _RenewsOnFiveTimes


class _NeverRenewsInTurn(NeverRenewsALease, RenewsAtShare):
    share = 0.56


class ReplacesACredentialAfterHalfItsLife(Leasing):
    leases_type = _NeverRenewsInTurn


class _RenewsOnFourTimes(_RenewsOn):
    times = 4


class RenewsTheRestOfALifeFourTimes(Leasing):
    leases_type = _RenewsOnFourTimes


# LEASE-09


class _StopsAtALostAnswer(Leases):
    def _failed(self, held: Held, error: VaultError) -> float:
        wait = super()._failed(held, error)
        if _is_lost(error):
            held.due = wait = math.inf
            assert held.grant is not None
            held.grant.__class__ = _Endless  # only the thread would have noticed its end
        return wait


class StopsRenewingLeasesAfterALostAnswer(Leasing):
    """Its thread handles Vault's errors, and dies without an answer."""

    leases_type: ClassVar[type[Leases]] = _StopsAtALostAnswer


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


class LosesItsLeasesAfterALostAnswer(Leasing):
    leases_type = _EndsWithALostAnswer


class _ReplacesTwiceAtALostAnswer(_ReplacesAtALostAnswer):
    times = 2


class ReplacesACredentialTwiceAfterALostAnswer(Leasing):
    leases_type = _ReplacesTwiceAtALostAnswer


class _Patient(Leases):
    """Waits for a renewal's result before it hands out a credential."""

    waits: ClassVar[float] = math.inf

    def current(self, path: str, deadline: Deadline) -> Credential:
        held = self._by_path.setdefault(path, Held(path))
        if held._lock.acquire(timeout=max(0.0, min(self.waits, deadline.remaining()))):
            held._lock.release()
        return super().current(path, deadline)


class _PatientForLong(_Patient):
    waits = 1.3


class WaitsTooLongForARenewalOfALease(Leasing):
    """For more than half of a renewal's time."""

    leases_type = _PatientForLong


class RenewsLeasesInACallersCall(Leasing):
    """One renews; all others are served."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client._session().leases._threaded = False


class _PatientForAMoment(_Patient):
    waits = 0.5


class WaitsALittleForARenewalOfALease(Leasing):
    """For less than a third of a renewal's time."""

    leases_type = _PatientForAMoment


_mutant = partial(Mutant, base=REFERENCE)


_tolerated = partial(Tolerated, base=REFERENCE)


MUTANTS = by_name(
    _mutant(RetriesTheRenewalOfALostLease, "LEASE-03", "renewals of a lease that is not found"),
    _mutant(ReplacesALostLeaseTwice, "LEASE-03", "at most 1 credential"),
    _mutant(AsksThreeTimesAboutALostLease, "LEASE-03", "at most 2 renewals of a lease"),
    _mutant(KeepsOnlyOneLease, "LEASE-03", "its own role"),
    _mutant(StopsAllRenewalsAtOneLostLease, "LEASE-03", "the other path"),
    _mutant(ReplacesAllCredentialsForOneLostLease, "LEASE-03", "at most 1 credential"),
    _mutant(LogsInForEachFailedLease, "LEASE-03", "the token survives").called(
        "logs-in-for-a-lease-that-is-not-found"
    ),
    _mutant(WaitsForeverForAnotherCredential, "LEASE-03", "is renewed, or replaced"),
    _mutant(ReplacesACredentialAtEachFailedRenewal, "LEASE-04", "from one credential to the next"),
    _mutant(HandsOutEndedCredentialsWhileItRenews, "LEASE-04", "accepted by the database"),
    _mutant(PausesForTooLongAfterA500, "LEASE-04", "goes without"),
    _mutant(RenewsLeasesWithoutAPause, "LEASE-04", "renewals of leases"),
    _mutant(TriesALeaseAHundredTimes, "LEASE-04", "renewals of leases"),
    _mutant(LogsInForEachFailedLease, "LEASE-04", "the token survives").called(
        "logs-in-for-each-lease-that-fails"
    ),
    _mutant(LogsInForDeniedRenewals, "LEASE-04", "at most 1 login"),
    _mutant(ReplacesACredentialAtHalfItsLife, "LEASE-06", "at most 1 credential"),
    _mutant(RenewsALeaseForHalfItsLife, "LEASE-06", "renewed for"),
    _mutant(RenewsLeasesLate, "LEASE-06", "a renewal between"),
    _mutant(RenewsAllLeasesByTheLifeOfTheFirst, "LEASE-06", "a renewal between"),
    _mutant(StopsRenewingLeasesAfterASeal, "LEASE-06", "is renewed, or replaced"),
    _mutant(LogsInAfterAGateway403ForALease, "LEASE-06", "the token survives"),
    _mutant(StopsRenewingLeasesAfterAGatewayPage, "LEASE-06", "is renewed, or replaced"),
    _mutant(TreatsAGatewayPageAsARenewedLease, "LEASE-06", "is renewed, or replaced"),
    _mutant(HandsOutNoCredentialInAnOutage, "LEASE-06", "given what is at hand"),
    _mutant(LooksUpItsTokenBeforeItHandsOutACredential, "LEASE-06", "given what is at hand"),
    _mutant(PlansEachRenewalByTheFirstLife, "LEASE-07", "accepted by the database"),
    _mutant(HandsOutNothingAtTheMaxTtl, "LEASE-07", "goes without"),
    _mutant(ReplacesACredentialTooEarly, "LEASE-07", "from one credential to the next"),
    _mutant(RenewsALeaseToTheVeryEnd, "LEASE-07", "a lease whose maximum is near"),
    _mutant(RenewsTheRestOfALifeFiveTimes, "LEASE-07", "a lease whose maximum is near"),
    _mutant(StopsRenewingLeasesAfterALostAnswer, "LEASE-09", "accepted by the database"),
    _mutant(LosesItsLeasesAfterALostAnswer, "LEASE-09", "goes without"),
    _mutant(
        ReplacesACredentialTwiceAfterALostAnswer, "LEASE-09", "from one credential to the next"
    ),
    _mutant(WaitsTooLongForARenewalOfALease, "LEASE-09", "holds up no call for a credential"),
)


TOLERATED = by_name(
    _tolerated(AsksTwiceAboutALostLease, "LEASE-03"),
    _tolerated(RenewsInCalls, "LEASE-03").called("renews-leases-in-calls"),
    _tolerated(ReplacesAtALostAnswer, "LEASE-03").called("replaces-a-credential-after-silence"),
    _tolerated(ReplacesACredentialAtHalfItsLifeWhenRenewalsFail, "LEASE-04"),
    _tolerated(LogsInOnceForDeniedRenewals, "LEASE-04"),
    _tolerated(PausesAWhileAfterA500, "LEASE-04"),
    _tolerated(TriesALeaseThirteenTimes, "LEASE-04"),
    _tolerated(LooksUpItsLeases, "LEASE-06"),
    _tolerated(RenewsLeasesJustInTime, "LEASE-06"),
    _tolerated(RenewsInCalls, "LEASE-06").called("renews-leases-in-calls-under-a-seal"),
    _tolerated(ReplacesACredentialAfterAGatewayPage, "LEASE-06"),
    _tolerated(ReplacesACredentialAfterHalfItsLife, "LEASE-07"),
    _tolerated(RenewsTheRestOfALifeFourTimes, "LEASE-07"),
    _tolerated(ReplacesAtALostAnswer, "LEASE-09").called(
        "replaces-a-credential-after-a-lost-answer"
    ),
    _tolerated(RenewsLeasesInACallersCall, "LEASE-09"),
    _tolerated(WaitsALittleForARenewalOfALease, "LEASE-09"),
)
