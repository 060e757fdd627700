"""Clients that break the promises of POL: what a policy allows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from tests.mutants import (
    byways,
    edges_endings,
    edges_logins,
    edges_refusals,
    failed_looks,
    other_styles,
    outsiders,
    own_pace,
    tempers,
    wholes,
)
from tests.mutants.clients import (
    REFERENCE,
    LogsInOnEvery403,
    LogsInOnTheFirst403,
    LogsInOnTwo403s,
    Mutant,
    Remembers,
    TakesItsTime,
    Tolerated,
)
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    DeniedError,
    Reply,
    UnavailableError,
)


class TakesDeniedForUnavailable(LazyClient):
    """Tells operators that Vault is down when a policy is wrong."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeniedError as error:
            raise UnavailableError(str(error)) from None


class RemembersADenialForEver(LazyClient):
    """What was denied once is not asked for again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._never: set[str] = set()

    def read(self, path: str, key: str) -> str:
        if path in self._never:
            raise DeniedError(f"{path} was denied")
        try:
            return super().read(path, key)
        except DeniedError:
            self._never.add(path)
            raise


class TakesADenialForAnOutage(LazyClient):
    """Counts denials as failures of Vault, and spares it for a while."""

    _until = 0.0

    def read(self, path: str, key: str) -> str:
        if time.monotonic() < self._until:
            raise UnavailableError("Vault failed a moment ago")
        try:
            return super().read(path, key)
        except DeniedError:
            self._until = time.monotonic() + 0.5
            raise


class PapersOverADenial(Remembers):
    """While it is denied it hands out what it read before, as if it were fresh."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeniedError:
            if (path, key) in self._kept:
                return self._kept[path, key]
            raise


class TakesADeniedSecretForADeniedFolder(LazyClient):
    """What lies beside a denied secret is denied too, for a second from each denial on."""

    keeps = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._folders: dict[str, float] = {}

    def read(self, path: str, key: str) -> str:
        folder = path.rpartition("/")[0]
        if time.monotonic() < self._folders.get(folder, 0.0):
            raise DeniedError(f"{folder} is denied")
        try:
            return super().read(path, key)
        except DeniedError:
            self._folders[folder] = time.monotonic() + self.keeps
            raise


class FallsBackAtTheTenthDenial(LazyClient):
    """Counts denials as failures, as breakers do: with the tenth it is open, and falls back."""

    most = 10

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._denials: Counter[str] = Counter()

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeniedError:
            self._denials[path] += 1
            if self._denials[path] >= self.most and key in self._environ:
                return self._environ[key]
            raise


class AsksForHealthAtEachDenial(LazyClient):
    """Takes a denial for a sick server, and asks for its health, and asks."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeniedError:
            for _ in range(12):
                self._wire.send("GET", "sys/health", deadline=time.monotonic() + 1.0)
            raise


class LogsInUntilItReads(LazyClient):
    """Takes each refused token for a revoked one, and logs in again within the same call."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        while time.monotonic() < deadline - 0.2:
            reply = self._ask(
                "GET", f"{self._mount}/data/{path}", deadline, self._valid_token(deadline)
            )
            if reply.status != 403:
                return reply
            self._token = None
        raise DeniedError("no token is good enough")


class GivesUpOnStillbornTokens(LazyClient):
    """After three logins whose tokens were refused it logs in no more."""

    _refused = 0

    def _log_in(self, deadline: float) -> Token:
        if self._refused >= 3:
            raise UnavailableError("Vault refuses its own tokens")
        return super()._log_in(deadline)

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        dead = super()._was_dead(where, token, deadline)
        self._refused += dead
        return dead


class TakesItsTurnsBesideADenial(
    edges_refusals.RemembersADenialForLong, edges_logins.LogsInAtAThird
):
    """Sees changes late, a denial that has passed among them, and logs in eleven times by then."""

    keeps = 29.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "refresh": self.keeps + 1.0}


