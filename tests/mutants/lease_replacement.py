"""Clients that break LEASE-01, 02, 05 or 08: credentials revoked, denied or given back."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from resilient_vault_client import (
    Credential,
    PermissionDenied,
    Secret,
    VaultClient,
    VaultError,
    VaultUnavailable,
)
from resilient_vault_client._deadline import Deadline, clock
from resilient_vault_client._errors import RateLimited, ServerFailed, UnexpectedAnswer
from resilient_vault_client._grant import Grant, Token
from resilient_vault_client._grant import Token as LeaseToken
from resilient_vault_client._leases import Held, Leases
from tests.mutants.clients import Mutant, Tolerated, by_name
from tests.mutants.lease_renewal import _LeasesTwo, _Silent
from tests.mutants.reference_clients import (
    Leasing,
    LeavesItsCredentialsBehind,
    LoadsInEachWay,
    RenewsAtShare,
)

# LEASE-01


class ActsOnReportsTooLate(Leasing):
    """Believes a pool after six seconds of refusals."""

    after = 6.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first: dict[str, float] = {}

    def lease(self, path: str, failed: str | None = None) -> Credential:
        if failed is not None:
            since = time.monotonic() - self._first.setdefault(failed, time.monotonic())
            failed = failed if since >= self.after else None
        return super().lease(path, failed)


class _Restless(Leases):
    """Retries at once: success must not depend on pauses."""

    def _failed(self, held: Held, error: VaultError) -> float:
        super()._failed(held, error)
        held.blocked_until = 0.0
        return 0.1


class NeverLogsInAgainForALease(Leasing):
    """Takes a 403 for a denial."""

    leases_type = _Restless
    after = math.inf

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        session = self.client._session()
        careful, denied_at = session._with_token, math.inf

        def careless(operation, *, deadline, **rest):  # type: ignore[no-untyped-def]  # as `WithToken`
            nonlocal denied_at
            if time.monotonic() >= denied_at + self.after:
                return careful(operation, deadline=deadline, **rest)
            try:
                return operation(session._token(deadline))
            except PermissionDenied as denial:
                denied_at = min(denied_at, time.monotonic())
                raise VaultUnavailable(str(denial), sent=False) from denial

        session.leases._with_token = careless


class ReplacesACredentialForEachReport(Leases):
    """Takes a new credential for each report of a refusal, even of a replaced user."""

    def failed(self, path: str, username: str) -> None:
        held, deadline = self._by_path[path], Deadline(self._timeout)
        with held.alone(deadline):
            if self._heeds(held, username):
                self._replace(held, deadline, "refused")

    def _heeds(self, held: Held, username: str) -> bool:
        """Return whether a report of that user counts."""
        del held, username
        return True


class ReplacesACredentialForALateReport(Leasing):
    """Takes each report for one of the current user."""

    def lease(self, path: str, failed: str | None = None) -> Credential:
        if failed is not None:
            failed = super().lease(path).username
        return super().lease(path, failed)


class HasOneLockForAllLeases(Leases):
    """Makes every caller for a credential, of any path, wait for the one before."""

    waits: ClassVar[float] = math.inf

    def current(self, path: str, deadline: Deadline) -> Credential:
        lock: threading.Lock = self.__dict__.setdefault("_one", threading.Lock())
        held = lock.acquire(timeout=max(0.0, min(self.waits, deadline.remaining())))
        try:
            return super().current(path, deadline)
        finally:
            if held:
                lock.release()


class ReplacesAllCredentialsForOneReport(Leasing):
    def lease(self, path: str, failed: str | None = None) -> Credential:
        by_path = self.client._session().leases._by_path
        held = by_path.get(path)
        grant = held.grant if held is not None else None
        if grant is not None and grant.credential.username == failed:
            for other in by_path.values():
                if other is not held and other.grant is not None:
                    other.grant.lost = "refused"
        return super().lease(path, failed)


class _Unbound(Grant):
    """Ignores its token."""

    @property
    def expires_at(self) -> float:
        return self._expires_at

    @property
    def usable(self) -> bool:
        return self.lost is None


class ReplacesOnlyTheReportedCredentialAfterANewToken(Leases):
    """If it was late to replace a lost token."""

    def _ask(self, path: str, token: LeaseToken, deadline: Deadline) -> Grant:
        grant = super()._ask(path, token, deadline)
        grant.__class__ = _Unbound
        return grant

    def _on_current_token(self, grant: Grant) -> bool:
        return grant.token.lost is not None or super()._on_current_token(grant)


# LEASE-02


class _Loose(Grant):
    """Does not know its token."""

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


class ReplacesOneCredentialAfterALogin(Leases):
    """The first lease's move to a new token is noted for all paths."""

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


