"""Clients that break the promises of LEASE: credentials that live for a while.

Each deviates from the reference client, the one of the correct clients that leases.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from resilient_vault_client import Credential, RequestRefused, VaultClient
from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Grant
from resilient_vault_client._held import Held
from resilient_vault_client._leases import Leases
from resilient_vault_client._token import Token
from tests.mutants import (
    answered_leases,
    blind_spots,
    denying_pages,
    edges_leases,
    loading,
    neglected,
    outsiders,
    refused_leases,
    second_leases,
    sharing,
    silences,
    untried,
    waylaid_leases,
)
from tests.mutants.clients import (
    REFERENCE,
    Leasing,
    LeavesItsCredentialsBehind,
    Mutant,
    Tolerated,
)
from tests.mutants.edges_leases import NeverRenews, RenewsAtShare, Trusting
from tests.mutants.other_styles import LooksUp

# What the database says


class IgnoresRefusals(Leasing):
    """Does not listen to a pool that was refused: Vault will tell, at the next renewal."""

    def lease(self, path: str, failed: str | None = None) -> Credential:
        del failed
        return super().lease(path)


class HeedsRefusalsLate(Leasing):
    """Believes a pool once it has been refused for six seconds."""

    after = 6.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first: dict[str, float] = {}

    def lease(self, path: str, failed: str | None = None) -> Credential:
        if failed is not None:
            since = time.monotonic() - self._first.setdefault(failed, time.monotonic())
            failed = failed if since >= self.after else None
        return super().lease(path, failed)


class HeedsRefusalsJustInTime(HeedsRefusalsLate):
    """After four seconds."""

    after = 4.0


# The parent token


class _Loose(Grant):
    """A lease that does not know on which token it hangs."""

    def __init__(self, path: str, answer: dict[str, Any], token: Token, started: float) -> None:
        super().__init__(path, answer, token, started)
        self.let_go()

    @property
    def expires_at(self) -> float:
        return self._expires_at

    @property
    def usable(self) -> bool:
        return self.lost is None and clock() < self._expires_at


class _KnowsNoParent(Leases):
    replaces_after = float("inf")

    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        started = clock()
        return _Loose(path, self._api.lease(token.text, path, deadline), token, started)

    def _step(self) -> float | None:
        wait = super()._step()
        return 0.1 if wait is None else min(wait, 0.1)

    def _reason(self, grant: Grant) -> str | None:
        current = self._authenticator.current
        young = current is None or clock() - current.issued_at < self.replaces_after
        return None if grant.lost is None and (young or grant.token is current) else "token"


class ForgetsTheParent(Leasing):
    """Goes by a lease's own time, which a token at its max TTL does not wait for."""

    leases_type = _KnowsNoParent


class _NoticesLate(_KnowsNoParent):
    replaces_after = 2.5


class NoticesTheParentLate(Leasing):
    """Replaces its credentials two and a half seconds after the login that killed them."""

    leases_type = _NoticesLate


class _NoticesSoon(_KnowsNoParent):
    replaces_after = 0.4


class NoticesTheParentSoon(Leasing):
    """Less than a second after it."""

    leases_type = _NoticesSoon


# A lease that is gone


class _Insists(Leases):
    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        reason = super()._renew(held, grant, deadline)
        if reason == "not_found":
            grant.lost = None
            raise RequestRefused("lease not found")
        return reason


class LoopsOnALostLease(Leasing):
    """Takes `lease not found` for a failure that passes."""

    leases_type = _Insists


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


class AsksTwiceAboutALostLease(Leasing):
    """Makes sure that a lease is gone."""

    leases_type = _AsksTwice


class _AsksThrice(_AsksTwice):
    tries = 3


class AsksThriceAboutALostLease(Leasing):
    """And once more."""

    leases_type = _AsksThrice


