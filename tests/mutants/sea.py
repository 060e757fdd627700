"""Clients that break the promises of SEA: seals and restarts."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

from tests.mutants import (
    always,
    at_once,
    byways,
    edges_logins,
    edges_refusals,
    edges_tokens,
    every_day,
    gone_ends,
    leftovers,
    loading,
    loose_ends,
    other_styles,
    pauses,
    tempers,
    turnovers,
    unasked,
    untried,
    wholes,
)
from tests.mutants.clients import (
    LAZY_PROCESS,
    REFERENCE,
    AsksOften,
    AsksTooOften,
    CachesForTheRefreshTime,
    HangsAtTheEnd,
    KnocksOften,
    KnocksTooOften,
    LeavesAThreadForEachFailure,
    LeavesFiveThreads,
    LeavesItsTokenBehind,
    LeavesNineThreads,
    LogsInLaterAfterAFailure,
    LogsInOnceMoreLater,
    LogsInTwice,
    Mutant,
    NeverComesBack,
    Remembers,
    RetriesWithoutAPause,
    TakesASealForADeadToken,
    Tolerated,
)
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    FIRST_PAUSE,
    DeniedError,
    Gate,
    Reply,
    UnavailableError,
)


class StormsAtItsStart(LazyClient):
    """Will not start without a token, and asks for one without a pause."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        ids = self._credentials.current()
        body = dict(zip(("role_id", "secret_id"), ids, strict=True))
        while True:
            with contextlib.suppress(UnavailableError):
                self._wire.send(
                    "POST", "auth/approle/login", deadline=time.monotonic() + 1.0, body=body
                )
                return
            time.sleep(0.02)


class GivesUpAtItsStart(LazyClient):
    """Logs in at its start or never."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        with contextlib.suppress(UnavailableError):
            self._log_in(time.monotonic() + 1.0)

    def _valid_token(self, deadline: float) -> Token:
        if self._token is None:
            raise UnavailableError("there was no Vault")
        return super()._valid_token(deadline)


class TakesAQuotaAtItsLoginForARefusal(LazyClient):
    """Takes a 429 to its login for a refused secret-id: with the third it waits for another one."""

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except UnavailableError as error:
            if "answered 429" not in str(error):
                raise
            self._credentials.refused(self._credentials.current()[1])
            raise DeniedError("Vault refused role-id or secret-id") from None


class LeavesAThreadForEachSealItMeets(LazyClient):
    """Each seal leaves one thread behind, however many calls it fails."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._meeting = threading.Lock()
        self._sealed = False

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        try:
            reply = super()._ask(method, path, deadline, token, body)
        except UnavailableError:
            with self._meeting:
                new, self._sealed = not self._sealed, True
            if new:
                threading.Thread(target=threading.Event().wait, args=(600.0,), daemon=True).start()
            raise
        self._sealed = False
        return reply


class IsStaleAfterAnOutage(Remembers):
    """Asks Vault in calm weather; after an outage it is content with what it has."""

    _shaken = False

    def read(self, path: str, key: str) -> str:
        if self._shaken and (path, key) in self._kept:
            return self._kept[path, key]
        try:
            return super().read(path, key)
        except UnavailableError:
            self._shaken = True
            raise


class _ByTheClock(Gate):
    """Probes at each whole second of the time of day."""

    def _leave(self, **how: Any) -> None:
        super()._leave(**how)
        with self._changed:
            if self._failures:
                self._opens = time.monotonic() + 1.0 - time.time() % 1.0


class _EveryThreeSeconds(Gate):
    """Probes at each third second since the machine was started."""

    def _leave(self, **how: Any) -> None:
        super()._leave(**how)
        with self._changed:
            if self._failures:
                self._opens = time.monotonic() // 3.0 * 3.0 + 3.0


class _WithinASecond(Gate):
    """Probes at each whole second, and as long after it as chance has it."""

    chance = 0.9

    def _leave(self, **how: Any) -> None:
        super()._leave(**how)
        with self._changed:
            if self._failures:
                whole = time.monotonic() + 1.0 - time.time() % 1.0
                self._opens = whole + random.uniform(0.0, self.chance)


