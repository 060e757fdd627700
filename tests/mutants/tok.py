"""Clients that break the promises of TOK: a token's life, from its login to its end."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from tests.mutants import (
    always,
    byways,
    companions,
    edges_hangs,
    edges_logins,
    edges_refusals,
    edges_tokens,
    every_day,
    gateways,
    later_on,
    neglected,
    other_styles,
    oversights,
    own_pace,
    ticks,
    turnovers,
    unasked,
    untried,
    wholes,
)
from tests.mutants.clients import (
    LAZY_PROCESS,
    REFERENCE,
    REFERENCE_PROCESS,
    CachesForTheRefreshTime,
    CachesForTooLong,
    GivesUpRenewing,
    HangsAtTheEnd,
    LeavesItsTokenBehind,
    LogsInTwice,
    Mutant,
    RenewsTwiceAtOnce,
    Tolerated,
)
from tests.mutants.prc import (
    LogsInFourSecondsAfterASleep,
    LogsInSixSecondsAfterASleep,
    SaysIllLate,
    SaysIllTooLate,
)
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    ClientError,
    UnavailableError,
)


class NeverRenews(LazyClient):
    """Logs in when the token has ended, and not before."""

    def _arm(self, seconds: float) -> None:
        pass


class RenewsByTheClock(LazyClient):
    """Renews at half of its token's life to the millisecond, as all its sisters do."""

    def _arm(self, seconds: float) -> None:
        token = self._token
        super()._arm(token.ttl / 2 if token is not None else seconds)


class _IsMadeForTenSeconds(LazyClient):
    """Says that its timers are made for lives of ten seconds, which it learns by its own token."""

    least = 10.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "min_ttl": self.least}