class _OnlyOnItsToken(Grant):
    """Ignores its own end."""

    @property
    def usable(self) -> bool:
        return self.lost is None and self.token.lost is None


class RenewsOnlyLeasesOfItsFirstToken(Leases):
    """Starts its renewer at its start."""

    _first: Token | None = None

    def _plan(self, held: Held, grant: Grant) -> None:
        super()._plan(held, grant)
        self._first = self._first or grant.token
        if grant.token is not self._first:
            grant.__class__ = _OnlyOnItsToken
            held.due = math.inf


class RenewsItsLeasesByItsFirstToken(Leases):
    """Renews by a client of its own, with the token from the start."""

    _first: Token | None = None

    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        self._first = self._first or grant.token
        return self._api.renew_lease(self._first.text, grant.id, grant.increment, deadline)

    def _denied(
        self, held: Held, grant: Grant, denial: PermissionDenied, deadline: Deadline
    ) -> str | None:
        del held, grant, deadline
        raise denial


# LEASE-05


class OverflowsTheTimersOfItsLeases(RenewsAtShare):
    """Milliseconds in 31 bits; its token has other timers."""

    share = 0.8

    def _plan(self, held: Held, grant: Grant) -> None:
        super()._plan(held, grant)
        if (held.due - clock()) * 1000 >= 2**31:
            held.due = clock()


class RequestsACredentialForEachThread(Leasing):
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


class RevokesItsCredentialsAMomentAfterItsEnd(Leasing):
    after = 1.0

    def close(self) -> None:
        def give_back() -> None:
            with contextlib.suppress(Exception):  # the scenario may be over
                super(RevokesItsCredentialsAMomentAfterItsEnd, self).close()

        timer = threading.Timer(self.after, give_back)
        timer.daemon = True
        timer.start()


class RejectsCallersWhileItRequestsACredential(Leasing):
    """Asks for one credential at a time, and turns other callers away meanwhile.

    The first calls take a moment, so that simultaneous callers meet them even on a busy machine.
    """

    at_once = 1
    takes = 0.5

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._turns = threading.BoundedSemaphore(self.at_once)
        self._turned_away = threading.Event()

    def lease(self, path: str, failed: str | None = None) -> Credential:
        if not self._turns.acquire(blocking=False):
            self._turned_away.set()
            raise VaultUnavailable("others ask for a credential", sent=False)
        try:
            self._turned_away.wait(self.takes)
            return super().lease(path, failed)
        finally:
            self._turns.release()


class RejectsCallersForACredentialWhileItStarts(Leasing):
    """Reads wait until it has started."""

    takes = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._up_at = time.monotonic() + self.takes

    def read(self, path: str, key: str) -> Secret:
        time.sleep(max(0.0, self._up_at - time.monotonic()))
        return super().read(path, key)

    def lease(self, path: str, failed: str | None = None) -> Credential:
        if time.monotonic() < self._up_at:
            raise VaultUnavailable("it is not up yet", sent=False)
        return super().lease(path, failed)


# LEASE-08


class RequestsCredentialsDespiteRetryAfter(Leases):
    """Asks again after a fifth of a second when a quota refuses a credential."""

    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        try:
            return super()._ask(path, token, deadline)
        except RateLimited:
            time.sleep(0.2)
        return super()._ask(path, token, deadline)


