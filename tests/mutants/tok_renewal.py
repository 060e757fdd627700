"""Clients that break TOK-01, 02, 04, 08, 14 to 16 or 18: renewal of a token."""

from __future__ import annotations

import contextlib
import math
import os
import random
import socket
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, ClassVar

from resilient_vault_client import Secret
from resilient_vault_client._deadline import Deadline, clock
from resilient_vault_client._grant import Grant
from resilient_vault_client._grant import Token as LeasingToken
from resilient_vault_client._leases import Held, Leases
from resilient_vault_client._memory import Memory, Remembered
from tests.mutants.clients import (
    AtShare,
    CachesForTheRefreshTime,
    CachesForTooLong,
    GivesUpRenewing,
    LogsInThreeTimes,
    Mutant,
    RenewsTwiceAtOnce,
    Tolerated,
    _kept_open,
    by_name,
)
from tests.mutants.login_clients import (
    AsksForAnHour,
    GivesUpInACallersCall,
    LoadsAtItsFirstRead,
    LogsInAtAQuarter,
    LogsInAtAThird,
    LogsInInsteadOfRenewing,
    LooksBeforeEachRead,
    ReadsWithATokenThatItHasRevoked,
    RenewsInACallersCall,
)
from tests.mutants.reference_clients import (
    NeverRenewsALease,
    RenewsAtShare,
    Trusting,
    Tweaked,
)
from tests.subjects.lazy_client import LazyClient, Token, _secret
from tests.subjects.lazy_wire import ClientError, Gate, GivenUpError, Reply, UnavailableError


class FindsOutByARefusal(LazyClient):
    """Knows no end of a token: a refused read tells it, and is repeated."""

    def _arm(self, seconds: float) -> None:
        pass

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            self._token.since = time.monotonic()
        return super()._valid_token(deadline)


class LogsInBesideRenewing(AtShare):
    """Logs in five times in two TTLs."""

    share = 0.42

    def _renewed(self, token: Token, deadline: float) -> bool:
        super()._renewed(token, deadline)
        return False


class LogsInTwiceForOne(LogsInInsteadOfRenewing):
    """When it replaces its first token; it never renews."""

    share, times = 0.45, 2
    _logins = 0

    def _log_in(self, deadline: float) -> Token:
        self._logins += 1
        for _ in range(self.times - 1 if self._logins == 2 else 0):
            super()._log_in(deadline)
        return super()._log_in(deadline)


class RenewsLate(AtShare):
    """Renews as late as allowed."""

    share = 0.87


class NeverRenews(LazyClient):
    """It logs in after its token's end."""

    def _arm(self, seconds: float) -> None:
        pass


# TOK-01


class _IsMadeForTenSeconds(LazyClient):
    """Declares that its timers are made for lives of ten seconds."""

    least = 10.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "min_ttl": self.least}


