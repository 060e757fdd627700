"""Clients that break LEASE-03, 04, 06, 07 or 09: renewal of leases."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
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
from tests.mutants.clients import Mutant, Tolerated, by_name
from tests.mutants.reference_clients import (
    Leasing,
    NeverRenewsALease,
    RenewsAtShare,
    Trusting,
    _Endless,
)


class _LeasesTwo(Leases):
    times = 2

    def _replace(self, held: Held, deadline: Deadline, reason: str) -> Grant:
        for _ in range(self.times - 1 if self._is_for(reason) else 0):
            super()._replace(held, deadline, reason)
        return super()._replace(held, deadline, reason)

    def _is_for(self, reason: str) -> bool:
        return reason != "start"


class _Silent(Leases):
    """Asks for nothing for some seconds after its last credential's end."""

    seconds = math.inf

    def _replace(self, held: Held, deadline: Deadline, reason: str) -> Grant:
        old = held.grant
        over = old is None or clock() >= old.expires_at + self.seconds
        if self._is_for(reason) and not over:
            raise VaultUnavailable("the lease has ended, and there is no other", sent=False)
        return super()._replace(held, deadline, reason)

    def _is_for(self, reason: str) -> bool:
        return reason in ("token", "expired")


# LEASE-03


class RetriesTheRenewalOfALostLease(Leases):
    """Takes `lease not found` for a temporary failure."""

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        reason = super()._renew(held, grant, deadline)
        if reason == "not_found":
            grant.lost = None
            raise RequestRefused("lease not found")
        return reason


class ReplacesALostLeaseTwice(_LeasesTwo):
    """The renewer and a caller both do."""

    def _is_for(self, reason: str) -> bool:
        return reason == "not_found"


class AsksTwiceAboutALostLease(Leases):
    """Checks once more that a lease is gone."""

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


class KeepsOnlyOneLease(Leasing):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._path = ""

    def lease(self, path: str, failed: str | None = None) -> Credential:
        self._path = self._path or path
        return super().lease(self._path, failed)


class StopsAllRenewalsAtOneLostLease(Leases):
    _over = False

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        reason = super()._renew(held, grant, deadline)
        self._over |= reason == "not_found"
        return reason

    def _step(self) -> float | None:
        return None if self._over else super()._step()


class ReplacesAllCredentialsForOneLostLease(Leases):
    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        reason = super()._renew(held, grant, deadline)
        if reason == "not_found":
            for other in self._by_path.values():
                if other.grant is not None:
                    other.grant.lost = reason
        return reason


class LogsInForEachFailedLease(Leases):
    """Its leases stay with their token; nobody uses the new tokens, which live on."""

    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        try:
            return super()._ask_for_more(grant, deadline)
        except VaultError:
            with contextlib.suppress(VaultError):
                self._authenticator._method.log_in(Deadline(self._timeout, 0.0))
            raise


class WaitsForeverForAnotherCredential(NeverRenewsALease):
    """Renews nothing, and has no deadline for a replacement in the background."""

    def _ask(self, path: str, token: LeasingToken, deadline: Deadline) -> Grant:
        if self._by_path[path].grant is not None:
            deadline = Deadline(3600.0)
        return super()._ask(path, token, deadline)