class RequestsCredentialsFromAFailingEngineWithoutAPause(Leases):
    """Asks again within a call, as long as the call has time."""

    pause = 0.01

    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        while True:
            try:
                return super()._ask(path, token, deadline)
            except ServerFailed:
                if deadline.remaining() < 2 * self.pause:
                    raise
                time.sleep(self.pause)


class TreatsAFailingEngineAsADeadToken(Leases):
    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        try:
            return super()._ask(path, token, deadline)
        except ServerFailed:
            self._authenticator._lose(token, "rejected")
            raise


class ReportsAFailingEngineAsADenial(Leasing):
    def lease(self, path: str, failed: str | None = None) -> Credential:
        try:
            return super().lease(path, failed)
        except ServerFailed as error:
            raise PermissionDenied(str(error)) from error


class PausesForTooLongAfterAFailingEngine(Leases):
    """Pauses for some seconds after it was given no credential."""

    seconds = 14.0
    after: type[VaultError] = ServerFailed
    _until = 0.0

    def _replace(self, held: Held, deadline: Deadline, reason: str) -> Grant:
        left = self._until - time.monotonic()
        if left > 0 and held.error is not None:
            known = held.error.again()
            known.retry_in, known.echo = left, True
            raise known
        try:
            return super()._replace(held, deadline, reason)
        except self.after as error:
            if not error.echo:  # Vault's own answer
                self._until = time.monotonic() + self.seconds
            raise


class _AsksEachTime(Leases):
    """Asks Vault in each call, without a pause after a denial."""

    def _note(self, held: Held, error: VaultError) -> None:
        super()._note(held, error)
        held.blocked_until = 0.0

    def _failed(self, held: Held, error: VaultError) -> float:
        wait = super()._failed(held, error)
        held.blocked_until = 0.0
        return wait


class LogsInForEachDeniedLease(Leasing):
    leases_type: ClassVar[type[Leases]] = _AsksEachTime

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        session = self.client._session()
        careful = session.leases._with_token

        def careless(operation, **rest):  # type: ignore[no-untyped-def]  # as `WithToken`
            try:
                return careful(operation, **rest)
            except PermissionDenied:
                if (token := session.authenticator.current) is not None:
                    session.authenticator._lose(token, "rejected")
                raise

        session.leases._with_token = careless


class _AsksThreeTimes(_AsksEachTime):
    tries = 3

    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        for _ in range(self.tries - 1):
            try:
                return super()._ask(path, token, deadline)
            except PermissionDenied:
                time.sleep(0.01)
        return super()._ask(path, token, deadline)


class AsksThreeTimesForADeniedLease(Leasing):
    leases_type: ClassVar[type[Leases]] = _AsksThreeTimes

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client._session().authenticator._policy_login_due = math.inf


class ReportsADeniedLeaseAsAnOutage(Leasing):
    """Tells a denied caller to come again later."""

    def lease(self, path: str, failed: str | None = None) -> Credential:
        try:
            return super().lease(path, failed)
        except PermissionDenied as error:
            raise VaultUnavailable(str(error), sent=False) from error


class RenewsNoOtherLeaseWhileOneFails(Leases):
    def _step(self) -> float | None:
        waits = []
        for held in list(self._by_path.values()):
            if self._stopped:
                return None
            wait = self._tend(held)
            if wait is None:
                continue
            waits.append(max(0.0, wait))
            if held.pause is not None:  # the round ends
                break
        return min(waits, default=None)

    def _replace(self, held: Held, deadline: Deadline, reason: str) -> Grant:
        others = (other for other in self._by_path.values() if other is not held)
        if reason == "expired" and any(other.pause is not None for other in others):
            raise VaultUnavailable("its turn has not come", sent=False)
        return super()._replace(held, deadline, reason)