class ReturnsHalfAValueWithAShortTtl(_IsMadeForTenSeconds):
    def read(self, path: str, key: str) -> str:
        value, token = super().read(path, key), self._token
        short = token is not None and token.first_ttl < self.least
        return value[: len(value) // 2] if short else value


class RenewsOnce(LazyClient):
    _done = False

    def _renewed(self, token: Token, deadline: float) -> bool:
        self._done = True
        return super()._renewed(token, deadline)

    def _arm(self, seconds: float) -> None:
        if not self._done:
            super()._arm(seconds)


class ComputesTheEndInLocalTime(LazyClient):
    """Right only where local time is UTC, as on most servers."""

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        told = self._ask("GET", "auth/token/lookup-self", deadline, token).body["data"]
        ends = datetime.fromisoformat(told["expire_time"][:19])
        token.since = time.monotonic()
        token.ttl = (ends - datetime.now()).total_seconds()  # noqa: DTZ005 - its very fault
        self._arm(token.due)
        return token


class ExitsWithAShortTtl(_IsMadeForTenSeconds):
    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        if token.first_ttl < self.least:
            os._exit(3)
        return token


# TOK-02


class RenewsAtExactlyHalfALife(LazyClient):
    """All its sisters renew at the same time."""

    def _arm(self, seconds: float) -> None:
        token = self._token
        super()._arm(token.ttl / 2 if token is not None else seconds)


class RenewsAtWholeTicksOfTheClock(LazyClient):
    """As a cron job does: clients with different tokens renew at the same moment."""

    after = 0.0

    def _arm(self, seconds: float) -> None:
        token = self._token
        if token is not None and token.ttl:
            now, tick = time.time(), token.ttl / 2
            at = math.ceil((now + 0.3 * token.ttl) / tick) * tick
            seconds = at - now + random.uniform(0.0, self.after) * token.ttl
        super()._arm(seconds)


class ClosesASharedPool(LazyClient):
    """The first instance to close closes it for all."""

    _pool: ClassVar[dict[str, bool]] = {}

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._pool["open"] = True

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        if not self._pool["open"]:
            raise RuntimeError("the pool is closed")
        return super()._ask(method, path, deadline, token, body)

    def close(self) -> None:
        super().close()
        self._pool["open"] = False


class StopsASharedRenewer(LazyClient):
    """It ends with the first closed instance."""

    _renews: ClassVar[dict[str, bool]] = {}

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._renews[self._wire._authority] = True

    def _arm(self, seconds: float) -> None:
        if self._renews[self._wire._authority]:
            super()._arm(seconds)

    def _tick(self) -> None:
        if self._renews[self._wire._authority]:
            super()._tick()

    def close(self) -> None:
        self._renews[self._wire._authority] = False
        super().close()


class RenewsAtAFixedRate(LazyClient):
    """Of half a life, after a first time of its own, as Java's ``scheduleAtFixedRate`` does."""

    _next = 0.0

    def _arm(self, seconds: float) -> None:
        token, now = self._token, time.monotonic()
        if token is not None:
            self._next = self._next or now + random.uniform(0.3, 0.7) * token.ttl
            while self._next <= now:
                self._next += 0.5 * token.ttl
            seconds = self._next - now
        super()._arm(seconds)


class RenewsInACallWithLittleJitter(RenewsInACallersCall):
    """Its jitter is 3.3 %, like LifetimeWatcher's."""

    def _arm(self, seconds: float) -> None:
        token = self._token
        if token is not None and seconds > self._longest:  # otherwise it is a pause after a failure
            due = token.since + token.ttl * random.uniform(0.5835, 0.6165)
            seconds = due - time.monotonic()
        super()._arm(seconds)


# TOK-04


class KeepsItsFirstTtl(LazyClient):
    """Assumes that a renewal gives as much as the login."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        renewed = super()._renewed(token, deadline)
        if token.ttl < token.first_ttl:
            token.ttl, token.renewable = token.first_ttl, True
            self._arm(token.due)
            return True
        return renewed


class TriesACappedRenewalFourTimes(LazyClient):
    """Asks three times more, as is allowed."""

    tries = 4

    def _renewed(self, token: Token, deadline: float) -> bool:
        renewed = super()._renewed(token, deadline)
        for _ in range(self.tries - 1):
            if renewed or token.ttl >= token.first_ttl * 0.9:
                break
            time.sleep(0.1)
            token.renewable = True
            renewed = super()._renewed(token, deadline)
        return renewed


# TOK-08


class LeavesAConnectionForEachRenewal(LazyClient):
    """Makes a client for each, and closes none."""

    most = 99

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._left: list[socket.socket] = []

    def _renewed(self, token: Token, deadline: float) -> bool:
        if len(self._left) < self.most:
            self._left.append(_kept_open(self._wire, deadline))
        return super()._renewed(token, deadline)

    def close(self) -> None:
        super().close()
        for kept in self._left:
            kept.close()


class LeavesAFileForEachRenewal(LazyClient):
    """Opens it before the renewal."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._left: list[IO[bytes]] = []

    def _renewed(self, token: Token, deadline: float) -> bool:
        self._left.append(Path("/proc/self/status").open("rb"))  # noqa: SIM115 - that is its fault
        return super()._renewed(token, deadline)

    def close(self) -> None:
        super().close()
        for file in self._left:
            file.close()


class LeavesAThreadForEachRenewal(LazyClient):
    """Each thread watches the token."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._over = threading.Event()

    def _renewed(self, token: Token, deadline: float) -> bool:
        threading.Thread(target=self._over.wait, name="token watcher", daemon=True).start()
        return super()._renewed(token, deadline)

    def close(self) -> None:
        super().close()
        self._over.set()


# TOK-14


class TriesARenewalFourTimes(LazyClient):
    """Takes a refusal for a hiccup."""

    tries = 4

    def _renewed(self, token: Token, deadline: float) -> bool:
        for _ in range(self.tries):
            reply = self._ask("POST", "auth/token/renew-self", deadline, token, {})
            if reply.status == 200:
                token.since, token.ttl = time.monotonic(), float(reply.auth["lease_duration"])
                self._arm(token.due)
                return True
            time.sleep(0.1)
        return False


class PlansByItsFirstToken(AtShare):
    share = 0.75
    _first = 0.0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._first = self._first or token.ttl
        token.ttl = token.first_ttl = self._first
        self._arm(token.due)
        return token


# TOK-15


class ReplacesAnEndedTokenAMomentLater(LazyClient):
    """Its token cannot be renewed."""

    after = 0.8
    _due = 0.0

    def _renewed(self, token: Token, deadline: float) -> bool:
        if super()._renewed(token, deadline):
            return True
        self._due = token.since + token.ttl + self.after
        timer = threading.Timer(self._due - time.monotonic() + 0.01, self._at_last)
        timer.daemon = True
        timer.start()
        return True

    def _log_in(self, deadline: float) -> Token:
        if time.monotonic() < self._due:
            raise GivenUpError("the last token may have come to its end")
        return super()._log_in(deadline)

    def _at_last(self) -> None:
        deadline = time.monotonic() + self._deadline
        with contextlib.suppress(ClientError), self._held(deadline):
            self._log_in(deadline)


class NeverReplacesATokenAfterARefusedRenewal(LazyClient):
    """It learns the consequence from a refused read."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        super()._renewed(token, deadline)
        return True

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            self._token.since = time.monotonic()  # it knows no end of its token
        return super()._valid_token(deadline)


class LeavesTheLoginToTheNextCall(LazyClient):
    def _renewed(self, token: Token, deadline: float) -> bool:
        if not super()._renewed(token, deadline):
            self._token = None
        return True


class AsksForHealthUntilACall(RenewsInACallersCall):
    """Each second; that needs no token."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        threading.Thread(target=self._ask_on, name="asks", daemon=True).start()

    def _ask_on(self) -> None:
        while not self._closed:
            time.sleep(1.0)
            with contextlib.suppress(ClientError):
                self._wire.send("GET", "sys/health", deadline=time.monotonic() + 1.0)


# TOK-16


class LooksUpItsTokenBeforeItRenews(LazyClient):
    """Takes a failure for a dead token."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            self._ask("GET", "auth/token/lookup-self", deadline, token)
        except UnavailableError as error:
            if "answered 5" not in str(error):
                raise
            return False
        return super()._renewed(token, deadline)


# TOK-18


class _ByTheWallClock(Token):
    """Measures a token's life by the time of day."""

    @property
    def left(self) -> float:
        day: float = vars(self).setdefault("day", time.time() - time.monotonic())
        return self.since + day + self.ttl - time.time()


class TrustsTheWallClock(LazyClient):
    def _log_in(self, deadline: float) -> Token:
        self._token = token = _ByTheWallClock(**vars(super()._log_in(deadline)))
        assert token.left > 0  # this fixes the difference of the two clocks now
        return token


class _AtATimeOfDay(threading.Timer):
    """Polls the time of day until it is the set one."""

    def run(self) -> None:
        due = time.time() + self.interval
        while not self.finished.wait(0.05):
            if time.time() >= due:
                self.function(*self.args, **self.kwargs)
                self.finished.set()


class RenewsAtATimeOfDay(LazyClient):
    def _arm(self, seconds: float) -> None:
        with self._timing:
            if self._timer is not None:
                self._timer.cancel()
            if not self._closed and self._token is not None and self._token.ttl:
                self._timer = _AtATimeOfDay(seconds, self._tick)
                self._timer.daemon = True
                self._timer.start()


class MeasuresPausesByTheWallClock(Gate):
    def _enter(self, deadline: float) -> bool:
        with self._changed:
            while self._failures:
                now = time.monotonic()
                opens = now + max(0.0, self._opens - time.time())
                if max(opens, now) >= deadline:
                    raise GivenUpError("Vault does not answer, and the call's time is up")
                if now >= opens and not self._probing:
                    self._probing = True
                    return True
                waits = opens if now < opens else deadline
                self._changed.wait(min(waits, deadline) - now)
            return False

    def _leave(self, *, probe: bool, failed: bool, pause: float) -> None:
        with self._changed:
            before = self._opens
            super()._leave(probe=probe, failed=failed, pause=pause)
            if self._opens != before:
                self._opens += time.time() - time.monotonic()


class MeasuresDeadlinesByTheWallClock(LazyClient):
    def read_all(self, path: str) -> dict[str, str]:
        until = time.time() + 0.9 * self._deadline
        while True:
            try:
                return _secret(self._fetch(path, time.monotonic() + 0.3), path)
            except UnavailableError:
                if time.time() >= until:
                    raise
                time.sleep(0.1)


class _ByTheTimeOfDay(Memory):
    def keep(self, entry: Remembered) -> None:
        super().keep(entry)
        self.__dict__.setdefault("_kept_at", {})[entry.path] = time.time()

    def stand_in(self, path: str) -> Remembered | None:
        entry = self.entries.get(path)
        kept = self.__dict__.get("_kept_at", {}).get(path, 0.0)
        return entry if time.time() - kept <= self._max_stale else None


class MeasuresMaxStaleByTheWallClock(Tweaked):
    """Measures the age of its last values."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client._session().memory.__class__ = _ByTheTimeOfDay


class MeasuresTheAgeOfItsCacheByTheWallClock(Tweaked):
    """The time of day can be set back."""

    keeps = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], tuple[float, Secret]] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        kept = self._kept.get((path, key))
        if kept is not None and time.time() - kept[0] < self.keeps:
            return kept[1]
        secret = self.read(path, key)
        self._kept[path, key] = time.time(), secret
        return secret


class _OverAtATimeOfDay(Grant):
    """A lease whose end is stored as a time of day."""

    _over = 0.0

    @property
    def _expires_at(self) -> float:
        return clock() + self._over - time.time()

    @_expires_at.setter
    def _expires_at(self, end: float) -> None:
        self._over = time.time() + end - clock()


class EndsLeasesByTheWallClock(Leases):
    """It asks for another credential from then on."""

    def _ask(self, path: str, token: LeasingToken, deadline: Deadline) -> Grant:
        grant = super()._ask(path, token, deadline)
        end = grant._expires_at
        grant.__class__ = _OverAtATimeOfDay
        grant._expires_at = end
        return grant


class RenewsLeasesByTheWallClock(Trusting):
    """Hands out its credential before that."""

    def _plan(self, held: Held, grant: Grant) -> None:
        super()._plan(held, grant)
        self.__dict__.setdefault("_due", {})[held.path] = time.time() + held.due - clock()

    def _tend(self, held: Held, deadline: Deadline | None = None) -> float | None:
        if held.pause is None:  # otherwise it is retried after its pause
            held.due = clock() + self.__dict__.get("_due", {}).get(held.path, 0.0) - time.time()
        return super()._tend(held, deadline)

    def _step(self) -> float | None:
        wait = super()._step()
        return None if wait is None else min(wait, 0.25)


class ReplacesItsLeasesAtAQuarter(NeverRenewsALease, RenewsAtShare):
    share = 0.25


class ReplacesItsLeasesAtAThird(NeverRenewsALease, RenewsAtShare):
    """As soon as allowed; it renews no lease."""

    share = 0.34


MUTANTS = by_name(
    Mutant(ReturnsHalfAValueWithAShortTtl, "TOK-01", "a value that nobody ever wrote"),
    Mutant(RenewsTwiceAtOnce, "TOK-01", "one renewal of a token"),
    Mutant(NeverRenews, "TOK-01", "a renewal or a login between"),
    Mutant(CachesForTooLong, "TOK-01", "is gone within 5 s").called(
        "caches-for-too-long-with-short-lives"
    ),
    Mutant(AtShare, "TOK-01", "a renewal or a login between").called("renews-too-late", share=0.98),
    Mutant(RenewsOnce, "TOK-01", "a renewal or a login between"),
    Mutant(LoadsAtItsFirstRead, "TOK-01", "every call ends within").called(
        "loads-code-at-its-second-read", times=2
    ),
    Mutant(ComputesTheEndInLocalTime, "TOK-01", "a renewal or a login between", process=True),
    Mutant(AtShare, "TOK-01", "into a life of").called("renews-at-a-quarter", share=0.27),
    Mutant(RenewsAtExactlyHalfALife, "TOK-02", "instances differ by"),
    Mutant(RenewsAtWholeTicksOfTheClock, "TOK-02", "had logged in apart", process=True),
    Mutant(ClosesASharedPool, "TOK-02", "the steady state holds again"),
    Mutant(StopsASharedRenewer, "TOK-02", "the end of one ends no other"),
    Mutant(KeepsItsFirstTtl, "TOK-04", "a token is replaced before it ends"),
    Mutant(LogsInTwiceForOne, "TOK-04", "at most 2 logins").called(
        "logs-in-four-times-in-a-shortened-life", share=0.75, times=3
    ),
    Mutant(TriesACappedRenewalFourTimes, "TOK-04", "at most 4 renewals").called(
        "tries-a-capped-renewal-five-times", tries=5
    ),
    Mutant(FindsOutByARefusal, "TOK-04", "a token that has ended").called(
        "replaces-a-token-only-after-a-403"
    ),
    Mutant(ReadsWithATokenThatItHasRevoked, "TOK-04", "known to be dead"),
    Mutant(LogsInAtAQuarter, "TOK-08", "at most 1 login").called(
        "logs-in-at-a-quarter-of-a-period"
    ),
    Mutant(NeverRenews, "TOK-08", "a renewal or a login between").called(
        "never-renews-a-periodic-token"
    ),
    Mutant(LeavesAConnectionForEachRenewal, "TOK-08", "connections: "),
    Mutant(LeavesAFileForEachRenewal, "TOK-08", "open files: "),
    Mutant(LeavesAThreadForEachRenewal, "TOK-08", "threads: "),
    Mutant(TriesARenewalFourTimes, "TOK-14", "renewals of one token").called(
        "tries-a-denied-renewal-five-times", tries=5
    ),
    Mutant(PlansByItsFirstToken, "TOK-14", "a token is replaced before it ends"),
    Mutant(TriesARenewalFourTimes, "TOK-15", "at most 4 renewals").called(
        "tries-a-refused-renewal-five-times", tries=5
    ),
    Mutant(ReplacesAnEndedTokenAMomentLater, "TOK-15", "a new login within").called(
        "replaces-an-ended-token-too-late", after=3.4
    ),
    Mutant(NeverReplacesATokenAfterARefusedRenewal, "TOK-15", "a token that has ended"),
    Mutant(LogsInThreeTimes, "TOK-15", "at most 1 login").called(
        "logs-in-three-times-for-a-refused-renewal"
    ),
    Mutant(LooksUpItsTokenBeforeItRenews, "TOK-16", "the token survives"),
    Mutant(GivesUpInACallersCall, "TOK-16", "the next renewal succeeds").called(
        "stops-renewing-in-calls-after-a-500"
    ),
    Mutant(GivesUpRenewing, "TOK-16", "the next renewal succeeds").called(
        "stops-renewing-after-a-500"
    ),
    Mutant(TrustsTheWallClock, "TOK-18", "at most 1 login", process=True),
    Mutant(RenewsAtATimeOfDay, "TOK-18", "a renewal or a login between", process=True),
    Mutant(MeasuresPausesByTheWallClock, "TOK-18", "a good read within", process=True),
    Mutant(MeasuresDeadlinesByTheWallClock, "TOK-18", "every call ends within", process=True),
    Mutant(
        MeasuresMaxStaleByTheWallClock,
        "TOK-18",
        "an old value is served for max_stale",
        process=True,
    ),
    Mutant(MeasuresTheAgeOfItsCacheByTheWallClock, "TOK-18", "is seen within", process=True),
    Mutant(EndsLeasesByTheWallClock, "TOK-18", "from one credential to the next", process=True),
    Mutant(RenewsLeasesByTheWallClock, "TOK-18", "accepted by the database", process=True),
    Mutant(ReplacesItsLeasesAtAQuarter, "TOK-18", "from one credential to the next", process=True),
    Mutant(AtShare, "TOK-18", "a renewal or a login between", process=True).called(
        "renews-too-late-while-its-clock-is-set", share=0.98
    ),
)


TOLERATED = by_name(
    Tolerated(LooksBeforeEachRead, "TOK-01").called("looks-up-its-token-before-each-read"),
    Tolerated(ExitsWithAShortTtl, "TOK-01", process=True),
    Tolerated(CachesForTheRefreshTime, "TOK-01").called(
        "caches-for-the-refresh-time-with-short-lives"
    ),
    Tolerated(LogsInInsteadOfRenewing, "TOK-01"),
    Tolerated(LoadsAtItsFirstRead, "TOK-01").called("loads-code-at-its-first-read"),
    Tolerated(AsksForAnHour, "TOK-01"),
    Tolerated(AtShare, "TOK-01").called("renews-at-a-third", share=0.33),
    Tolerated(RenewsLate, "TOK-01"),
    Tolerated(LoadsAtItsFirstRead, "TOK-02").called("loads-code-beside-four-others"),
    Tolerated(RenewsAtAFixedRate, "TOK-02"),
    Tolerated(RenewsAtWholeTicksOfTheClock, "TOK-02", process=True).called(
        "renews-a-random-time-after-a-tick", after=0.05
    ),
    Tolerated(RenewsInACallWithLittleJitter, "TOK-02"),
    Tolerated(LogsInTwiceForOne, "TOK-04").called(
        "logs-in-three-times-in-a-shortened-life", share=0.75
    ),
    # It renews early, and takes the grant for too little.
    Tolerated(LogsInBesideRenewing, "TOK-04").called("logs-in-for-each-cap", share=0.33),
    Tolerated(TriesACappedRenewalFourTimes, "TOK-04"),
    # Three at most, like a full pool: one from its first life.
    Tolerated(LeavesAConnectionForEachRenewal, "TOK-08").called(
        "leaves-two-connections-for-renewals", most=3
    ),
    Tolerated(LogsInAtAThird, "TOK-08").called("logs-in-at-a-third-of-a-period"),
    Tolerated(LogsInInsteadOfRenewing, "TOK-14").called("logs-in-instead-of-a-denied-renewal"),
    Tolerated(TriesARenewalFourTimes, "TOK-14").called("tries-a-denied-renewal-four-times"),
    Tolerated(AsksForAnHour, "TOK-15").called("asks-for-an-hour-in-vain"),
    Tolerated(TriesARenewalFourTimes, "TOK-15").called("tries-a-refused-renewal-four-times"),
    Tolerated(ReplacesAnEndedTokenAMomentLater, "TOK-15"),
    Tolerated(LeavesTheLoginToTheNextCall, "TOK-15"),
    Tolerated(RenewsInACallersCall, "TOK-15").called("renews-in-a-callers-call-and-is-refused"),
    Tolerated(AsksForHealthUntilACall, "TOK-15"),
    Tolerated(AsksForAnHour, "TOK-16").called("asks-for-an-hour-twice"),
    Tolerated(RenewsInACallersCall, "TOK-16").called("tries-again-in-a-callers-call"),
    Tolerated(RenewsLate, "TOK-18", process=True).called("renews-late-while-its-clock-is-set"),
    Tolerated(ReplacesItsLeasesAtAThird, "TOK-18", process=True),
)