class _LeasesTwo(Leases):
    times = 2

    def _replace(self, held: Held, deadline: Deadline, patience: float, reason: str) -> Grant:
        for _ in range(self.times - 1 if self._is_for(reason) else 0):
            super()._replace(held, deadline, patience, reason)
        return super()._replace(held, deadline, patience, reason)

    def _is_for(self, reason: str) -> bool:
        return reason != "start"


class LeasesTwoForOne(Leasing):
    """Takes two credentials for one that it has lost."""

    leases_type = _LeasesTwo


class _LeasesThree(_LeasesTwo):
    times = 3


class LeasesThreeForOne(Leasing):
    """Takes three."""

    leases_type = _LeasesThree


class _FetchesTwice(_LeasesTwo):
    def _is_for(self, reason: str) -> bool:
        return reason == "not_found"


class FetchesTwice(Leasing):
    """Both the one that renews and the one that is asked replace a lost lease."""

    leases_type = _FetchesTwice


# Renewals that fail


class _MintsAtEachFailure(RenewsAtShare):
    share = 0.4

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        try:
            return super()._renew(held, grant, deadline)
        except Exception:  # noqa: BLE001 - whatever it is, it is taken for the lease's end
            return "not_renewed"


class MintsAtEachFailure(Leasing):
    """A renewal that fails, early in a life, costs a new credential."""

    leases_type = _MintsAtEachFailure


class _MintsByTheClock(Leases):
    def _reason(self, grant: Grant) -> str | None:
        return "expired" if clock() - grant.granted_at > 2.0 else super()._reason(grant)

    def _keep(self, held: Held, deadline: Deadline | None = None) -> float:
        return min(super()._keep(held, deadline), 0.5)


class LeasesByTheClock(Leasing):
    """Takes a new credential every two seconds, whatever became of the last."""

    leases_type = _MintsByTheClock


class _MintsInItsTime(_MintsAtEachFailure):
    share = 0.56


class MintsInItsTime(Leasing):
    """So it does, but later than in the middle of a life."""

    leases_type = _MintsInItsTime


class TrustsItsRenewals(Leasing):
    """Renews as long as it takes, and hands out what has ended meanwhile."""

    leases_type = Trusting


# Restarts