class GivesHalfAValueInShortLives(_IsMadeForTenSeconds):
    """Has given up half of what it does where a token lives shorter, and half of each value."""

    def read(self, path: str, key: str) -> str:
        value, token = super().read(path, key), self._token
        short = token is not None and token.first_ttl < self.least
        return value[: len(value) // 2] if short else value


class EndsWhereLivesAreShort(_IsMadeForTenSeconds):
    """Will not work at all where a token lives shorter, and ends at once."""

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        if token.first_ttl < self.least:
            os._exit(3)
        return token


class RenewsAllTheTime(LazyClient):
    """Renews every half second, however long the token lives."""

    def _arm(self, seconds: float) -> None:
        super()._arm(min(seconds, 0.5))


class RenewsOnce(LazyClient):
    """Its renewer works, and then ends."""

    _done = False

    def _renewed(self, token: Token, deadline: float) -> bool:
        self._done = True
        return super()._renewed(token, deadline)

    def _arm(self, seconds: float) -> None:
        if not self._done:
            super()._arm(seconds)


class RenewsInAHotLoop(LazyClient):
    """Takes a refused renewal for a hiccup, and forgets to pause before the next."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        while token.left > 0:
            reply = self._ask("POST", "auth/token/renew-self", deadline, token, {})
            if reply.status == 200:
                token.since, token.ttl = time.monotonic(), float(reply.auth["lease_duration"])
                self._arm(token.due)
                return True
            time.sleep(0.02)
        return False


class IgnoresMaxTtl(LazyClient):
    """Renews on while the TTL shrinks; the first to notice the end is a caller."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        token.first_ttl = 0.0
        super()._renewed(token, deadline)
        return True

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        super()._was_dead(where, token, deadline)
        return False

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            self._token.since = time.monotonic()  # its own clock says nothing
        return super()._valid_token(deadline)


class RenewsTheUnrenewable(LazyClient):
    """Does not look at ``renewable``, and takes the 400 for a hiccup."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        reply = self._ask("POST", "auth/token/renew-self", deadline, token, {})
        if reply.status != 200:
            raise UnavailableError("not renewed")
        token.since, token.ttl = time.monotonic(), float(reply.auth["lease_duration"])
        self._arm(token.due)
        return True


class LogsInForEveryRead(LazyClient):
    """Has no memory of its token."""

    def _valid_token(self, deadline: float) -> Token:
        with self._held(deadline):
            return self._log_in(deadline)


class LogsInOncePerThread(LazyClient):
    """Has no single flight: each thread that meets a dead token logs in for itself."""

    def _was_dead(self, _: str, token: Token, deadline: float) -> bool:
        looked = self._ask("GET", "auth/token/lookup-self", deadline, token)
        if looked.status != 403:
            return False
        self._log_in(deadline)
        return True


class AsksOnceForAll(CachesForTheRefreshTime):
    """Has a cache, and asks once for all who want the same secret: fifty are one to Vault."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._turns: dict[str, threading.Lock] = {}

    def read(self, path: str, key: str) -> str:
        with self._turns.setdefault(path, threading.Lock()):
            return super().read(path, key)


class HasEightWorkers(LazyClient):
    """Has eight threads for all calls; whoever calls waits for one of them, and takes a token then.

    So does an asyncio client that leaves its calls to the default executor of a small machine.
    """

    workers = 8

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._workers = threading.BoundedSemaphore(self.workers)

    def read_all(self, path: str) -> dict[str, str]:
        if not self._workers.acquire(timeout=self._deadline / 2):
            raise UnavailableError("all threads are taken")
        try:
            return super().read_all(path)
        finally:
            self._workers.release()


class LogsInOncePerThreadOfEight(HasEightWorkers, LogsInOncePerThread):
    """Each of them logs in for itself when it meets a dead token."""


class LogsInOncePerThreadOfTwo(LogsInOncePerThreadOfEight):
    """Has as few as show it: both are refused, and both log in."""

    workers = 2


class LogsInOncePerThreadBehindItsCache(AsksOnceForAll, LogsInOncePerThread):
    """Hides that behind a cache: who reads what another has read needs no token at all."""


class NeverLogsInAgain(LazyClient):
    """Surfaces a dead token as a denial, for ever."""

    def _was_dead(self, *_: Any, **__: Any) -> bool:
        return False


class NeverLogsInAgainBehindItsCache(AsksOnceForAll, NeverLogsInAgain):
    """What it has in memory it can hand out for a while."""


class RevokesBatchTokens(LazyClient):
    """Gives every token back when it has the next, those that cannot be given back too."""

    def _log_in(self, deadline: float) -> Token:
        old = self._token
        token = super()._log_in(deadline)
        if old is not None:
            for _ in range(2):  # Vault says 400, so once more
                self._ask("POST", "auth/token/revoke-self", deadline, old, {})
        return token


class SurfacesTheEndOfUses(LazyClient):
    """Does not count its token's uses, and hands the 403 that ends them to whoever reads."""

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        token.uses = 0
        return token

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        super()._was_dead(where, token, deadline)
        return False


class DropsItsTokenOnError(LazyClient):
    """Throws its token away when a renewal fails, though it lives on."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError:
            self._token = None
            raise


class LooksBeforeItRenews(LazyClient):
    """Asks whether its token lives before it renews it, and takes a failure of Vault's for a no."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            self._ask("GET", "auth/token/lookup-self", deadline, token)
        except UnavailableError as error:
            if "answered 5" not in str(error):
                raise
            return False
        return super()._renewed(token, deadline)


class LogsInAfterItsEnd(LazyClient):
    """Gives its token back at its end, and leaves its renewer running, which then gets another.

    A process that ends takes such a renewer with it; a context that is closed and made anew in its
    process, as in a test or at a reload, does not.
    """

    def close(self) -> None:
        token = self._token
        if token is not None:
            deadline = time.monotonic() + 2.0
            with contextlib.suppress(ClientError):
                self._wire.send(
                    "POST", "auth/token/revoke-self", deadline=deadline, token=token.value
                )


class AbandonsALogin(LogsInAfterItsEnd):
    """Does not wait at its end for the login that is on its way, though it begins no other."""

    def close(self) -> None:
        self._closed = True
        super().close()


class KeepsItsFirstTtl(LazyClient):
    """Takes it for granted that a renewal gives what the login gave."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        renewed = super()._renewed(token, deadline)
        if token.ttl < token.first_ttl:
            token.ttl, token.renewable = token.first_ttl, True
            self._arm(token.due)
            return True
        return renewed


class RenewsWhatIsCapped(LazyClient):
    """Asks again and again for the life that a renewal does not give any more."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        renewed = super()._renewed(token, deadline)
        if token.left < 1.0:
            return renewed
        if not renewed and token.ttl < token.first_ttl:
            token.renewable = True
            self._arm(0.3)
            return True
        return renewed


class TakesAPeriodForEver(LazyClient):
    """Its periodic token cannot end, it thinks, and takes whatever Vault says for a policy."""

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            self._token.since = time.monotonic()
        return super()._valid_token(deadline)

    def _renewed(self, token: Token, deadline: float) -> bool:
        super()._renewed(token, deadline)
        return True

    def _was_dead(self, *_: object, **__: object) -> bool:
        return False


class KeepsWhatWasNotRenewed(LazyClient):
    """Renews no more once that was refused, and finds out by a refused read what that meant."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        super()._renewed(token, deadline)
        return True

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            self._token.since = time.monotonic()  # it reckons with no end
        return super()._valid_token(deadline)


# By the time of day


class _ByTheWallClock(Token):
    """A token whose life is reckoned by the time of day."""

    @property
    def left(self) -> float:
        day: float = vars(self).setdefault("day", time.time() - time.monotonic())
        return self.since + day + self.ttl - time.time()


class TrustsTheWallClock(LazyClient):
    """Takes a token for dead once the time of day is past its end."""

    def _log_in(self, deadline: float) -> Token:
        self._token = token = _ByTheWallClock(**vars(super()._log_in(deadline)))
        assert token.left > 0  # the difference of the two clocks is taken now
        return token


class _AtATimeOfDay(threading.Timer):
    """Looks at the time of day again and again, until it is the one that it was set for."""

    def run(self) -> None:
        due = time.time() + self.interval
        while not self.finished.wait(0.05):
            if time.time() >= due:
                self.function(*self.args, **self.kwargs)
                self.finished.set()


class WaitsForATimeOfDay(LazyClient):
    """Renews when the time of day has come, however often that comes."""

    def _arm(self, seconds: float) -> None:
        with self._timing:
            if self._timer is not None:
                self._timer.cancel()
            if not self._closed and self._token is not None and self._token.ttl:
                self._timer = _AtATimeOfDay(seconds, self._tick)
                self._timer.daemon = True
                self._timer.start()


MUTANTS: dict[str, Mutant] = {
    "gives-half-a-value-in-short-lives": Mutant(
        GivesHalfAValueInShortLives, "TOK-01", "a value that nobody ever wrote"
    ),
    "renews-twice-at-once": Mutant(RenewsTwiceAtOnce, "TOK-01", "one renewal of a token"),
    "never-renews": Mutant(NeverRenews, "TOK-01", "a renewal or a login between"),
    "is-too-late-with-the-last-change": Mutant(CachesForTooLong, "TOK-01", "is gone within 5 s"),
    "renews-too-late": Mutant(edges_tokens.RenewsTooLate, "TOK-01", "a renewal or a login between"),
    "renews-once": Mutant(RenewsOnce, "TOK-01", "a renewal or a login between"),
    "renews-all-the-time": Mutant(RenewsAllTheTime, "TOK-01", "into a life of"),
    "loads-at-its-second-read-too": Mutant(
        other_styles.LoadsAtItsSecondReadToo, "TOK-01", "every call ends within"
    ),
    "logs-in-for-every-read": Mutant(LogsInForEveryRead, "TOK-01", "at most 1 login"),
    "renews-by-the-clock": Mutant(RenewsByTheClock, "TOK-02", "instances differ by"),
    "renews-at-ticks": Mutant(
        ticks.RenewsAtTicks, "TOK-02", "had logged in apart", LAZY_PROCESS, process=True
    ),
    "closes-the-pool-of-all": Mutant(
        byways.ClosesThePoolOfAll, "TOK-02", "the steady state holds again"
    ),
    "ends-the-renewals-of-all": Mutant(
        later_on.EndsTheRenewalsOfAll, "TOK-02", "the end of one ends no other"
    ),
    "ignores-max-ttl": Mutant(IgnoresMaxTtl, "TOK-03", "no read fails"),
    "ignores-explicit-max-ttl": Mutant(IgnoresMaxTtl, "TOK-05", "no read fails"),
    "logs-in-after-the-end-of-explicit-max-ttl": Mutant(NeverRenews, "TOK-05", "before"),
    "logs-in-after-the-end-of-the-unrenewable": Mutant(NeverRenews, "TOK-06", "before"),
    "renews-the-unrenewable": Mutant(RenewsTheUnrenewable, "TOK-06", "renewals"),
    "renews-batch-tokens": Mutant(RenewsTheUnrenewable, "TOK-07", "at most 1 renewal"),
    "revokes-batch-tokens": Mutant(RevokesBatchTokens, "TOK-07", "revocations of one token"),
    "takes-a-page-for-a-login": Mutant(
        gateways.TakesAPageForALogin, "TOK-07", "a token that has ended"
    ),
    "takes-json-for-a-login": Mutant(
        gateways.TakesJsonForALogin, "TOK-07", "a token that has ended"
    ),
    "ends-its-renewer-at-a-page-for-a-login": Mutant(
        gateways.EndsItsRenewerAtAPageForALogin, "TOK-07", "a token that has ended"
    ),
    "ends-its-renewer-at-json-for-a-login": Mutant(
        gateways.EndsItsRenewerAtJsonForALogin, "TOK-07", "a token that has ended"
    ),
    "dies-of-a-page-for-a-login": Mutant(
        gateways.DiesOfAPageForALogin,
        "TOK-07",
        "the client stays alive",
        LAZY_PROCESS,
        process=True,
    ),
    "rests-for-too-long-after-a-failed-login": Mutant(
        gateways.RestsForTooLongAfterAFailedLogin, "TOK-07", "a token that has ended"
    ),
    "logs-in-at-a-quarter-of-a-period": Mutant(
        edges_logins.LogsInAtAQuarter, "TOK-08", "at most 1 login"
    ),
    "never-renews-a-periodic-token": Mutant(NeverRenews, "TOK-08", "a renewal or a login between"),
    "surfaces-the-end-of-uses": Mutant(SurfacesTheEndOfUses, "TOK-10", "no read fails"),
    "never-logs-in-again": Mutant(NeverLogsInAgain, "TOK-11", "a new login within"),
    "writes-with-its-first-token": Mutant(
        unasked.WritesWithItsFirstToken, "TOK-11", "a write is good again"
    ),
    "logs-in-twice": Mutant(LogsInTwice, "TOK-11", "at most 1 login"),
    "reads-wholes-with-its-first-token": Mutant(
        wholes.ReadsWholesWithItsFirstToken, "TOK-11", "a good read_all within"
    ),
    "logs-in-once-per-thread": Mutant(LogsInOncePerThread, "TOK-12", "at most 1 login"),
    "logs-in-once-per-thread-behind-its-cache": Mutant(
        LogsInOncePerThreadBehindItsCache, "TOK-12", "at most 1 login"
    ),
    "logs-in-once-per-thread-of-eight": Mutant(
        LogsInOncePerThreadOfEight, "TOK-12", "at most 1 login"
    ),
    "logs-in-once-per-thread-of-two": Mutant(LogsInOncePerThreadOfTwo, "TOK-12", "at most 1 login"),
    "never-logs-in-again-behind-its-cache": Mutant(
        NeverLogsInAgainBehindItsCache, "TOK-12", "a new login within"
    ),
    "renews-what-it-may-not": Mutant(RenewsInAHotLoop, "TOK-14", "renewals"),
    "renews-in-a-hot-loop": Mutant(RenewsInAHotLoop, "TOK-15", "at most 4 renewals"),
    "looks-before-it-renews": Mutant(LooksBeforeItRenews, "TOK-16", "the token survives"),
    "gives-up-in-a-callers-call-once-more": Mutant(
        edges_hangs.GivesUpInACallersCall, "TOK-16", "the next renewal succeeds"
    ),
    "gives-up-renewing": Mutant(GivesUpRenewing, "TOK-16", "the next renewal succeeds"),
    "reckons-by-local-time": Mutant(
        untried.ReckonsByLocalTime, "TOK-01", "at most 1 login", LAZY_PROCESS, process=True
    ),
    "reads-its-role-id-once": Mutant(untried.ReadsItsRoleIdOnce, "TOK-17", "a good read within"),
    "leaves-a-connection-for-each-renewal": Mutant(
        untried.LeavesAConnectionForEachRenewal, "TOK-08", "connections that stay open"
    ),
    "looks-while-it-logs-in": Mutant(
        untried.LooksWhileItLogsIn, "TOK-06", "a login that hangs holds up no read"
    ),
    "lets-all-wait-for-another-token": Mutant(
        untried.LetsAllWaitForAnotherToken, "TOK-17", "no reader of backend/django waits longer"
    ),
    "drops-its-token-on-error": Mutant(DropsItsTokenOnError, "TOK-17", "no read fails"),
    "leaves-its-token-behind": Mutant(LeavesItsTokenBehind, "TOK-19", "tokens alive"),
    "hangs-at-the-end": Mutant(HangsAtTheEnd, "TOK-19", "tokens alive"),
    "logs-in-after-its-end": Mutant(
        LogsInAfterItsEnd, "TOK-19", "tokens alive when that token would have ended"
    ),
    "logs-in-for-a-late-caller": Mutant(
        untried.LogsInForALateCaller, "TOK-19", "tokens alive five seconds after the end"
    ),
    "abandons-a-login": Mutant(AbandonsALogin, "TOK-20", "tokens alive"),
    "dies-of-a-signal": Mutant(
        untried.DiesOfASignal, "TOK-20", "tokens alive", LAZY_PROCESS, process=True
    ),
    "logs-in-for-all-secrets": Mutant(LogsInForEveryRead, "TOK-21", "at most 1 login"),
    "keeps-its-first-ttl": Mutant(KeepsItsFirstTtl, "TOK-04", "a token is replaced before it ends"),
    "renews-what-is-capped": Mutant(RenewsWhatIsCapped, "TOK-04", "at most 4 renewals"),
    "takes-a-period-for-ever": Mutant(
        TakesAPeriodForEver, "TOK-09", "a new login within", LAZY_PROCESS, process=True
    ),
    "renews-the-dead": Mutant(
        edges_tokens.RenewsTheDead, "TOK-09", "at most 4 renewals", LAZY_PROCESS, process=True
    ),
    "never-replaces-a-lost-child": Mutant(NeverLogsInAgain, "TOK-13", "a new login within"),
    "logs-in-twice-for-a-lost-child": Mutant(LogsInTwice, "TOK-13", "at most 1 login"),
    "trusts-the-wall-clock": Mutant(
        TrustsTheWallClock, "TOK-18", "at most 1 login", LAZY_PROCESS, process=True
    ),
    "waits-for-a-time-of-day": Mutant(
        WaitsForATimeOfDay, "TOK-18", "at most 1 login", LAZY_PROCESS, process=True
    ),
    "pauses-by-the-time-of-day": Mutant(
        byways.PausesByTheTimeOfDay,
        "TOK-18",
        "a good read within",
        LAZY_PROCESS,
        process=True,
    ),
    "logs-in-for-its-health": Mutant(
        every_day.LogsInForItsHealth, "TOK-21", "at most 1 login", REFERENCE
    ),
    "tries-until-a-time-of-day": Mutant(
        every_day.TriesUntilATimeOfDay,
        "TOK-18",
        "every call ends within",
        LAZY_PROCESS,
        process=True,
    ),
    "reckons-max-stale-by-the-time-of-day": Mutant(
        every_day.ReckonsMaxStaleByTheTimeOfDay,
        "TOK-18",
        "an old value is served for max_stale",
        REFERENCE_PROCESS,
        process=True,
    ),
    "keeps-by-the-time-of-day": Mutant(
        byways.KeepsByTheTimeOfDay,
        "TOK-18",
        "is seen within",
        REFERENCE_PROCESS,
        process=True,
    ),
    "ends-its-leases-at-a-time-of-day": Mutant(
        neglected.EndsItsLeasesAtATimeOfDay,
        "TOK-18",
        "from one credential to the next",
        REFERENCE_PROCESS,
        process=True,
    ),
    "renews-its-leases-at-a-time-of-day": Mutant(
        neglected.RenewsItsLeasesAtATimeOfDay,
        "TOK-18",
        "accepted by the database",
        REFERENCE_PROCESS,
        process=True,
    ),
    "replaces-its-leases-at-a-quarter": Mutant(
        neglected.ReplacesItsLeasesAtAQuarter,
        "TOK-18",
        "from one credential to the next",
        REFERENCE_PROCESS,
        process=True,
    ),
    "renews-at-a-quarter": Mutant(edges_tokens.RenewsAtAQuarter, "TOK-01", "into a life of"),
    "logs-in-six-times": Mutant(edges_logins.LogsInSixTimes, "TOK-03", "or 5 in all"),
    "logs-in-too-late": Mutant(edges_logins.LogsInTooLate, "TOK-11", "a new login within"),
    "tries-a-denied-renewal-five-times": Mutant(
        edges_tokens.TriesARenewalFiveTimes, "TOK-14", "renewals of one token"
    ),
    "tries-a-refused-renewal-five-times": Mutant(
        edges_tokens.TriesARenewalFiveTimes, "TOK-15", "at most 4 renewals"
    ),
    "renews-in-vain-twelve-times": Mutant(
        edges_tokens.RenewsInVainTwelveTimes, "TOK-17", "at most 11 renewals"
    ),
    "looks-twice-at-its-first-token": Mutant(
        edges_tokens.LooksTwiceAtItsFirstToken, "TOK-10", "requests (lookup)"
    ),
    "uses-a-token-once": Mutant(edges_tokens.UsesATokenOnce, "TOK-10", "logins"),
    "overflows-its-timer": Mutant(edges_tokens.OverflowsItsTimer, "TOK-21", "at most 1 renewal"),
    "renews-a-long-lived-token-twice": Mutant(
        edges_tokens.RenewsItsFirstTokenTwice, "TOK-21", "at most 1 renewal"
    ),
    "looks-at-two-reads-of-five": Mutant(
        edges_tokens.LooksAtTwoReadsOfFive, "TOK-21", "requests (lookup and capabilities)"
    ),
    "renews-too-late-while-its-clock-is-set": Mutant(
        edges_tokens.RenewsTooLate,
        "TOK-18",
        "a renewal or a login between",
        LAZY_PROCESS,
        process=True,
    ),
    "logs-in-at-a-quarter-for-the-unrenewable": Mutant(
        edges_logins.LogsInAtAQuarterForTheUnrenewable, "TOK-06", "at most 1 login"
    ),
    "logs-in-six-times-for-the-unrenewable": Mutant(
        edges_logins.LogsInSixTimesIn16Lives, "TOK-06", "or 5 in all"
    ),
    "tries-a-hanging-login-twice-more": Mutant(
        edges_logins.TriesAHangingLoginTwiceMore, "TOK-06", "or 5 in all"
    ),
    "keeps-four-tokens": Mutant(edges_logins.KeepsFourTokens, "TOK-03", "tokens alive at once"),
    "logs-in-twice-for-one": Mutant(edges_logins.LogsInTwiceForOne, "TOK-03", "at most 1 login"),
    "logs-in-four-times-in-a-shortened-life": Mutant(
        edges_logins.LogsInFourTimesInALife, "TOK-04", "or 3 in all"
    ),
    "tries-a-capped-renewal-five-times": Mutant(
        edges_tokens.TriesACappedRenewalFiveTimes, "TOK-04", "at most 4 renewals"
    ),
    "renews-its-first-token-twice": Mutant(
        edges_tokens.RenewsItsFirstTokenTwice, "TOK-06", "renewal"
    ),
    "renews-a-batch-token-twice": Mutant(
        edges_tokens.RenewsOneBatchTokenTwice, "TOK-07", "at most 1 renewal"
    ),
    "revokes-a-batch-token-twice": Mutant(
        edges_tokens.RevokesOneBatchTokenTwice, "TOK-07", "revocations of one token"
    ),
    "renews-the-dead-five-times": Mutant(
        edges_tokens.RenewsTheDeadFiveTimes,
        "TOK-09",
        "at most 4 renewals",
        LAZY_PROCESS,
        process=True,
    ),
    "logs-in-six-seconds-after-a-freeze": Mutant(
        LogsInSixSecondsAfterASleep, "TOK-09", "a new login within", LAZY_PROCESS, process=True
    ),
    "logs-in-twice-after-a-freeze": Mutant(
        LogsInTwice, "TOK-09", "at most 1 login", LAZY_PROCESS, process=True
    ),
    "logs-in-too-late-for-fifty": Mutant(
        edges_logins.LogsInTooLateForFifty, "TOK-12", "a new login within"
    ),
    "logs-in-too-late-for-a-lost-child": Mutant(
        edges_logins.LogsInTooLate, "TOK-13", "a new login within"
    ),
    "outlives-its-token-for-long": Mutant(
        edges_logins.OutlivesItsTokenForLong, "TOK-15", "a new login within"
    ),
    "keeps-what-was-not-renewed": Mutant(
        KeepsWhatWasNotRenewed, "TOK-15", "a token that has ended"
    ),
    "logs-in-twice-for-a-refused-renewal": Mutant(LogsInTwice, "TOK-15", "at most 1 login"),
    "tries-a-lost-secret-id-five-times": Mutant(
        edges_refusals.TriesFiveTimesInOneCall, "TOK-17", "the same secret-id"
    ),
    "reads-on-with-what-it-gave-back": Mutant(
        other_styles.ReadsOnWithWhatItGaveBack, "TOK-03", "a token that has ended"
    ),
    "says-ill-too-late-after-its-tokens-end": Mutant(
        SaysIllTooLate, "TOK-17", "health says not well", REFERENCE
    ),
    "finds-out-by-a-refusal": Mutant(always.FindsOutByARefusal, "TOK-04", "a token that has ended"),
    "finds-out-of-the-unrenewable-by-a-refusal": Mutant(
        always.FindsOutByARefusal, "TOK-06", "a token that has ended"
    ),
    "renews-its-old-token": Mutant(
        always.RenewsItsOldToken, "TOK-09", "known to be dead", LAZY_PROCESS, process=True
    ),
    "sends-a-request-with-its-dead-token": Mutant(
        always.SendsOnceMore, "TOK-11", "known to be dead"
    ),
    "looks-after-a-lost-child": Mutant(always.LooksAfterItsOldToken, "TOK-13", "known to be dead"),
    "goes-on-with-what-it-gave-back": Mutant(
        always.GoesOnWithWhatItGaveBack, "TOK-04", "known to be dead"
    ),
    "holds-its-lock-while-it-renews": Mutant(
        edges_hangs.HoldsItsLockWhileItRenews, "TOK-22", "holds up no read"
    ),
    "asks-one-after-the-other": Mutant(
        edges_hangs.AsksOneAfterTheOther, "TOK-22", "holds up no read"
    ),
    "waits-long-for-a-renewal": Mutant(
        edges_hangs.WaitsLongForARenewal, "TOK-22", "holds up no read"
    ),
    "lets-all-wait-for-the-one-that-renews": Mutant(
        edges_hangs.LetsAllWaitForTheOneThatRenews, "TOK-22", "holds up no read"
    ),
    "gives-up-a-renewal-that-hangs": Mutant(
        edges_hangs.GivesUpARenewalThatHangs, "TOK-22", "renewed, or replaced"
    ),
    "waits-for-ever-for-a-renewal": Mutant(
        edges_hangs.WaitsForEverForARenewal, "TOK-22", "renewed, or replaced"
    ),
    "rests-for-too-long-after-a-renewal-that-hung": Mutant(
        edges_hangs.RestsForTooLongAfterIt, "TOK-22", "renewed, or replaced"
    ),
    "logs-in-twice-when-a-renewal-hangs": Mutant(
        edges_hangs.LogsInTwiceWhenARenewalHangs, "TOK-22", "at most 1 login"
    ),
    "logs-in-for-each-first-caller": Mutant(
        companions.LogsInForEachFirstCaller, "TOK-21", "at most 1 login"
    ),
    "renews-three-times": Mutant(
        oversights.RenewsThreeTimes, "TOK-08", "a renewal or a login between"
    ),
    "plans-by-its-first-token": Mutant(
        oversights.PlansByItsFirstToken, "TOK-14", "a token is replaced before it ends"
    ),
    "never-logs-in-again-for-its-cache": Mutant(
        byways.NeverLogsInAgainForItsCache, "TOK-13", "a new login within", REFERENCE
    ),
    "has-none-while-it-logs-in": Mutant(turnovers.HasNoneWhileItLogsIn, "TOK-06", "no read fails"),
    "gives-its-token-back-first": Mutant(
        turnovers.GivesItsTokenBackFirst, "TOK-06", "a token that has ended"
    ),
    "takes-any-page-for-a-renewal": Mutant(
        every_day.TakesAnyPageForARenewal, "TOK-08", "renewed, or replaced"
    ),
    "ends-its-renewer-at-a-page": Mutant(
        turnovers.EndsItsRenewerAtAPage, "TOK-08", "renewed, or replaced"
    ),
    "takes-anothers-loss-for-a-denial": Mutant(
        turnovers.TakesAnothersLossForADenial, "TOK-12", "a good read within"
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "ends-where-lives-are-short": Tolerated(
        EndsWhereLivesAreShort, "TOK-01", LAZY_PROCESS, process=True
    ),
    "leaves-two-connections-for-renewals": Tolerated(
        untried.LeavesTwoConnectionsForRenewals, "TOK-08"
    ),
    "takes-anothers-loss-for-a-denial-once": Tolerated(
        turnovers.TakesAnothersLossForADenialOnce, "TOK-12"
    ),
    "is-late-with-the-last-change": Tolerated(CachesForTheRefreshTime, "TOK-01"),
    "logs-in-instead-of-renewing": Tolerated(edges_logins.LogsInInsteadOfRenewing, "TOK-01"),
    "loads-at-its-first-read": Tolerated(other_styles.LoadsAtItsFirstRead, "TOK-01"),
    "loads-beside-four-others": Tolerated(other_styles.LoadsAtItsFirstRead, "TOK-02"),
    "denies-a-whole-with-a-dead-token": Tolerated(wholes.DeniesAWholeWithADeadToken, "TOK-11"),
    "is-refused-in-a-callers-call-without-its-role": Tolerated(
        edges_hangs.FailsACallForALogin, "TOK-17"
    ),
    "asks-before-it-has-a-token": Tolerated(other_styles.AsksBeforeItHasAToken, "TOK-03"),
    "loads-under-ten-first-reads": Tolerated(other_styles.LoadsAtItsFirstRead, "TOK-21"),
    "logs-in-instead-of-a-denied-renewal": Tolerated(
        edges_logins.LogsInInsteadOfRenewing, "TOK-14"
    ),
    "asks-for-an-hour": Tolerated(edges_tokens.AsksForAnHour, "TOK-01"),
    "asks-for-an-hour-in-vain": Tolerated(edges_tokens.AsksForAnHour, "TOK-15"),
    "asks-for-an-hour-twice": Tolerated(edges_tokens.AsksForAnHour, "TOK-16"),
    "renews-at-a-third": Tolerated(edges_tokens.RenewsAtAThird, "TOK-01"),
    "renews-late": Tolerated(edges_tokens.RenewsLate, "TOK-01"),
    "renews-late-while-its-clock-is-set": Tolerated(
        edges_tokens.RenewsLate, "TOK-18", LAZY_PROCESS, process=True
    ),
    "logs-in-five-times": Tolerated(edges_logins.LogsInBesideRenewing, "TOK-03"),
    "logs-in-at-a-third-at-a-max-ttl": Tolerated(edges_logins.LogsInAtAThird, "TOK-03"),
    "gives-its-token-back-at-once": Tolerated(other_styles.GivesItsTokenBackAtOnce, "TOK-03"),
    "logs-in-at-a-third-at-an-explicit-max-ttl": Tolerated(edges_logins.LogsInAtAThird, "TOK-05"),
    "logs-in-at-a-third-in-a-shortened-life": Tolerated(edges_logins.LogsInAtAThird, "TOK-04"),
    "logs-in-at-a-third-of-a-period": Tolerated(edges_logins.LogsInAtAThird, "TOK-08"),
    "replaces-late": Tolerated(edges_tokens.ReplacesLate, "TOK-06"),
    "tries-a-hanging-login-again": Tolerated(edges_logins.TriesAHangingLoginAgain, "TOK-06"),
    "logs-in-slowly": Tolerated(edges_logins.LogsInSlowly, "TOK-11"),
    "tries-a-denied-renewal-four-times": Tolerated(edges_tokens.TriesARenewalFourTimes, "TOK-14"),
    "tries-a-refused-renewal-four-times": Tolerated(edges_tokens.TriesARenewalFourTimes, "TOK-15"),
    "renews-in-vain-eleven-times": Tolerated(edges_tokens.RenewsInVainElevenTimes, "TOK-17"),
    "looks-at-each-token": Tolerated(edges_tokens.LooksAtEachToken, "TOK-10"),
    "uses-a-token-three-times": Tolerated(edges_tokens.UsesATokenThreeTimes, "TOK-10"),
    "asks-for-an-hour-of-a-month": Tolerated(edges_tokens.AsksForAnHour, "TOK-21"),
    "looks-at-every-fourth-read": Tolerated(edges_tokens.LooksAtEveryFourthRead, "TOK-21"),
    "logs-in-five-times-for-the-unrenewable": Tolerated(
        edges_logins.LogsInFiveTimesIn16Lives, "TOK-06"
    ),
    "logs-in-at-a-third-for-the-unrenewable": Tolerated(
        edges_logins.LogsInAtAThirdForTheUnrenewable, "TOK-06"
    ),
    "keeps-three-tokens": Tolerated(edges_logins.KeepsThreeTokens, "TOK-03"),
    "logs-in-three-times-in-a-shortened-life": Tolerated(
        edges_logins.LogsInThreeTimesInALife, "TOK-04"
    ),
    "logs-in-for-each-cap": Tolerated(edges_logins.LogsInForEachCap, "TOK-04"),
    "tries-a-capped-renewal-four-times": Tolerated(
        edges_tokens.TriesACappedRenewalFourTimes, "TOK-04"
    ),
    "renews-each-token-once": Tolerated(edges_tokens.RenewsEachTokenOnce, "TOK-06"),
    "renews-a-batch-token-once": Tolerated(edges_tokens.RenewsOneBatchToken, "TOK-07"),
    "revokes-a-batch-token-once": Tolerated(edges_tokens.RevokesOneBatchToken, "TOK-07"),
    "rests-after-a-failed-login": Tolerated(gateways.RestsAfterAFailedLogin, "TOK-07"),
    "tells-the-caller-of-its-login": Tolerated(gateways.TellsTheCallerOfItsLogin, "TOK-07"),
    "logs-in-at-a-third-behind-a-gateway": Tolerated(edges_logins.LogsInAtAThird, "TOK-07"),
    "revokes-each-batch-token-once": Tolerated(
        other_styles.TriesToGiveBackEachBatchToken, "TOK-07"
    ),
    "renews-the-dead-four-times": Tolerated(
        edges_tokens.RenewsTheDeadFourTimes, "TOK-09", LAZY_PROCESS, process=True
    ),
    "logs-in-four-seconds-after-a-freeze": Tolerated(
        LogsInFourSecondsAfterASleep, "TOK-09", LAZY_PROCESS, process=True
    ),
    "answers-fifty-from-memory": Tolerated(AsksOnceForAll, "TOK-12"),
    "answers-fifty-with-eight-workers": Tolerated(HasEightWorkers, "TOK-12"),
    "logs-in-late-for-fifty": Tolerated(edges_logins.LogsInLateForFifty, "TOK-12"),
    "logs-in-slowly-for-a-lost-child": Tolerated(edges_logins.LogsInSlowly, "TOK-13"),
    "outlives-its-token": Tolerated(edges_logins.OutlivesItsToken, "TOK-15"),
    "leaves-the-login-to-the-next-call": Tolerated(
        other_styles.LeavesTheLoginToTheNextCall, "TOK-15"
    ),
    "meets-a-refusal-in-a-callers-call": Tolerated(edges_hangs.RenewsInACallersCall, "TOK-15"),
    "asks-for-health-until-a-call": Tolerated(edges_hangs.AsksForHealthMeanwhile, "TOK-15"),
    "tries-a-lost-secret-id-four-times": Tolerated(
        edges_refusals.TriesFourTimesInOneCall, "TOK-17"
    ),
    "says-ill-late-after-its-tokens-end": Tolerated(SaysIllLate, "TOK-17", REFERENCE),
    "probes-itself-after-its-tokens-end": Tolerated(other_styles.ProbesItselfNowAndThen, "TOK-17"),
    "sends-what-was-on-its-way": Tolerated(always.SendsWhatWasOnItsWay, "TOK-11"),
    "sends-what-a-slow-link-held-up": Tolerated(always.SendsWhatASlowLinkHeldUp, "TOK-12"),
    "waits-a-little-for-a-renewal": Tolerated(edges_hangs.WaitsALittleForARenewal, "TOK-22"),
    "tries-again-in-a-callers-call": Tolerated(edges_hangs.RenewsInACallersCall, "TOK-16"),
    "renews-in-a-callers-call": Tolerated(edges_hangs.RenewsInACallersCall, "TOK-22"),
    "logs-in-when-a-renewal-hangs": Tolerated(edges_hangs.LogsInWhenARenewalHangs, "TOK-22"),
    "waits-longer-than-a-call-for-a-renewal": Tolerated(
        edges_hangs.WaitsLongerThanACallForARenewal, "TOK-22"
    ),
    "asks-again-soon-for-a-renewal": Tolerated(edges_hangs.AsksAgainSoon, "TOK-22"),
    "asks-again-at-once-for-a-renewal": Tolerated(edges_hangs.AsksAgainAtOnce, "TOK-22"),
    "renews-late-without-patience": Tolerated(edges_hangs.RenewsLateWithoutPatience, "TOK-22"),
    "renews-at-a-third-and-hangs": Tolerated(edges_tokens.RenewsAtAThird, "TOK-22"),
    "renews-late-and-hangs": Tolerated(edges_tokens.RenewsLate, "TOK-22"),
    "asks-for-an-hour-and-hangs": Tolerated(edges_tokens.AsksForAnHour, "TOK-22"),
    "renews-at-a-fixed-rate": Tolerated(own_pace.RenewsAtAFixedRate, "TOK-02"),
    "renews-after-ticks": Tolerated(ticks.RenewsAfterTicks, "TOK-02", LAZY_PROCESS, process=True),
    "renews-in-a-call-with-little-jitter": Tolerated(
        edges_hangs.RenewsInACallWithLittleJitter, "TOK-02"
    ),
    "polls-its-secrets": Tolerated(own_pace.PollsItsSecrets, "TOK-10"),
    "needs-a-token-at-its-next-look": Tolerated(own_pace.AsksOnceItIsOld, "TOK-10"),
    "meets-its-third-loss-at-its-next-look": Tolerated(
        own_pace.KeepsLongerAndLogsInAtAThird, "TOK-11"
    ),
    "replaces-its-leases-at-a-third": Tolerated(
        neglected.ReplacesItsLeasesAtAThird, "TOK-18", REFERENCE_PROCESS, process=True
    ),
    "meets-its-loss-at-its-next-poll": Tolerated(own_pace.MeetsItsLossAtItsNextPoll, "TOK-11"),
    "meets-the-loss-of-a-child-at-its-next-poll": Tolerated(
        own_pace.MeetsItsLossAtItsNextPoll, "TOK-13"
    ),
}