class ComesBackWithinASecond(LazyClient):
    """Comes back with all others, each at some time within nine tenths of a second."""

    gate_type = _WithinASecond


class _FullJitter(Gate):
    """Probes after a pause that is chance all of it, up to a second."""

    def _leave(self, **how: Any) -> None:
        super()._leave(**how)
        with self._changed:
            if self._failures:
                self._opens = time.monotonic() + random.uniform(0.0, 1.0)


class ComesBackWithFullJitter(LazyClient):
    """Half of a crowd comes back within 0.3 s, and nobody has agreed with anybody."""

    gate_type = _FullJitter


class ComesBackByATimetable(LazyClient):
    """Asks by a timetable that all of its machine have in common, without any chance in it."""

    gate_type = _EveryThreeSeconds


class LogsInForEachCallerAtAnEnd(LazyClient):
    """Has one login for all who are refused, and one for each who finds that there is no token.

    A lock is where a 403 is looked at, and none where the token is taken.
    """

    def _valid_token(self, deadline: float) -> Token:
        token = self._token
        if token is None or token.left <= 0:
            return self._log_in(deadline)
        return super()._valid_token(deadline)

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        with self._held(deadline):
            dead = super()._was_dead(where, token, deadline)
            if dead and self._token is None:
                self._token = token  # whoever comes now is refused, and waits at the lock
                self._log_in(deadline)
            return dead


class FillsItsMemoryAfterALogin(LazyClient):
    """Reads whatever it may need later as soon as it has a token, for each of its parts anew.

    All at once: one after the other would take as long as the machine needs for each answer.
    """

    parts = 4

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        for path in ("database", "redis", "celery", "django") * self.parts:
            threading.Thread(target=self._remember, args=(path, token), daemon=True).start()
        return token

    def _remember(self, path: str, token: Token) -> None:
        with contextlib.suppress(UnavailableError):
            where = f"{self._mount}/data/backend/{path}"
            self._ask("GET", where, time.monotonic() + self._deadline, token)


class ComesBackByTheClock(LazyClient):
    """Asks whether Vault is back when all its sisters do."""

    gate_type = _ByTheClock


class AsksForEverythingAgain(LazyClient):
    """After a login it makes sure of its token: a look, its rights, and a first renewal."""

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        for method, path in (
            ("GET", "auth/token/lookup-self"),
            ("POST", "sys/capabilities-self"),
            ("POST", "auth/token/renew-self"),
        ):
            self._ask(method, path, deadline, token, {"paths": ["sys"]})
        return token