class LeasesForEachThread(Leasing):
    """Each thread has a client of its own, and so a credential."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._environ = environ
        self._own: dict[int, VaultClient] = {}

    def lease(self, path: str, failed: str | None = None) -> Credential:
        del failed
        client = self._own.setdefault(threading.get_ident(), VaultClient(environ=self._environ))
        return client.lease(path).current()

    def close(self) -> None:
        for client in self._own.values():
            client.close()
        super().close()


class GivesBackALittleLater(Leasing):
    """Has its credentials and its token given back by a thread, a moment after its end."""

    after = 1.0

    def close(self) -> None:
        def give_back() -> None:
            with contextlib.suppress(Exception):  # by then the scenario may be over
                super(GivesBackALittleLater, self).close()

        timer = threading.Timer(self.after, give_back)
        timer.daemon = True
        timer.start()


class GivesBackMuchLater(GivesBackALittleLater):
    """Some seconds after it."""

    after = 4.0


# Renewals


class LeasesInsteadOfRenewing(Leasing):
    """Asks for a new credential when half of a life is over."""

    leases_type = NeverRenews


class _AsksForLittle(Leases):
    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        half = grant.increment // 2
        return self._api.renew_lease(grant.token.text, grant.id, half, deadline)


class RenewsForHalf(Leasing):
    """Each renewal asks for half of what the lease was given at first."""

    leases_type = _AsksForLittle


class LooksAtItsLeases(Leasing):
    """Looks at a lease before it renews it, and after: neither is a renewal."""

    leases_type = LooksUp


class _RenewsLate(RenewsAtShare):
    share = 0.94


class RenewsLeasesLate(Leasing):
    """In the last tenth of a life, where a slow answer is too late."""

    leases_type = _RenewsLate


class _RenewsJustInTime(RenewsAtShare):
    share = 0.86


class RenewsLeasesJustInTime(Leasing):
    """Before it."""

    leases_type = _RenewsJustInTime


_mutant = partial(Mutant, base=REFERENCE)
_tolerated = partial(Tolerated, base=REFERENCE)

MUTANTS: dict[str, Mutant] = {
    "ignores-refusals": _mutant(IgnoresRefusals, "LEASE-01", "a credential that works"),
    "heeds-refusals-late": _mutant(
        HeedsRefusalsLate, "LEASE-01", "a credential that works within 5 s"
    ),
    "forgets-the-parent": _mutant(ForgetsTheParent, "LEASE-02", "accepted by the database"),
    "notices-the-parent-late": _mutant(
        NoticesTheParentLate, "LEASE-02", "accepted by the database"
    ),
    "loops-on-a-lost-lease": _mutant(
        LoopsOnALostLease, "LEASE-03", "renewals of a lease that is not found"
    ),
    "fetches-twice": _mutant(FetchesTwice, "LEASE-03", "at most 1 credential"),
    "leases-at-each-failure": _mutant(
        MintsAtEachFailure, "LEASE-04", "from one credential to the next"
    ),
    "trusts-its-renewals": _mutant(TrustsItsRenewals, "LEASE-04", "accepted by the database"),
    "leaves-its-credentials-behind": _mutant(
        LeavesItsCredentialsBehind, "LEASE-05", "given back at its end"
    ),
    "overflows-its-leases-timers": _mutant(
        outsiders.OverflowsItsLeasesTimers, "LEASE-05", "no loop without a pause"
    ),
    "leases-for-each-thread": _mutant(LeasesForEachThread, "LEASE-05", "at most 3 credentials"),
    "leases-instead-of-renewing": _mutant(
        LeasesInsteadOfRenewing, "LEASE-06", "at most 1 credential"
    ),
    "renews-for-half": _mutant(RenewsForHalf, "LEASE-06", "renewed for"),
    "renews-leases-late": _mutant(RenewsLeasesLate, "LEASE-06", "a renewal between"),
    "leases-three-for-one": _mutant(LeasesThreeForOne, "LEASE-01", "at most 2 credentials"),
    "leases-two-for-a-new-token": _mutant(LeasesTwoForOne, "LEASE-02", "credentials"),
    "asks-thrice-about-a-lost-lease": _mutant(
        AsksThriceAboutALostLease, "LEASE-03", "at most 2 renewals of a lease"
    ),
    "gives-back-much-later": _mutant(GivesBackMuchLater, "LEASE-05", "given back at its end"),
    "leases-by-the-clock": _mutant(LeasesByTheClock, "LEASE-04", "from one credential to the next"),
    "ends-with-its-token": _mutant(silences.EndsWithItsToken, "LEASE-02", "goes without"),
    "rests-for-long-after-its-token": _mutant(
        silences.RestsForLongAfterItsToken, "LEASE-02", "goes without"
    ),
    "gives-up-after-a-500": _mutant(silences.GivesUpAfterA500, "LEASE-04", "goes without"),
    "rests-for-long-after-a-500": _mutant(
        silences.RestsForLongAfterA500, "LEASE-04", "goes without"
    ),
    "leases-with-a-dead-token": _mutant(
        silences.LeasesWithADeadToken, "LEASE-01", "a credential that works within 5 s"
    ),
    "logs-in-late-for-a-lease": _mutant(
        silences.LogsInLateForALease, "LEASE-01", "a credential that works within 5 s"
    ),
    "leases-for-each-report": _mutant(
        sharing.LeasesForEachReport, "LEASE-01", "at most 2 credentials"
    ),
    "leases-for-reports-at-once": _mutant(
        sharing.LeasesForReportsAtOnce, "LEASE-01", "at most 2 credentials"
    ),
    "believes-a-late-report": _mutant(
        sharing.BelievesALateReport, "LEASE-01", "at most 0 credentials"
    ),
    "keeps-one-lease": _mutant(sharing.KeepsOneLease, "LEASE-03", "its own role"),
    "ends-all-renewals-with-one": _mutant(
        sharing.EndsAllRenewalsWithOne, "LEASE-03", "the other path"
    ),
    "loses-all-with-one": _mutant(sharing.LosesAllWithOne, "LEASE-03", "at most 1 credential"),
    "leases-in-haste": _mutant(refused_leases.LeasesInHaste, "LEASE-08", "no request storm"),
    "takes-a-failing-engine-for-a-dead-token": _mutant(
        refused_leases.TakesAFailingEngineForADeadToken, "LEASE-08", "the token survives"
    ),
    "calls-a-failing-engine-a-denial": _mutant(
        refused_leases.CallsAFailureADenial, "LEASE-08", "a failure then is unavailable"
    ),
    "rests-for-long-after-a-failing-engine": _mutant(
        refused_leases.RestsForLongAfterAFailure, "LEASE-08", "a credential that works"
    ),
    "logs-in-for-each-denied-lease": _mutant(
        refused_leases.LogsInForEachDeniedLease, "LEASE-08", "logins for"
    ),
    "asks-thrice-for-a-denied-lease": _mutant(
        refused_leases.AsksThriceForADeniedLease, "LEASE-08", "requests for"
    ),
    "calls-a-denied-lease-an-outage": _mutant(
        refused_leases.CallsADenialAnOutage, "LEASE-08", "a failure then is denied"
    ),
    "rests-for-long-after-a-denied-lease": _mutant(
        refused_leases.RestsForLongAfterADenial, "LEASE-08", "a credential that works"
    ),
    "turns-away-all-but-one": _mutant(silences.TurnsAwayAllButOne, "LEASE-05", "at once"),
    "turns-away-the-fifth": _mutant(silences.TurnsAwayTheFifth, "LEASE-05", "at once"),
    "renews-leases-without-a-pause": _mutant(
        edges_leases.RenewsWithoutAPause, "LEASE-04", "at most 13 renewals of leases"
    ),
    "tries-a-lease-fifteen-times": _mutant(
        edges_leases.TriesALeaseFifteenTimes, "LEASE-04", "at most 13 renewals of leases"
    ),
    "plans-by-the-first-life": _mutant(
        edges_leases.PlansByTheFirstLife, "LEASE-07", "accepted by the database"
    ),
    "ends-at-its-max-ttl": _mutant(silences.EndsAtItsMaxTtl, "LEASE-07", "goes without"),
    "leases-too-early-instead": _mutant(
        edges_leases.LeasesTooEarlyInstead, "LEASE-07", "from one credential to the next"
    ),
    "renews-a-lease-to-the-very-end": _mutant(
        edges_leases.RenewsToTheVeryEnd, "LEASE-07", "a lease whose maximum is near"
    ),
    "renews-what-is-left-five-times": _mutant(
        edges_leases.RenewsWhatIsLeftFiveTimes, "LEASE-07", "a lease whose maximum is near"
    ),
    "dies-of-a-lost-answer": _mutant(
        edges_leases.DiesOfALostAnswer, "LEASE-09", "accepted by the database"
    ),
    "ends-with-a-lost-answer": _mutant(
        edges_leases.EndsWithALostAnswer, "LEASE-09", "goes without"
    ),
    "replaces-twice-at-a-lost-answer": _mutant(
        edges_leases.ReplacesTwiceAtALostAnswer, "LEASE-09", "from one credential to the next"
    ),
    "waits-for-a-renewal-of-a-lease": _mutant(
        edges_leases.WaitsForARenewalOfALease, "LEASE-09", "holds up no call for a credential"
    ),
    "waits-long-for-a-renewal-of-a-lease": _mutant(
        edges_leases.WaitsLongForARenewalOfALease, "LEASE-09", "holds up no call for a credential"
    ),
    "logs-in-for-each-lease-that-fails": _mutant(
        untried.LogsInForEachFailedLease, "LEASE-04", "the token survives"
    ),
    "logs-in-for-denied-renewals": _mutant(
        untried.LogsInForDeniedRenewals, "LEASE-04", "at most 1 login"
    ),
    "logs-in-for-a-lease-that-is-not-found": _mutant(
        untried.LogsInForEachFailedLease, "LEASE-03", "the token survives"
    ),
    "plans-each-lease-by-its-first": _mutant(
        second_leases.PlansEachLeaseByItsFirst, "LEASE-06", "a renewal between"
    ),
    "moves-one-path-alone": _mutant(
        second_leases.MovesOnePathAlone, "LEASE-02", "accepted by the database"
    ),
    "has-one-lock-for-all-leases": _mutant(
        second_leases.HasOneLockForAllLeases, "LEASE-01", "for a slow one"
    ),
    "renews-what-its-first-token-leases": _mutant(
        second_leases.RenewsWhatItsFirstTokenLeases, "LEASE-02", "is renewed, or replaced"
    ),
    "renews-its-leases-by-its-first-token": _mutant(
        second_leases.RenewsItsLeasesByItsFirstToken, "LEASE-02", "credentials"
    ),
    "starves-other-leases-while-one-fails": _mutant(
        second_leases.StarvesOtherLeasesWhileOneFails, "LEASE-08", "is renewed, or replaced"
    ),
    "waits-for-ever-for-a-lease": _mutant(
        second_leases.WaitsForEverForALease, "LEASE-03", "is renewed, or replaced"
    ),
    "waits-for-ever-for-another-credential": _mutant(
        neglected.WaitsForEverForAnotherCredential, "LEASE-03", "is renewed, or replaced"
    ),
    "ends-its-leases-with-a-seal": _mutant(
        second_leases.EndsItsLeasesWithASeal, "LEASE-06", "is renewed, or replaced"
    ),
    "leases-at-a-quota": _mutant(
        waylaid_leases.MintsAtAQuota, "LEASE-04", "from one credential to the next"
    ),
    "logs-in-at-a-quota-for-a-lease": _mutant(
        waylaid_leases.LogsInAtAQuotaForALease, "LEASE-04", "the token survives"
    ),
    "hands-out-a-page": _mutant(
        waylaid_leases.HandsOutAPage, "LEASE-08", "what is handed out is accepted by the database"
    ),
    "calls-a-page-a-denial": _mutant(
        waylaid_leases.CallsAPageADenial, "LEASE-08", "a failure then is unavailable"
    ),
    "takes-a-page-for-a-dead-token": _mutant(
        waylaid_leases.TakesAPageForADeadToken, "LEASE-08", "the token survives"
    ),
    "logs-in-at-a-denying-page-for-a-lease": _mutant(
        denying_pages.LogsInAtADenyingPageForALease, "LEASE-06", "the token survives"
    ),
    "leaves-a-lease-at-a-denying-page": _mutant(
        denying_pages.LeavesALeaseAtADenyingPage, "LEASE-06", "is renewed, or replaced"
    ),
    "ends-its-renewals-at-a-page": _mutant(
        answered_leases.EndsItsRenewalsAtAPage, "LEASE-06", "is renewed, or replaced"
    ),
    "takes-a-page-for-a-renewal": _mutant(
        answered_leases.TakesAPageForARenewal, "LEASE-06", "is renewed, or replaced"
    ),
    "hands-out-what-has-ended": _mutant(
        answered_leases.HandsOutWhatHasEnded, "LEASE-08", "readonly is accepted by the database"
    ),
    "has-no-credential-in-an-outage": _mutant(
        second_leases.HasNoCredentialInAnOutage, "LEASE-06", "given what is at hand"
    ),
    "looks-before-it-hands-out": _mutant(
        second_leases.LooksBeforeItHandsOut, "LEASE-06", "given what is at hand"
    ),
    "replaces-all-for-a-report": _mutant(
        blind_spots.ReplacesAllForAReport, "LEASE-01", "at most 0 credentials at database/creds/r"
    ),
    "moves-what-is-reported-alone": _mutant(
        blind_spots.MovesWhatIsReportedAlone, "LEASE-01", "accepted by the database"
    ),
    "hands-out-the-refused-again": _mutant(
        blind_spots.HandsOutTheRefusedAgain, "LEASE-08", "creds/app is accepted by the database"
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "hands-out-the-refused-for-a-moment": _tolerated(
        blind_spots.HandsOutTheRefusedForAMoment, "LEASE-08"
    ),
    "has-one-lock-for-a-moment": _tolerated(second_leases.HasOneLockForAMoment, "LEASE-01"),
    "heeds-refusals-just-in-time": _tolerated(HeedsRefusalsJustInTime, "LEASE-01"),
    "notices-the-parent-soon": _tolerated(NoticesTheParentSoon, "LEASE-02"),
    "looks-at-its-leases": _tolerated(LooksAtItsLeases, "LEASE-06"),
    "renews-leases-just-in-time": _tolerated(RenewsLeasesJustInTime, "LEASE-06"),
    "leases-two-for-one": _tolerated(LeasesTwoForOne, "LEASE-01"),
    "asks-twice-about-a-lost-lease": _tolerated(AsksTwiceAboutALostLease, "LEASE-03"),
    "leases-in-its-time": _tolerated(MintsInItsTime, "LEASE-04"),
    "logs-in-once-for-denied-renewals": _tolerated(untried.LogsInOnceForDeniedRenewals, "LEASE-04"),
    "gives-back-a-little-later": _tolerated(GivesBackALittleLater, "LEASE-05"),
    "rests-a-moment-after-its-token": _tolerated(silences.RestsAMomentAfterItsToken, "LEASE-02"),
    "rests-a-while-after-a-500": _tolerated(silences.RestsAWhileAfterA500, "LEASE-04"),
    "logs-in-for-a-lease-just-in-time": _tolerated(silences.LogsInForALeaseJustInTime, "LEASE-01"),
    "loads-for-its-leases": _tolerated(loading.LoadsInEachWay, "LEASE-05"),
    "leases-once-it-is-up": _tolerated(silences.LeasesOnceItIsUp, "LEASE-05"),
    "tries-a-lease-thirteen-times": _tolerated(edges_leases.TriesALeaseThirteenTimes, "LEASE-04"),
    "leases-in-turn": _tolerated(edges_leases.LeasesInTurn, "LEASE-07"),
    "renews-what-is-left-four-times": _tolerated(
        edges_leases.RenewsWhatIsLeftFourTimes, "LEASE-07"
    ),
    "replaces-at-a-lost-answer": _tolerated(edges_leases.ReplacesAtALostAnswer, "LEASE-09"),
    "renews-leases-in-a-callers-call": _tolerated(
        edges_leases.RenewsLeasesInACallersCall, "LEASE-09"
    ),
    "waits-a-little-for-a-renewal-of-a-lease": _tolerated(
        edges_leases.WaitsALittleForARenewalOfALease, "LEASE-09"
    ),
    "leases-often": _tolerated(refused_leases.LeasesOften, "LEASE-08"),
    "asks-twice-for-a-denied-lease": _tolerated(
        refused_leases.AsksTwiceForADeniedLease, "LEASE-08"
    ),
    "rests-a-while-without-a-credential": _tolerated(
        refused_leases.RestsAWhileAfterEither, "LEASE-08"
    ),
    "renews-leases-in-calls": _tolerated(sharing.RenewsInCalls, "LEASE-03"),
    "renews-leases-in-calls-under-a-seal": _tolerated(sharing.RenewsInCalls, "LEASE-06"),
    "hands-out-what-has-ended-for-a-moment": _tolerated(
        answered_leases.HandsOutWhatHasEndedForAMoment, "LEASE-08"
    ),
    "replaces-at-a-page": _tolerated(answered_leases.ReplacesAtAPage, "LEASE-06"),
    "replaces-at-silence": _tolerated(edges_leases.ReplacesAtALostAnswer, "LEASE-03"),
}