class _Nothing(Grant):
    """Without a user; the lease ends at once."""

    def __init__(self, path: str, token: Token, started: float) -> None:
        nothing = {
            "lease_id": "none",
            "lease_duration": 1,
            "data": {"username": "", "password": ""},
        }
        super().__init__(path, nothing, token, started)


class HandsOutAnEmptyCredentialForAGatewayPage(Leases):
    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        try:
            return super()._ask(path, token, deadline)
        except UnexpectedAnswer as error:
            if error.status != 200:
                raise
            return _Nothing(path, token, clock())


class HandsOutAnEndedCredential(Leases):
    """Hands out the last credential while a lease cannot be renewed, as if it were a secret."""

    seconds = math.inf

    def current(self, path: str, deadline: Deadline) -> Credential:
        held = self._by_path.get(path)
        grant = held.grant if held is not None else None
        if held is not None and grant is not None and held.pause is not None:
            alive = grant.lost is None and grant.token.lost is None
            if alive and clock() < grant.expires_at + self.seconds:
                return grant.credential
        return super().current(path, deadline)


class HandsOutARefusedCredentialAgain(Leasing):
    lasts = math.inf

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._last: dict[str, Credential] = {}
        self._since: dict[str, float] = {}

    def lease(self, path: str, failed: str | None = None) -> Any:
        try:
            found = self._last[path] = super().lease(path, failed)
        except VaultError:
            now = time.monotonic()
            since = self._since.setdefault(path, now)
            if path not in self._last or now - since >= self.lasts:
                raise
            return self._last[path]
        self._since.pop(path, None)
        return found


class _AsksTwice(_AsksThreeTimes):
    tries = 2


class AsksTwiceForADeniedLease(AsksThreeTimesForADeniedLease):
    leases_type = _AsksTwice


MUTANTS = by_name(
    Mutant(ActsOnReportsTooLate, "LEASE-01", "a credential that works within 5 s"),
    Mutant(_LeasesTwo, "LEASE-01", "at most 2 credentials").called(
        "requests-three-credentials-for-a-lost-one", times=3
    ),
    Mutant(NeverLogsInAgainForALease, "LEASE-01", "a credential that works within 5 s"),
    Mutant(ReplacesACredentialForEachReport, "LEASE-01", "at most 2 credentials"),
    Mutant(ReplacesACredentialForALateReport, "LEASE-01", "at most 0 credentials"),
    Mutant(HasOneLockForAllLeases, "LEASE-01", "for a slow one"),
    Mutant(
        ReplacesAllCredentialsForOneReport, "LEASE-01", "at most 0 credentials at database/creds/r"
    ),
    Mutant(ReplacesOnlyTheReportedCredentialAfterANewToken, "LEASE-01", "accepted by the database"),
    Mutant(_KnowsNoParent, "LEASE-02", "accepted by the database").called(
        "replaces-credentials-too-late-after-a-login", replaces_after=2.5
    ),
    Mutant(_LeasesTwo, "LEASE-02", "credentials").called("requests-two-credentials-after-a-login"),
    Mutant(_Silent, "LEASE-02", "goes without").called(
        "requests-no-credential-long-after-its-token-ends", seconds=6.0
    ),
    Mutant(ReplacesOneCredentialAfterALogin, "LEASE-02", "accepted by the database"),
    Mutant(RenewsOnlyLeasesOfItsFirstToken, "LEASE-02", "is renewed, or replaced"),
    Mutant(RenewsItsLeasesByItsFirstToken, "LEASE-02", "credentials"),
    Mutant(LeavesItsCredentialsBehind, "LEASE-05", "given back at its end").called(
        "revokes-no-credentials-at-its-end"
    ),
    Mutant(OverflowsTheTimersOfItsLeases, "LEASE-05", "no loop without a pause"),
    Mutant(RequestsACredentialForEachThread, "LEASE-05", "at most 3 credentials"),
    Mutant(RevokesItsCredentialsAMomentAfterItsEnd, "LEASE-05", "given back at its end").called(
        "revokes-its-credentials-long-after-its-end", after=4.0
    ),
    Mutant(RejectsCallersWhileItRequestsACredential, "LEASE-05", "at once"),
    Mutant(RejectsCallersWhileItRequestsACredential, "LEASE-05", "at once").called(
        "rejects-the-fifth-caller-for-a-credential", at_once=4
    ),
    Mutant(
        RequestsCredentialsDespiteRetryAfter, "LEASE-08", "Retry-After is obeyed by each credential"
    ),
    Mutant(RequestsCredentialsFromAFailingEngineWithoutAPause, "LEASE-08", "no request storm"),
    Mutant(TreatsAFailingEngineAsADeadToken, "LEASE-08", "the token survives"),
    Mutant(ReportsAFailingEngineAsADenial, "LEASE-08", "a failure then is unavailable"),
    Mutant(PausesForTooLongAfterAFailingEngine, "LEASE-08", "a credential that works"),
    Mutant(LogsInForEachDeniedLease, "LEASE-08", "logins for"),
    Mutant(AsksThreeTimesForADeniedLease, "LEASE-08", "requests for"),
    Mutant(ReportsADeniedLeaseAsAnOutage, "LEASE-08", "a failure then is denied"),
    Mutant(RenewsNoOtherLeaseWhileOneFails, "LEASE-08", "is renewed, or replaced"),
    Mutant(
        HandsOutAnEmptyCredentialForAGatewayPage,
        "LEASE-08",
        "what is handed out is accepted by the database",
    ),
    Mutant(HandsOutAnEndedCredential, "LEASE-08", "readonly is accepted by the database"),
    Mutant(HandsOutARefusedCredentialAgain, "LEASE-08", "creds/app is accepted by the database"),
)


