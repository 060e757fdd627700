"""Clients that break TOK-22 or 23: a renewal or a login that hangs."""

from __future__ import annotations

import contextlib
import threading
import time

from tests.mutants.clients import GivesUpRenewing, LogsInThreeTimes, Mutant, Tolerated, by_name
from tests.mutants.login_clients import AsksForAnHour, RenewsInACallersCall
from tests.mutants.tok_renewal import RenewsLate
from tests.mutants.tok_replacement import HasNoneWhileItLogsIn
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import ClientError, GivenUpError, Reply, UnavailableError, Wire

# TOK-22


class HoldsItsLockWhileItRenews(LazyClient):
    """Calls check the token under it."""

    def _valid_token(self, deadline: float) -> Token:
        with self._held(deadline):
            return super()._valid_token(deadline)


class WaitsALittleForARenewal(LazyClient):
    """Waits a short time for the new life, and then uses the old one."""

    waits = 0.7

    def _valid_token(self, deadline: float) -> Token:
        if self._changing.acquire(timeout=self.waits):
            self._changing.release()
        return super()._valid_token(deadline)


class NeverRenewsAfterAHangingRenewal(GivesUpRenewing):
    """Gives up a renewal soon, and never renews again."""

    patience = 1.2

    def _renewed(self, token: Token, deadline: float) -> bool:
        return super()._renewed(token, min(deadline, time.monotonic() + self.patience))


class _RenewsWithoutADeadline(Wire):
    """Gives a renewal some seconds more than a call has."""

    more = 3600.0

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        if path == "auth/token/renew-self":
            deadline += self.more
        return super().send(method, path, deadline=deadline, token=token, body=body)


class LogsInWhenARenewalHangs(LazyClient):
    """Gives up a slow renewal, and logs in while its old token lives."""

    patience = 1.2

    def _renewed(self, token: Token, deadline: float) -> bool:
        until = min(deadline, time.monotonic() + self.patience)
        with contextlib.suppress(ClientError):
            if not token.renewable:
                return False
            self._wire.send(
                "POST", "auth/token/renew-self", deadline=until, token=token.value, body={}
            )
            token.since = time.monotonic()
            self._arm(token.due)
            return True
        return False


class LogsInThreeTimesWhenARenewalHangs(LogsInWhenARenewalHangs, LogsInThreeTimes):
    """Logs in twice more."""


class AsksAgainSoon(LazyClient):
    """Gives up a renewal soon, and tries again after half a second, time and again."""

    patience, rest = 0.8, 0.5

    def _renewed(self, token: Token, deadline: float) -> bool:
        until = min(deadline, time.monotonic() + self.patience)
        if not token.renewable:
            return False
        try:
            self._wire.send(
                "POST", "auth/token/renew-self", deadline=until, token=token.value, body={}
            )
        except UnavailableError:
            self._arm(self.rest)
            return True
        token.since = time.monotonic()
        self._arm(token.due)
        return True


class GivesUpALateRenewalSoon(AsksAgainSoon):
    """Renews at 0.89 of a life, gives up after 2.5 s, and tries once more."""

    share = 0.89
    patience, rest = 2.5, 1.0

    def _arm(self, seconds: float) -> None:
        token = self._token
        if token is not None and seconds != self.rest:
            seconds = token.ttl * self.share
        super()._arm(seconds)


# TOK-23


class HasNoDeadlineForALoginInItsTimer(LazyClient):
    """Has a deadline for a call, and none for its timer."""

    def _log_in(self, deadline: float) -> Token:
        replacing = isinstance(threading.current_thread(), threading.Timer)
        return super()._log_in(time.monotonic() + 3600.0 if replacing else deadline)


class DropsALivingTokenAfterALostLogin(LazyClient):
    rest = 3.0
    _resting = 0.0

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except UnavailableError:
            self._token, self._resting = None, time.monotonic() + self.rest
            raise

    def _valid_token(self, deadline: float) -> Token:
        if time.monotonic() < self._resting:
            raise GivenUpError("it is not logged in")
        return super()._valid_token(deadline)


class LogsInThreeTimesMoreAfterALostLogin(LazyClient):
    times = 3
    _lost = False

    def _log_in(self, deadline: float) -> Token:
        try:
            for _ in range(self.times - 1 if self._lost else 0):
                super()._log_in(deadline)
            self._lost = False
            return super()._log_in(deadline)
        except UnavailableError:
            self._lost = True
            raise


MUTANTS = by_name(
    Mutant(HoldsItsLockWhileItRenews, "TOK-22", "holds up no read"),
    Mutant(WaitsALittleForARenewal, "TOK-22", "holds up no read").called(
        "waits-too-long-for-a-renewal", waits=1.6
    ),
    Mutant(RenewsInACallersCall, "TOK-22", "holds up no read").called(
        "blocks-all-callers-during-a-renewal", others_wait=True
    ),
    Mutant(NeverRenewsAfterAHangingRenewal, "TOK-22", "renewed, or replaced"),
    Mutant(LogsInThreeTimesWhenARenewalHangs, "TOK-22", "at most 1 login"),
    Mutant(HasNoDeadlineForALoginInItsTimer, "TOK-23", "renewed, or replaced"),
    Mutant(DropsALivingTokenAfterALostLogin, "TOK-23", "at most 2 reads fail"),
    Mutant(HasNoneWhileItLogsIn, "TOK-23", "a login that hangs holds up no read").called(
        "drops-a-living-token-during-a-hanging-login"
    ),
    Mutant(LogsInThreeTimesMoreAfterALostLogin, "TOK-23", "at most 1 login"),
)


TOLERATED = by_name(
    Tolerated(WaitsALittleForARenewal, "TOK-22"),
    Tolerated(RenewsInACallersCall, "TOK-22"),
    Tolerated(LogsInWhenARenewalHangs, "TOK-22"),
    Tolerated(_RenewsWithoutADeadline, "TOK-22").called(
        "waits-longer-than-a-call-for-a-renewal", more=3.0
    ),
    Tolerated(AsksAgainSoon, "TOK-22").called("retries-a-hanging-renewal-soon"),
    Tolerated(GivesUpALateRenewalSoon, "TOK-22"),
    Tolerated(RenewsLate, "TOK-22").called("renews-late-and-hangs"),
    Tolerated(AsksForAnHour, "TOK-22").called("asks-for-an-hour-and-hangs"),
)
