"""Clients whose callers wait for a renewal that hangs, and such whose callers do not (TOK-22).

``thresholds.toml`` says which of them stands on which side of what; `tests.mutants.tok` lists them.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Mapping

from tests.mutants.clients import GivesUpRenewing, LogsInTwice
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    ClientError,
    DeniedError,
    GivenUpError,
    Reply,
    UnavailableError,
    Wire,
)

# Who else waits


class HoldsItsLockWhileItRenews(LazyClient):
    """Looks at its token under the lock that its timer holds until a renewal is over."""

    def _valid_token(self, deadline: float) -> Token:
        with self._held(deadline):
            return super()._valid_token(deadline)


class _OneAfterTheOther(Wire):
    """Has one connection's worth of requests: each begins when the one before is answered."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._turn = threading.Lock()

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        if not self._turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        try:
            return super()._exchange(request, deadline)
        finally:
            self._turn.release()


class AsksOneAfterTheOther(LazyClient):
    """Holds no lock of its token's: its reads queue behind the renewal, on their way to Vault."""

    wire_type = _OneAfterTheOther


class WaitsALittleForARenewal(LazyClient):
    """Would like the new life best, and goes on with the old one soon."""

    waits = 0.7

    def _valid_token(self, deadline: float) -> Token:
        if self._changing.acquire(timeout=self.waits):
            self._changing.release()
        return super()._valid_token(deadline)


class WaitsLongForARenewal(WaitsALittleForARenewal):
    """Goes on with the old one later than its callers can bear."""

    waits = 1.6


class RenewsInACallersCall(LazyClient):
    """Has no timer: whoever calls when it is time renews, and all others take what there is."""

    others_wait = False

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._renewing = threading.Lock()
        self._due = float("inf")

    def _arm(self, seconds: float) -> None:
        self._due = time.monotonic() + seconds

    def _is_timed(self) -> bool:
        return True

    def _valid_token(self, deadline: float) -> Token:
        token = super()._valid_token(deadline)
        left = max(0.0, deadline - time.monotonic()) if self.others_wait else 0.0
        if time.monotonic() < self._due or not self._renewing.acquire(timeout=left):
            return token
        try:
            if time.monotonic() >= self._due and not self._renewed(token, deadline):
                with self._held(deadline):
                    return self._log_in(deadline)
            return token
        except ClientError:  # which is not what it was called for: the token lives
            self._arm(self._longest)
            return token
        finally:
            self._renewing.release()


class RenewsInACallWithLittleJitter(RenewsInACallersCall):
    """Renews when one calls after a time that is chance by 3.3 %, as LifetimeWatcher's is."""

    def _arm(self, seconds: float) -> None:
        token = self._token
        if token is not None and seconds > self._longest:  # else it is a pause after a failure
            due = token.since + token.ttl * random.uniform(0.5835, 0.6165)
            seconds = due - time.monotonic()
        super()._arm(seconds)


class BelievesThatVaultIsSealed(RenewsInACallersCall):
    """Fails the call in which its renewal is told so: its read would be told the same."""

    _told = False

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError as error:
            self._told = "sealed" in str(error)
            raise

    def _valid_token(self, deadline: float) -> Token:
        token = super()._valid_token(deadline)
        if self._told:
            self._told = False
            raise GivenUpError("Vault is sealed")
        return token


class FailsACallForALogin(RenewsInACallersCall):
    """Never renews, and fails the call in which it is refused a login; the next have its token."""

    def _renewed(self, *_: object) -> bool:
        return False

    def _valid_token(self, deadline: float) -> Token:
        before = self._refusals()
        token = super()._valid_token(deadline)
        if self._refusals() > before:
            raise DeniedError("Vault refused a login that was due")
        return token

    def _refusals(self) -> int:
        return sum(map(len, self._credentials._failed.values()))


class LetsAllWaitForTheOneThatRenews(RenewsInACallersCall):
    """Whoever comes meanwhile waits for what comes of it, with a good token at hand."""

    others_wait = True


class AsksForHealthMeanwhile(RenewsInACallersCall):
    """Asks each second whether Vault serves, for which it needs no token."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        threading.Thread(target=self._ask_on, name="asks", daemon=True).start()

    def _ask_on(self) -> None:
        while not self._closed:
            time.sleep(1.0)
            with contextlib.suppress(ClientError):
                self._wire.send("GET", "sys/health", deadline=time.monotonic() + 1.0)


class GivesUpInACallersCall(RenewsInACallersCall):
    """Renews in none of the calls that come after one in which it failed."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError:
            self._due = float("inf")
            return True


# What becomes of the token


class _RenewsAtLeisure(Wire):
    """Gives a renewal that many seconds more than a call has."""

    more = 3600.0

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        if path == "auth/token/renew-self":
            deadline += self.more
        return super().send(method, path, deadline=deadline, token=token, body=body)


class WaitsForEverForARenewal(LazyClient):
    """A renewal has no deadline, alone of all requests, and is made under the lock of a login.

    One that a firewall swallows is the end of the client, when its token ends.
    """

    wire_type = _RenewsAtLeisure


class _RenewsWithPatience(_RenewsAtLeisure):
    more = 3.0


class WaitsLongerThanACallForARenewal(LazyClient):
    """Gives a renewal seven seconds, where a call has four: nobody waits for it."""

    wire_type = _RenewsWithPatience


class GivesUpARenewalThatHangs(GivesUpRenewing):
    """Has no patience with a renewal, and makes none any more."""

    patience = 1.2

    def _renewed(self, token: Token, deadline: float) -> bool:
        return super()._renewed(token, min(deadline, time.monotonic() + self.patience))


class RestsForTooLongAfterIt(LazyClient):
    """Comes back half a minute after a renewal that it gave up, whatever its token has left."""

    patience, rest = 1.2, 30.0
    _rests = False

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, min(deadline, time.monotonic() + self.patience))
        except UnavailableError:
            self._rests = True
            raise

    def _arm(self, seconds: float) -> None:
        rests, self._rests = self._rests, False
        super()._arm(self.rest if rests else seconds)


class LogsInWhenARenewalHangs(LazyClient):
    """Gives a renewal up that takes too long, and logs in anew while its old token lives."""

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


class LogsInTwiceWhenARenewalHangs(LogsInWhenARenewalHangs, LogsInTwice):
    """And once more, to be sure."""

    _started = False

    def _log_in(self, deadline: float) -> Token:
        if self._started:
            return super()._log_in(deadline)
        self._started = True
        return LazyClient._log_in(self, deadline)


class AsksAgainSoon(LazyClient):
    """Gives a renewal up soon, and tries the next after half a second, time and again."""

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


class AsksAgainAtOnce(AsksAgainSoon):
    """Tries the next over a new connection, in the moment in which it gives the last one up."""

    patience, rest = 2.0, 0.0


class RenewsLateWithoutPatience(AsksAgainSoon):
    """Renews at 0.89 of a life, gives that up after 2.5 s, and tries once more a second later."""

    share = 0.89
    patience, rest = 2.5, 1.0

    def _arm(self, seconds: float) -> None:
        token = self._token
        if token is not None and seconds != self.rest:
            seconds = token.ttl * self.share
        super()._arm(seconds)