class RenewsInCalls(Leasing):
    """Without a thread: callers renew what is due."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client._session().leases._threaded = False


def _is_lost(error: VaultError) -> bool:
    return isinstance(error, VaultUnavailable) and error.status is None


class ReplacesAtALostAnswer(RenewsAtShare):
    """If a renewal was not answered."""

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

    def _replace(self, held: Held, deadline: Deadline, reason: str) -> Grant:
        for _ in range(self.times - 1 if reason == "not_renewable" else 0):
            super()._replace(held, deadline, reason)
        return super()._replace(held, deadline, reason)


# LEASE-04


class ReplacesACredentialAtEachFailedRenewal(RenewsAtShare):
    share = 0.4

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        try:
            return super()._renew(held, grant, deadline)
        except Exception:  # noqa: BLE001 - every failure counts as the lease's end
            return "not_renewed"


class _SilentAfterA500(_Silent):
    _failing = False

    def _failed(self, held: Held, error: VaultError) -> float:
        self._failing |= isinstance(error, ServerFailed)
        return super()._failed(held, error)

    def _is_for(self, reason: str) -> bool:
        return self._failing and reason != "start"


class RenewsLeasesWithoutAPause(RenewsAtShare):
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

    def _replace(self, held: Held, deadline: Deadline, reason: str) -> Grant:
        self._tried = 0
        return super()._replace(held, deadline, reason)


class LogsInForDeniedRenewals(Leases):
    """Twice a second, until the lease has nearly ended."""

    most = 99
    _logged_in = 0

    def _denied(
        self, held: Held, grant: Grant, denial: PermissionDenied, deadline: Deadline
    ) -> str | None:
        if self._logged_in < self.most:
            self._logged_in += 1
            with contextlib.suppress(VaultError):
                self._authenticator._method.log_in(Deadline(self._timeout, 0.0))
        if self._logged_in < self.most and grant.remaining > 0.15 * grant.life:
            held.due = clock() + 0.5
            return None
        return super()._denied(held, grant, denial, deadline)


# LEASE-06


class RenewsALeaseForHalfItsLife(Leases):
    """Asks for half of what the lease had at first."""

    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        half = grant.increment // 2
        return self._api.renew_lease(grant.token.text, grant.id, half, deadline)


class RenewsAllLeasesByTheLifeOfTheFirst(Leases):
    _first = 0

    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        grant = super()._ask(path, token, deadline)
        self._first = grant.increment = self._first or grant.increment
        grant._expires_at = grant.granted_at + grant.increment
        return grant


class StopsRenewingLeasesAfterASeal(Leases):
    """After a renewal that meets a seal."""

    _over = False

    def _failed(self, held: Held, error: VaultError) -> float:
        wait = super()._failed(held, error)
        self._over |= isinstance(error, VaultSealed)
        if self._over:
            held.due = wait = math.inf
        return wait

    def _replace(self, held: Held, deadline: Deadline, reason: str) -> Grant:
        if self._over:
            raise VaultUnavailable("nobody keeps the leases any more", sent=False)
        return super()._replace(held, deadline, reason)


class _MeetsEachPage(Leases):
    """Renews the short lease early and the long one late, so that each gets a page."""

    def _plan(self, held: Held, grant: Grant) -> None:
        super()._plan(held, grant)
        held.due = grant.granted_at + grant.life * (0.5 if grant.life < 18.0 else 0.7)


class LogsInAfterAGateway403ForALease(_MeetsEachPage):
    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        try:
            return super()._renew(held, grant, deadline)
        except UnexpectedAnswer as error:
            if error.status == 403:
                self._authenticator._lose(grant.token, "rejected")
            raise


class StopsRenewingLeasesAfterAGatewayPage(Leases):
    """A caller gets another credential after the end."""

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


class TreatsAGatewayPageAsARenewedLease(Leases):
    """Looks only at the status."""

    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        try:
            return super()._ask_for_more(grant, deadline)
        except UnexpectedAnswer as error:
            if error.status != 200:
                raise
            return {"lease_duration": grant.increment, "renewable": True}


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


class ReplacesACredentialAfterAGatewayPage(Leases):
    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        try:
            return super()._renew(held, grant, deadline)
        except VaultError:
            grant.renewable = False  # remembered while the circuit lets nothing through
            return "not_renewable"


# LEASE-07


class PlansEachRenewalByTheFirstLife(RenewsAtShare):
    """Assumes that each renewal grants the full life."""

    share = 2 / 3

    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        return {**super()._ask_for_more(grant, deadline), "lease_duration": grant.increment}


class HandsOutNothingAtTheMaxTtl(_Silent):
    """If a lease could not be extended."""

    def _is_for(self, reason: str) -> bool:
        return reason in ("expired", "max_ttl", "not_found")


class ReplacesACredentialTooEarly(NeverRenewsALease, RenewsAtShare):
    share = 0.4


class RenewsALeaseToTheVeryEnd(RenewsAtShare):
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

    def _replace(self, held: Held, deadline: Deadline, reason: str) -> Grant:
        self._capped = 0
        return super()._replace(held, deadline, reason)


class ReplacesACredentialAfterHalfItsLife(NeverRenewsALease, RenewsAtShare):
    share = 0.56


# LEASE-09


class StopsRenewingLeasesAfterALostAnswer(Leases):
    """Its thread handles Vault's errors, and dies without an answer."""

    def _failed(self, held: Held, error: VaultError) -> float:
        wait = super()._failed(held, error)
        if _is_lost(error):
            held.due = wait = math.inf
            assert held.grant is not None
            held.grant.__class__ = _Endless  # only the thread would have noticed its end
        return wait