MUTANTS: dict[str, Mutant] = {
    "logs-in-on-every-403": Mutant(LogsInOnEvery403, "POL-01", "6 logins for"),
    "takes-a-denied-whole-for-empty": Mutant(
        wholes.TakesADeniedWholeForEmpty, "POL-01", "fails as denied"
    ),
    "takes-denied-for-unavailable": Mutant(TakesDeniedForUnavailable, "POL-01", "fails as denied"),
    "says-ill-for-too-long-untold": Mutant(
        edges_endings.SaysIllForTooLongUntold, "POL-02", "health tells the truth", REFERENCE
    ),
    "takes-a-policy-for-a-dead-token": Mutant(LogsInOnEvery403, "POL-02", "a denial costs"),
    "remembers-a-denial": Mutant(RemembersADenialForEver, "POL-02", "a good read within"),
    "papers-over-a-denial": Mutant(PapersOverADenial, "POL-02", "denied"),
    "keeps-a-denied-whole": Mutant(wholes.KeepsADeniedWhole, "POL-02", "fails as denied"),
    "remembers-a-denial-after-a-login": Mutant(
        RemembersADenialForEver, "POL-03", "a good read within"
    ),
    "takes-a-denial-for-an-outage": Mutant(TakesADenialForAnOutage, "POL-04", "no read of"),
    "is-ill-beside-a-denial": Mutant(
        outsiders.IsIllBesideADenial, "POL-04", "health says well", REFERENCE
    ),
    "takes-a-denied-secret-for-a-denied-folder": Mutant(
        TakesADeniedSecretForADeniedFolder, "POL-04", "no read of ai/anthropic"
    ),
    "falls-back-at-the-tenth-denial": Mutant(
        FallsBackAtTheTenthDenial, "POL-04", "fails as denied"
    ),
    "gives-up-on-stillborn-tokens": Mutant(
        GivesUpOnStillbornTokens, "POL-05", "a good read within"
    ),
    "logs-in-until-it-reads": Mutant(LogsInUntilItReads, "POL-05", "requests (login)"),
    "logs-in-on-two-denials": Mutant(LogsInOnTwo403s, "POL-01", "2 logins for"),
    "repeats-its-first-denied-read-thrice": Mutant(
        edges_refusals.RepeatsItsFirstDeniedReadThrice, "POL-01", "reads for"
    ),
    "looks-thrice-at-its-first-denial": Mutant(
        edges_refusals.LooksThriceAtItsFirstDenial, "POL-01", "looks at the token for"
    ),
    "asks-for-health-at-each-denial": Mutant(
        AsksForHealthAtEachDenial, "POL-02", "no request storm"
    ),
    "takes-a-failed-look-for-death": Mutant(
        failed_looks.TakesAFailedLookForDeath, "POL-01", "at most 1 login"
    ),
    "drops-its-token-at-a-failed-look": Mutant(
        failed_looks.DropsItsTokenAtAFailedLook, "POL-01", "at most 1 login"
    ),
    "looks-four-times-a-second": Mutant(
        other_styles.LooksFourTimesASecond, "POL-01", "looks at the token for"
    ),
    "logs-in-four-times-for-a-policy": Mutant(
        edges_logins.LogsInFourTimesAtOnce, "POL-03", "or 3 in all"
    ),
    "remembers-a-denial-for-too-long": Mutant(
        edges_refusals.RemembersADenialForTooLong, "POL-03", "a good read within"
    ),
    "logs-in-fifteen-times": Mutant(
        edges_refusals.LogsInFifteenTimes, "POL-05", "requests (login)"
    ),
    "papers-over-a-denial-in-its-cache": Mutant(
        byways.PapersOverADenialInItsCache, "POL-02", "a read fails as denied", REFERENCE
    ),
    "keeps-a-denial-in-its-cache": Mutant(
        byways.KeepsADenialInItsCache, "POL-02", "a good read_cached within", REFERENCE
    ),
    "denies-wholes-for-ever": Mutant(
        wholes.DeniesWholesForEver, "POL-02", "a good read_all within", REFERENCE
    ),
    "logs-in-for-a-denial-too-often": Mutant(
        own_pace.LogsInForADenialTooOften, "POL-02", "a denial costs"
    ),
    "stops-looking-at-a-denial": Mutant(
        byways.StopsLookingAtADenial, "POL-01", "a rotated secret is seen", REFERENCE
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "meets-no-loss-with-bound-tokens": Tolerated(own_pace.KeepsAndLogsInAtAThird, "POL-05"),
    "says-how-its-last-read-was": Tolerated(outsiders.SaysHowItsLastReadWas, "POL-04", REFERENCE),
    "keeps-a-denial-for-the-refresh-time": Tolerated(
        byways.KeepsADenialForTheRefreshTime, "POL-02", REFERENCE
    ),
    "remembers-a-denial-for-the-refresh-time": Tolerated(
        edges_refusals.RemembersADenialForTheRefreshTime, "POL-02"
    ),
    "denies-wholes-for-the-refresh-time": Tolerated(
        wholes.DeniesWholesForTheRefreshTime, "POL-02", REFERENCE
    ),
    "says-ill-for-a-while-untold": Tolerated(
        edges_endings.SaysIllForAWhileUntold, "POL-02", REFERENCE
    ),
    "logs-in-on-the-first-denial": Tolerated(LogsInOnTheFirst403, "POL-01"),
    "repeats-its-first-denied-read-twice": Tolerated(
        edges_refusals.RepeatsItsFirstDeniedReadTwice, "POL-01"
    ),
    "looks-twice-at-its-first-denial": Tolerated(
        edges_refusals.LooksTwiceAtItsFirstDenial, "POL-01"
    ),
    "logs-in-once-at-a-failed-look": Tolerated(failed_looks.LogsInOnceAtAFailedLook, "POL-01"),
    "looks-every-second": Tolerated(other_styles.LooksEverySecond, "POL-01"),
    "asks-for-metadata-of-what-is-denied": Tolerated(other_styles.AsksForMetadataFirst, "POL-01"),
    "asks-for-the-denied-in-two-ways": Tolerated(other_styles.AsksForTheDeniedInTwoWays, "POL-01"),
    "asks-for-metadata-under-a-narrow-policy": Tolerated(
        other_styles.AsksForMetadataFirst, "POL-02"
    ),
    "asks-for-metadata-beside-what-is-denied": Tolerated(
        other_styles.AsksForMetadataFirst, "POL-04"
    ),
    "logs-in-for-a-denial-now-and-then": Tolerated(own_pace.LogsInForADenialNowAndThen, "POL-02"),
    "takes-its-time-under-a-narrow-policy": Tolerated(TakesItsTime, "POL-02"),
    "logs-in-three-times-for-a-policy": Tolerated(edges_logins.LogsInThreeTimesAtOnce, "POL-03"),
    "remembers-a-denial-for-long": Tolerated(edges_refusals.RemembersADenialForLong, "POL-03"),
    "takes-its-turns-beside-a-denial": Tolerated(TakesItsTurnsBesideADenial, "POL-03"),
    "logs-in-eleven-times": Tolerated(edges_refusals.LogsInElevenTimes, "POL-05"),
    "polls-twice-a-minute-with-bound-tokens": Tolerated(tempers.PollsTwiceAMinute, "POL-05"),
}