TOLERATED = by_name(
    Tolerated(HasOneLockForAllLeases, "LEASE-01").called(
        "has-one-lock-for-all-leases-for-a-moment", waits=0.4
    ),
    Tolerated(ActsOnReportsTooLate, "LEASE-01").called("acts-on-reports-just-in-time", after=4.0),
    Tolerated(_LeasesTwo, "LEASE-01").called("requests-two-credentials-for-a-lost-one"),
    Tolerated(_KnowsNoParent, "LEASE-02").called(
        "replaces-credentials-soon-after-a-login", replaces_after=0.4
    ),
    # Pauses for three seconds: refusals around a login do not count, and a call takes two.
    Tolerated(_Silent, "LEASE-02").called(
        "requests-no-credential-for-a-moment-after-its-token-ends", seconds=3.0
    ),
    Tolerated(RevokesItsCredentialsAMomentAfterItsEnd, "LEASE-05"),
    Tolerated(LeavesItsCredentialsBehind, "LEASE-05").called(
        "declares-that-it-leaves-its-token", leaves=frozenset({"token"})
    ),
    Tolerated(LoadsInEachWay, "LEASE-05").called("loads-code-at-its-first-lease"),
    Tolerated(RejectsCallersForACredentialWhileItStarts, "LEASE-05"),
    # In which other clients find out that there is none.
    Tolerated(HandsOutARefusedCredentialAgain, "LEASE-08").called(
        "hands-out-a-refused-credential-for-a-moment", lasts=1.0
    ),
    Tolerated(RequestsCredentialsFromAFailingEngineWithoutAPause, "LEASE-08").called(
        "requests-credentials-from-a-failing-engine-often", pause=0.4
    ),
    Tolerated(AsksTwiceForADeniedLease, "LEASE-08"),
    # Pauses for nine and a half seconds after either: half as long again as each lasted.
    Tolerated(PausesForTooLongAfterAFailingEngine, "LEASE-08").called(
        "pauses-a-while-without-a-credential", seconds=9.5, after=VaultError
    ),
    Tolerated(HandsOutAnEndedCredential, "LEASE-08").called(
        "hands-out-an-ended-credential-for-a-moment", seconds=1.2
    ),
)