class LosesItsLeasesAfterALostAnswer(Leases):
    _lost = False

    def _failed(self, held: Held, error: VaultError) -> float:
        self._lost |= _is_lost(error)
        wait = super()._failed(held, error)
        if self._lost:
            held.due = wait = math.inf
        return wait

    def _replace(self, held: Held, deadline: Deadline, reason: str) -> Grant:
        if self._lost:
            raise VaultUnavailable("nobody keeps the leases any more", sent=False)
        return super()._replace(held, deadline, reason)


class _Patient(Leases):
    """Waits for a renewal's result before it hands out a credential."""

    waits: ClassVar[float] = math.inf

    def current(self, path: str, deadline: Deadline) -> Credential:
        held = self._by_path.setdefault(path, Held(path))
        if held._lock.acquire(timeout=max(0.0, min(self.waits, deadline.remaining()))):
            held._lock.release()
        return super().current(path, deadline)


class RenewsLeasesInACallersCall(Leasing):
    """One renews; all others are served."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client._session().leases._threaded = False


MUTANTS = by_name(
    Mutant(RetriesTheRenewalOfALostLease, "LEASE-03", "renewals of a lease that is not found"),
    Mutant(ReplacesALostLeaseTwice, "LEASE-03", "at most 1 credential"),
    Mutant(AsksTwiceAboutALostLease, "LEASE-03", "at most 2 renewals of a lease").called(
        "asks-three-times-about-a-lost-lease", tries=3
    ),
    Mutant(KeepsOnlyOneLease, "LEASE-03", "its own role"),
    Mutant(StopsAllRenewalsAtOneLostLease, "LEASE-03", "the other path"),
    Mutant(ReplacesAllCredentialsForOneLostLease, "LEASE-03", "at most 1 credential"),
    Mutant(LogsInForEachFailedLease, "LEASE-03", "the token survives").called(
        "logs-in-for-a-lease-that-is-not-found"
    ),
    Mutant(WaitsForeverForAnotherCredential, "LEASE-03", "is renewed, or replaced"),
    Mutant(ReplacesACredentialAtEachFailedRenewal, "LEASE-04", "from one credential to the next"),
    Mutant(Trusting, "LEASE-04", "accepted by the database").called(
        "hands-out-ended-credentials-while-it-renews"
    ),
    Mutant(_SilentAfterA500, "LEASE-04", "goes without").called(
        "pauses-for-too-long-after-a-500", seconds=10.0
    ),
    Mutant(RenewsLeasesWithoutAPause, "LEASE-04", "renewals of leases"),
    Mutant(RenewsLeasesWithoutAPause, "LEASE-04", "renewals of leases").called(
        "tries-a-lease-a-hundred-times", tries=100, pause=0.01
    ),
    Mutant(LogsInForEachFailedLease, "LEASE-04", "the token survives").called(
        "logs-in-for-each-lease-that-fails"
    ),
    Mutant(LogsInForDeniedRenewals, "LEASE-04", "at most 1 login"),
    Mutant(NeverRenewsALease, "LEASE-06", "at most 1 credential").called(
        "replaces-a-credential-at-half-its-life"
    ),
    Mutant(RenewsALeaseForHalfItsLife, "LEASE-06", "renewed for"),
    Mutant(RenewsAtShare, "LEASE-06", "a renewal between").called("renews-leases-late", share=0.94),
    Mutant(RenewsAllLeasesByTheLifeOfTheFirst, "LEASE-06", "a renewal between"),
    Mutant(StopsRenewingLeasesAfterASeal, "LEASE-06", "is renewed, or replaced"),
    Mutant(LogsInAfterAGateway403ForALease, "LEASE-06", "the token survives"),
    Mutant(StopsRenewingLeasesAfterAGatewayPage, "LEASE-06", "is renewed, or replaced"),
    Mutant(TreatsAGatewayPageAsARenewedLease, "LEASE-06", "is renewed, or replaced"),
    Mutant(HandsOutNoCredentialInAnOutage, "LEASE-06", "given what is at hand"),
    Mutant(LooksUpItsTokenBeforeItHandsOutACredential, "LEASE-06", "given what is at hand"),
    Mutant(PlansEachRenewalByTheFirstLife, "LEASE-07", "accepted by the database"),
    Mutant(HandsOutNothingAtTheMaxTtl, "LEASE-07", "goes without"),
    Mutant(ReplacesACredentialTooEarly, "LEASE-07", "from one credential to the next"),
    Mutant(RenewsALeaseToTheVeryEnd, "LEASE-07", "a lease whose maximum is near"),
    Mutant(RenewsALeaseToTheVeryEnd, "LEASE-07", "a lease whose maximum is near").called(
        "renews-the-rest-of-a-life-five-times", times=5
    ),
    Mutant(StopsRenewingLeasesAfterALostAnswer, "LEASE-09", "accepted by the database"),
    Mutant(LosesItsLeasesAfterALostAnswer, "LEASE-09", "goes without"),
    Mutant(ReplacesAtALostAnswer, "LEASE-09", "from one credential to the next").called(
        "replaces-a-credential-twice-after-a-lost-answer", times=2
    ),
    Mutant(_Patient, "LEASE-09", "holds up no call for a credential").called(
        "waits-too-long-for-a-renewal-of-a-lease", waits=1.3
    ),
)


TOLERATED = by_name(
    Tolerated(AsksTwiceAboutALostLease, "LEASE-03"),
    Tolerated(RenewsInCalls, "LEASE-03").called("renews-leases-in-calls"),
    Tolerated(ReplacesAtALostAnswer, "LEASE-03").called("replaces-a-credential-after-silence"),
    Tolerated(ReplacesACredentialAtEachFailedRenewal, "LEASE-04").called(
        "replaces-a-credential-at-half-its-life-when-renewals-fail", share=0.56
    ),
    Tolerated(LogsInForDeniedRenewals, "LEASE-04").called(
        "logs-in-once-for-denied-renewals", most=1
    ),
    Tolerated(_SilentAfterA500, "LEASE-04").called("pauses-a-while-after-a-500", seconds=6.0),
    Tolerated(RenewsLeasesWithoutAPause, "LEASE-04").called(
        "tries-a-lease-thirteen-times", tries=13, pause=0.1
    ),
    Tolerated(LooksUp, "LEASE-06").called("looks-up-its-leases"),
    Tolerated(RenewsAtShare, "LEASE-06").called("renews-leases-just-in-time", share=0.86),
    Tolerated(RenewsInCalls, "LEASE-06").called("renews-leases-in-calls-under-a-seal"),
    Tolerated(ReplacesACredentialAfterAGatewayPage, "LEASE-06"),
    Tolerated(ReplacesACredentialAfterHalfItsLife, "LEASE-07"),
    Tolerated(RenewsALeaseToTheVeryEnd, "LEASE-07").called(
        "renews-the-rest-of-a-life-four-times", times=4
    ),
    Tolerated(ReplacesAtALostAnswer, "LEASE-09").called(
        "replaces-a-credential-after-a-lost-answer"
    ),
    Tolerated(RenewsLeasesInACallersCall, "LEASE-09"),
    Tolerated(_Patient, "LEASE-09").called("waits-a-little-for-a-renewal-of-a-lease", waits=0.5),
)