class InitialisesAnEmptyVault(LazyClient):
    """Is helpful: a Vault that nobody has initialised gets one key, which it forgets."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except UnavailableError:
            with contextlib.suppress(UnavailableError):
                deadline = time.monotonic() + 1.0
                alone = {"secret_shares": 1, "secret_threshold": 1}
                self._wire.send("PUT", "sys/init", deadline=deadline, body=alone)
            raise


class _EndsLate(LazyClient):
    """Takes its time at its end, and then leaves without a goodbye."""

    lasts = 4.5

    def close(self) -> None:
        threading.Event().wait(self.lasts)
        self._token = None
        super().close()


class EndsInTime(_EndsLate):
    """Ends within the five seconds that it has."""


class EndsTooLate(_EndsLate):
    """Ends a second and a half later than it may, which no busy machine explains."""

    lasts = 6.6


class EndsByASignalAlone(LazyClient):
    """A program that hears no `close`, nor the end of its input: SIGTERM is what it ends by."""

    takes = 0.0

    def close(self) -> None:
        told = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: told.set())
        told.wait(60.0)
        threading.Event().wait(self.takes)
        super().close()


class EndsLongAfterASignal(EndsByASignalAlone):
    """Takes longer for its end than is left of five seconds then."""

    takes = 2.5


class _HasNoLongestPause(Gate):
    """Its pause grows threefold without an end."""

    def __init__(self, longest: float) -> None:
        super().__init__(longest)
        self._longest = 3600.0

    def _leave(self, *, probe: bool, failed: bool, pause: float) -> None:
        grown = FIRST_PAUSE * 3.0 ** min(self._failures, 9) if failed else 0.0
        super()._leave(probe=probe, failed=failed, pause=max(grown, pause))


class WaitsEverLonger(LazyClient):
    """Lets its pauses grow for as long as Vault is away."""

    gate_type = _HasNoLongestPause


class _CountsItsTries(Gate):
    """After ten failures in a row nothing is tried any more."""

    def _enter(self, deadline: float) -> bool:
        if self._failures >= 10:
            raise UnavailableError("too many failures")
        return super()._enter(deadline)


class HasABudgetOfTries(LazyClient):
    """Survives every short seal, and none that outlasts its count of tries."""

    gate_type = _CountsItsTries


MUTANTS: dict[str, Mutant] = {
    "spins-while-it-waits": Mutant(
        every_day.SpinsWhileItWaits,
        "SEA-09",
        "seconds of a processor",
        LAZY_PROCESS,
        process=True,
    ),
    "logs-that-it-waits": Mutant(every_day.LogsThatItWaits, "SEA-01", "no log without a pause"),
    "takes-a-seal-for-an-empty-whole": Mutant(
        wholes.TakesAnOutageForAnEmptyWhole, "SEA-01", "none of its keys"
    ),
    "has-no-wholes-after-a-failure": Mutant(
        wholes.NoWholesAfterAFailure, "SEA-01", "a good read_all within", REFERENCE
    ),
    "leaves-its-token-after-a-seal": Mutant(LeavesItsTokenBehind, "SEA-01", "alive"),
    "is-stale-after-an-outage": Mutant(IsStaleAfterAnOutage, "SEA-01", "rotated secret"),
    "takes-a-seal-for-a-dead-token": Mutant(
        TakesASealForADeadToken, "SEA-01", "the token survives"
    ),
    "writes-no-more-after-a-seal": Mutant(
        unasked.RestsBeforeItWritesAgain, "SEA-01", "a write is good again"
    ),
    "stops-looking-at-a-seal": Mutant(
        byways.StopsLookingAtASeal, "SEA-01", "a rotated secret is seen", REFERENCE
    ),
    "logs-in-later-after-a-short-seal": Mutant(
        LogsInLaterAfterAFailure, "SEA-01", "the token survives"
    ),
    "retries-without-a-pause": Mutant(RetriesWithoutAPause, "SEA-01", "no request storm"),
    "sleeps-through-a-seal": Mutant(NeverComesBack, "SEA-02", "a good read within"),
    "storms-at-its-start": Mutant(StormsAtItsStart, "SEA-03", "no request storm"),
    "gives-up-at-its-start": Mutant(GivesUpAtItsStart, "SEA-03", "a good read within"),
    "waits-ever-longer": Mutant(WaitsEverLonger, "SEA-09", "a good read within"),
    "overflows-its-pause": Mutant(pauses.OverflowsItsPause, "SEA-09", "no request storm"),
    "stumbles-over-its-pause": Mutant(pauses.StumblesOverItsPause, "SEA-09", "a good read within"),
    "has-a-budget-of-tries": Mutant(HasABudgetOfTries, "SEA-09", "a good read within"),
    "leaves-a-thread-for-each-seal": Mutant(
        LeavesAThreadForEachFailure, "SEA-04", "leave nothing behind"
    ),
    "takes-a-restart-for-a-dead-token": Mutant(
        TakesASealForADeadToken, "SEA-06", "the token survives"
    ),
    "never-comes-back-after-a-restart": Mutant(NeverComesBack, "SEA-06", "a good read within"),
    "initialises-an-empty-vault": Mutant(
        InitialisesAnEmptyVault, "SEA-07", "nobody initialises a Vault"
    ),
    "storms-an-empty-vault": Mutant(StormsAtItsStart, "SEA-07", "no request storm"),
    "hangs-at-a-sealed-end": Mutant(HangsAtTheEnd, "SEA-08", "it ends cleanly"),
    "comes-back-by-the-clock": Mutant(ComesBackByTheClock, "SEA-05", "instances log in within"),
    "asks-for-everything-again": Mutant(AsksForEverythingAgain, "SEA-05", "no stampede"),
    "leaves-some-behind-a-seal": Mutant(NeverComesBack, "SEA-05", "each caller has a good read"),
    "asks-too-often-in-a-seal": Mutant(AsksTooOften, "SEA-01", "no request storm"),
    "leaves-nine-threads": Mutant(LeavesNineThreads, "SEA-04", "leave nothing behind"),
    "leaves-a-thread-for-each-seal-it-meets": Mutant(
        LeavesAThreadForEachSealItMeets, "SEA-04", "leave nothing behind"
    ),
    "keeps-nine-connections-in-reserve": Mutant(
        leftovers.KeepsNineInReserve, "SEA-04", "connections: 0 before"
    ),
    "knocks-too-often-at-a-dead-server": Mutant(KnocksTooOften, "SEA-06", "no connection storm"),
    "ends-too-late": Mutant(EndsTooLate, "SEA-08", "seconds until it has ended"),
    "ends-long-after-a-signal": Mutant(
        EndsLongAfterASignal, "SEA-08", "seconds until it has ended", LAZY_PROCESS, process=True
    ),
    "keeps-three-secrets-too-fresh": Mutant(
        edges_refusals.KeepsThreeSecretsTooFresh, "SEA-01", "requests in"
    ),
    "comes-back-too-late-from-a-long-seal": Mutant(
        edges_logins.ComesBackTooLateFromALongSeal, "SEA-02", "a new login within"
    ),
    "logs-in-twice-after-a-seal": Mutant(LogsInTwice, "SEA-02", "at most 1 login"),
    "logs-in-once-more-later-after-a-seal": Mutant(
        LogsInOnceMoreLater, "SEA-02", "at most 1 login"
    ),
    "logs-in-once-more-later-after-a-long-seal": Mutant(
        LogsInOnceMoreLater, "SEA-09", "at most 1 login"
    ),
    "logs-in-for-each-caller-at-an-end": Mutant(
        LogsInForEachCallerAtAnEnd, "SEA-02", "at most 1 login"
    ),
    "raises-at-a-sealed-end": Mutant(
        always.RaisesWhereItsTokenIsNotTaken, "SEA-08", "a clean end succeeds"
    ),
    "dies-under-a-seal": Mutant(
        always.DiesUnderASeal, "SEA-01", "the client stays alive", process=True
    ),
    "comes-back-by-a-timetable": Mutant(ComesBackByATimetable, "SEA-05", "instances log in within"),
    "fills-its-memory-after-a-login": Mutant(FillsItsMemoryAfterALogin, "SEA-05", "no stampede"),
    "leaves-the-probe-to-one": Mutant(
        at_once.LeavesTheProbeToOne, "SEA-10", "instances log in within", LAZY_PROCESS, process=True
    ),
    "comes-back-by-the-clock-in-a-crowd": Mutant(
        at_once.LogsInByTheClock,
        "SEA-10",
        "instances log in within",
        LAZY_PROCESS,
        process=True,
    ),
    "leaves-two-hundred-behind": Mutant(
        WaitsEverLonger, "SEA-10", "each caller has a good read", LAZY_PROCESS, process=True
    ),
    "logs-in-twice-in-a-crowd": Mutant(
        edges_logins.LogsInOnceMore, "SEA-10", "logins", LAZY_PROCESS, process=True
    ),
    "logs-in-twice-in-a-herd": Mutant(edges_logins.LogsInOnceMore, "SEA-05", "logins"),
    "looks-more-often-after-an-outage": Mutant(
        other_styles.LooksMoreOftenAfterAnOutage, "SEA-05", "no stampede"
    ),
    "leaves-all-behind-a-seal": Mutant(WaitsEverLonger, "SEA-05", "each caller has a good read"),
    "leaves-a-refresher-for-each-outage": Mutant(
        leftovers.LeavesARefresherForEachOutage, "SEA-11", "read requests in"
    ),
    "leaves-a-refresher-for-its-cache": Mutant(
        leftovers.LeavesARefresherForItsCache, "SEA-11", "read requests in"
    ),
    "leaves-a-looker-for-each-outage": Mutant(
        leftovers.LeavesALookerForEachOutage, "SEA-11", "lookup requests in"
    ),
    "leaves-a-renewer-for-each-login": Mutant(
        leftovers.LeavesARenewerForEachLogin, "SEA-11", "renew requests in"
    ),
    "looks-thrice-after-outages": Mutant(
        leftovers.LooksThriceAfterOutages, "SEA-11", "lookup requests in"
    ),
    "asks-six-times-after-outages": Mutant(
        leftovers.AsksSixTimesAfterOutages, "SEA-11", "requests of all kinds in"
    ),
    "keeps-a-connection-for-each-outage": Mutant(
        leftovers.KeepsAConnectionForEachOutage, "SEA-11", "connections that stay open"
    ),
    "renews-its-first-token-alone": Mutant(
        turnovers.RenewsItsFirstTokenAlone, "SEA-11", "the token is renewed, or replaced"
    ),
    "spins-after-an-outage": Mutant(
        untried.SpinsAfterAnOutage,
        "SEA-11",
        "seconds of a processor",
        LAZY_PROCESS,
        process=True,
    ),
    "never-comes-back-with-a-token": Mutant(NeverComesBack, "SEA-11", "a good read within"),
    "takes-a-failed-login-for-the-end": Mutant(
        byways.TakesAFailedLoginForTheEnd, "SEA-03", "a good read within"
    ),
    "takes-a-quota-at-its-login-for-a-refusal": Mutant(
        TakesAQuotaAtItsLoginForARefusal, "SEA-03", "a failure then is unavailable"
    ),
    "starts-in-haste": Mutant(tempers.StartsInHaste, "SEA-03", "no request storm"),
    "rests-too-long-for-what-it-does-not-keep": Mutant(
        other_styles.RestsTooLongForWhatItDoesNotKeep, "SEA-01", "nobody touched can be read"
    ),
    "raises-where-nobody-takes-its-token": Mutant(
        gone_ends.RaisesWhereNobodyTakesItsToken, "SEA-08", "it ends cleanly"
    ),
    "knocks-until-its-token-is-taken": Mutant(
        gone_ends.KnocksUntilItsTokenIsTaken, "SEA-08", "it ends cleanly"
    ),
    "ends-with-a-token-only": Mutant(byways.EndsWithATokenOnly, "SEA-08", "it ends cleanly"),
    "takes-a-seal-for-missing": Mutant(
        loose_ends.TakesASealForMissing, "SEA-01", "a failure then is unavailable"
    ),
    "takes-a-page-at-its-login-for-a-refusal": Mutant(
        loose_ends.TakesAPageAtItsLoginForARefusal, "SEA-03", "a failure then is unavailable"
    ),
    "renews-no-token-after-a-loss": Mutant(
        loose_ends.RenewsNoTokenAfterALoss, "SEA-11", "the token is renewed, or replaced"
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "looks-about-while-it-waits": Tolerated(
        every_day.LooksAboutWhileItWaits, "SEA-09", LAZY_PROCESS, process=True
    ),
    "logs-that-it-waits-now-and-then": Tolerated(every_day.LogsThatItWaitsNowAndThen, "SEA-01"),
    "looks-about-after-an-outage": Tolerated(
        untried.LooksAboutAfterAnOutage, "SEA-11", LAZY_PROCESS, process=True
    ),
    "looks-twice-after-outages": Tolerated(leftovers.LooksTwiceAfterOutages, "SEA-11"),
    "asks-four-times-after-outages": Tolerated(leftovers.AsksFourTimesAfterOutages, "SEA-11"),
    "keeps-two-connections": Tolerated(leftovers.KeepsTwoConnections, "SEA-11"),
    "caches-through-outages": Tolerated(CachesForTheRefreshTime, "SEA-11"),
    "logs-in-instead-through-outages": Tolerated(edges_logins.LogsInInsteadOfRenewing, "SEA-11"),
    "renews-at-a-third-through-outages": Tolerated(edges_tokens.RenewsAtAThird, "SEA-11"),
    "asks-for-an-hour-through-outages": Tolerated(edges_tokens.AsksForAnHour, "SEA-11"),
    "loses-a-login-in-a-crowd": Tolerated(
        edges_logins.LosesALogin, "SEA-10", LAZY_PROCESS, process=True
    ),
    "logs-in-at-half-a-life-in-a-crowd": Tolerated(
        edges_logins.LogsInAtHalfALife, "SEA-10", LAZY_PROCESS, process=True
    ),
    "loads-in-a-herd": Tolerated(other_styles.LoadsAtItsFirstRead, "SEA-05"),
    "loads-at-a-sealed-vault": Tolerated(loading.LoadsWhileItIsFirstAsked, "SEA-03"),
    "loads-at-an-empty-vault": Tolerated(loading.LoadsWhileItIsFirstAsked, "SEA-07"),
    "loads-before-a-sealed-end": Tolerated(loading.LoadsWhileItIsFirstAsked, "SEA-08"),
    "logs-in-at-half-a-life-in-a-herd": Tolerated(edges_logins.LogsInAtHalfALife, "SEA-05"),
    "logs-in-at-a-third-after-a-seal": Tolerated(edges_logins.LogsInAtAThird, "SEA-01"),
    "loses-a-login-in-a-herd": Tolerated(edges_logins.LosesALogin, "SEA-05"),
    "loses-a-login-at-a-third-in-a-herd": Tolerated(edges_logins.LosesALoginAtAThird, "SEA-05"),
    "looks-every-second-in-a-herd": Tolerated(other_styles.LooksEverySecond, "SEA-05"),
    "comes-back-within-a-second": Tolerated(
        ComesBackWithinASecond, "SEA-10", LAZY_PROCESS, process=True
    ),
    "comes-back-with-full-jitter": Tolerated(
        ComesBackWithFullJitter, "SEA-10", LAZY_PROCESS, process=True
    ),
    "rests-for-what-it-does-not-keep": Tolerated(other_styles.RestsForWhatItDoesNotKeep, "SEA-01"),
    "asks-often-in-a-seal": Tolerated(AsksOften, "SEA-01"),
    "knocks-often-at-a-dead-server": Tolerated(KnocksOften, "SEA-06"),
    "leaves-five-threads": Tolerated(LeavesFiveThreads, "SEA-04"),
    "keeps-five-connections-in-reserve": Tolerated(leftovers.KeepsFiveInReserve, "SEA-04"),
    "ends-in-time": Tolerated(EndsInTime, "SEA-08"),
    "ends-by-a-signal-alone": Tolerated(EndsByASignalAlone, "SEA-08", LAZY_PROCESS, process=True),
    "keeps-three-secrets-fresh": Tolerated(edges_refusals.KeepsThreeSecretsFresh, "SEA-01"),
    "asks-for-health-in-a-herd": Tolerated(other_styles.AsksForHealthFirst, "SEA-05"),
    "asks-for-an-hour-in-a-herd": Tolerated(edges_tokens.AsksForAnHour, "SEA-05"),
    "asks-for-an-hour-before-a-seal": Tolerated(edges_tokens.AsksForAnHour, "SEA-02"),
    "wants-vault-at-its-slow-start": Tolerated(other_styles.WantsVaultAtItsSlowStart, "SEA-03"),
    "starts-with-a-token": Tolerated(tempers.StartsWithAToken, "SEA-03"),
    "starts-with-a-token-at-an-empty-vault": Tolerated(tempers.StartsWithAToken, "SEA-07"),
    "polls-twice-a-minute": Tolerated(tempers.PollsTwiceAMinute, "SEA-11"),
    "answers-from-memory-through-a-seal": Tolerated(tempers.AnswersFromMemory, "SEA-02"),
    "comes-back-late-from-a-long-seal": Tolerated(
        edges_logins.ComesBackLateFromALongSeal, "SEA-02"
    ),
}
