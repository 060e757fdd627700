"""Clients that break POL: reads that a policy denies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from resilient_vault_client import PermissionDenied, Secret
from resilient_vault_client._session import Denials
from tests.mutants.clients import (
    HasATenSecondDeadline,
    LogsInOnEvery403,
    LogsInOnTheFirst403,
    LooksAtEachDenial,
    Mutant,
    Remembers,
    RepeatsEachDeniedRead,
    Tolerated,
    _KeyByKeyAsEver,
    by_name,
)
from tests.mutants.login_clients import (
    KeepsAndLogsInAtAThird,
    LogsInAtAThird,
    LogsInForEachCall,
    LooksBeforeEachRead,
    LooksEverySecond,
    PollsTwiceAMinute,
)
from tests.mutants.reference_clients import (
    ReportsUnhealthyForAWhile,
    StopsRefreshingAfterADenial,
    Tweaked,
)
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import DeniedError, Reply, UnavailableError

# POL-01


class TreatsADeniedWholeSecretAsEmpty(_KeyByKeyAsEver):
    def read_all(self, path: str) -> dict[str, str]:
        try:
            return super().read_all(path)
        except DeniedError:
            return {}


class ReportsADenialAsAnOutage(LazyClient):
    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeniedError as error:
            raise UnavailableError(str(error)) from None


class LogsInAfterAFailedLookup(LazyClient):
    """Takes it for its token's death."""

    most: ClassVar[float] = float("inf")
    _taken = 0

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        try:
            return super()._was_dead(where, token, deadline)
        except UnavailableError:
            if self._taken >= self.most:
                raise
            self._taken += 1
            self._token = None
            return self._goes_on()

    def _goes_on(self) -> bool:
        return True


class AsksForMetadataFirst(LazyClient):
    def _fetch(self, path: str, deadline: float) -> Reply:
        token = self._valid_token(deadline)
        where = f"{self._mount}/metadata/{path}"
        reply = self._ask("GET", where, deadline, token)
        if reply.status == 403 and self._was_dead(where, token, deadline):
            return super()._fetch(path, deadline)
        return reply if reply.status == 403 else super()._fetch(path, deadline)


class AsksForADeniedSecretInTwoWays(AsksForMetadataFirst):
    """Asks for metadata and secret, and for each twice."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        for _ in range(2):
            token = self._valid_token(deadline)
            self._ask("GET", f"{self._mount}/metadata/{path}", deadline, token)
            reply = self._ask("GET", f"{self._mount}/data/{path}", deadline, token)
            if reply.status != 403:
                return reply
        raise DeniedError(f"the policy denies {path}")


# POL-02


class ReportsUnhealthyForAWhileWithoutDeclaringIt(ReportsUnhealthyForAWhile):
    """Its token lives for a minute."""

    after = 13.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {n: s for n, s in self.declares.items() if n != "backoff_cap"}


class ReturnsAnOldValueWhenDenied(Remembers):
    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeniedError:
            if (path, key) in self._kept:
                return self._kept[path, key]
            raise


class AsksForHealthAtEachDenial(LazyClient):
    """Takes a denial for a sick server."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeniedError:
            for _ in range(60):
                self._wire.send("GET", "sys/health", deadline=time.monotonic() + 1.0)
            raise


class ReturnsACachedValueWhenDenied(Tweaked):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], Secret] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        try:
            self._kept[path, key] = secret = super().read_cached(path, key)
        except PermissionDenied:
            if (path, key) in self._kept:
                return self._kept[path, key]
            raise
        return secret


class NoDenials(Denials):
    def note(self, path: str, seconds: float) -> None:
        pass


class CachesADenialForeverInCachedReads(Tweaked):
    keeps = float("inf")

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        # Otherwise the client inside would add its own ten seconds.
        self.client._session()._denials = NoDenials()
        self._denials: dict[tuple[str, str], tuple[float, PermissionDenied]] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        at, denial = self._denials.get((path, key), (0.0, None))
        if denial is not None and time.monotonic() - at < self.keeps:
            raise denial
        try:
            return super().read_cached(path, key)
        except PermissionDenied as denied:
            self._denials[path, key] = time.monotonic(), denied
            raise


class DeniesWholeSecretsForeverAfterA403(Tweaked):
    keeps = float("inf")

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        # Otherwise the client inside would add its own ten seconds.
        self.client._session()._denials = NoDenials()
        self._denied: dict[str, float] = {}

    def read_all(self, path: str) -> Any:
        asked = time.monotonic()
        if asked - self._denied.get(path, float("-inf")) < self.keeps:
            raise PermissionDenied(f"Vault denies {path}", path=path)
        try:
            return super().read_all(path)
        except PermissionDenied:
            self._denied[path] = asked
            raise


class LogsInForADenialEveryTenSeconds(LazyClient):
    """Takes a 403 for a possibly dead token."""

    pause = 10.0
    keeps = 12.8
    capabilities = LazyClient.capabilities | {"cached"}
    _last = float("-inf")

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "refresh": 13.0}
        self._values: dict[tuple[str, str], tuple[float, str]] = {}

    def read_cached(self, path: str, key: str) -> str:
        asked = time.monotonic()
        at, value = self._values.get((path, key), (float("-inf"), ""))
        if asked - at >= self.keeps:
            value = self.read(path, key)
            self._values[path, key] = asked, value
        return value

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        with self._held(deadline):
            if self._token is token and time.monotonic() - self._last >= self.pause:
                self._last = time.monotonic()
                self._token = None
                return True
            return super()._was_dead(where, token, deadline)


class CachesADenialInEveryReadForTheRefreshTime(LazyClient):
    """Its declared longest pause is shorter, and does not apply to denials."""

    keeps = 4.8

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._remembered: dict[str, float] = {}

    def read(self, path: str, key: str) -> str:
        if time.monotonic() < self._remembered.get(path, 0.0):
            raise DeniedError(f"{path} was denied")
        try:
            return super().read(path, key)
        except DeniedError:
            self._remembered[path] = time.monotonic() + self.keeps
            raise


# POL-03


class LogsInThreeTimesAtOnce(LazyClient):
    times = 3
    _first = True

    def _log_in(self, deadline: float) -> Token:
        for _ in range(0 if self._first else self.times - 1):
            super()._log_in(deadline)
        self._first = False
        return super()._log_in(deadline)


class CachesADenialForLong(LazyClient):
    """For 13.5 s: a life, a call and R are 15 s."""

    keeps = 13.5
    _denied_until = 0.0

    def read(self, path: str, key: str) -> str:
        if time.monotonic() < self._denied_until and path != "backend/django":
            raise DeniedError(f"{path} was denied")
        try:
            return super().read(path, key)
        except DeniedError:
            self._denied_until = time.monotonic() + self.keeps
            raise


class LogsInOnScheduleDuringADenial(CachesADenialForLong, LogsInAtAThird):
    """Eleven times, and sees the end of the denial late."""

    keeps = 29.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "refresh": self.keeps + 1.0}


# POL-04


class TreatsADenialAsAnOutage(LazyClient):
    _until = 0.0

    def read(self, path: str, key: str) -> str:
        if time.monotonic() < self._until:
            raise UnavailableError("Vault failed a moment ago")
        try:
            return super().read(path, key)
        except DeniedError:
            self._until = time.monotonic() + 0.5
            raise


class ReportsUnhealthyAfterADenial(Tweaked):
    """For two seconds after each, also after good reads."""

    lasts = 2.0
    _denied = float("-inf")

    def read(self, path: str, key: str) -> Secret:
        try:
            return super().read(path, key)
        except PermissionDenied:
            self._denied = time.monotonic()
            raise

    def health(self) -> bool:
        return time.monotonic() - self._denied > self.lasts and super().health()


class TreatsADeniedSecretAsADeniedFolder(LazyClient):
    """Takes secrets beside a denied one for denied too, for a second."""

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


class FallsBackAfterTenDenials(LazyClient):
    """A breaker counts failures like that."""

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


class ReportsTheHealthOfItsLastRead(ReportsUnhealthyAfterADenial):
    """A good read after a denial makes it well again."""

    def read(self, path: str, key: str) -> Secret:
        found = super().read(path, key)
        self._denied = float("-inf")
        return found


# POL-05


class StopsLoggingInAfterThreeRefusedTokens(LazyClient):
    _refused = 0

    def _log_in(self, deadline: float) -> Token:
        if self._refused >= 3:
            raise UnavailableError("Vault refuses its own tokens")
        return super()._log_in(deadline)

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        dead = super()._was_dead(where, token, deadline)
        self._refused += dead
        return dead


class LogsInInALoopWhileTokensAreRefused(LazyClient):
    """Takes each for a revoked one, within the same call."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        while time.monotonic() < deadline - 0.2:
            reply = self._ask(
                "GET", f"{self._mount}/data/{path}", deadline, self._valid_token(deadline)
            )
            if reply.status != 403:
                return reply
            self._token = None
        raise DeniedError("no token is good enough")


class LogsInElevenTimes(LazyClient):
    """Three more tokens for each call while none is accepted."""

    tries, a_call = 11, 3
    rest = 6.8
    _tried = 0
    _since = 0.0

    def _fetch(self, path: str, deadline: float) -> Reply:
        where = f"{self._mount}/data/{path}"
        reply = self._ask("GET", where, deadline, self._valid_token(deadline))
        if reply.status != 403:
            return reply
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since >= self.rest:  # it has asked for no token for a while
            self._tried = self.tries - 1
        for _ in range(min(self.a_call, self.tries - self._tried)):
            self._tried += 1
            self._log_in(deadline)
            time.sleep(0.25)
        reply = self._ask("GET", where, deadline, self._valid_token(deadline))
        if reply.status == 403:
            raise DeniedError(f"no token is good enough for {path}")
        return reply


MUTANTS = by_name(
    Mutant(LogsInOnEvery403, "POL-01", "6 logins for"),
    Mutant(TreatsADeniedWholeSecretAsEmpty, "POL-01", "fails as denied"),
    Mutant(ReportsADenialAsAnOutage, "POL-01", "fails as denied"),
    Mutant(LogsInOnTheFirst403, "POL-01", "2 logins for").called("logs-in-on-two-denials", times=2),
    Mutant(RepeatsEachDeniedRead, "POL-01", "reads for").called(
        "repeats-its-first-denied-read-three-times", at_the_first=3
    ),
    Mutant(LooksAtEachDenial, "POL-01", "looks at the token for").called(
        "looks-up-its-token-three-times-at-its-first-denial", at_the_first=3
    ),
    Mutant(LogsInAfterAFailedLookup, "POL-01", "at most 1 login"),
    Mutant(LooksEverySecond, "POL-01", "looks at the token for").called(
        "looks-up-its-token-four-times-a-second", every=0.25
    ),
    Mutant(StopsRefreshingAfterADenial, "POL-01", "a rotated secret is seen"),
    # Longer than any assumed pause, and less than half of its token's life.
    Mutant(ReportsUnhealthyForAWhileWithoutDeclaringIt, "POL-02", "health tells the truth").called(
        "reports-unhealthy-for-too-long-without-declaring-it", after=22.0
    ),
    Mutant(ReturnsAnOldValueWhenDenied, "POL-02", "denied"),
    Mutant(AsksForHealthAtEachDenial, "POL-02", "no request storm"),
    Mutant(ReturnsACachedValueWhenDenied, "POL-02", "a read fails as denied"),
    Mutant(CachesADenialForeverInCachedReads, "POL-02", "a good read_cached within"),
    Mutant(DeniesWholeSecretsForeverAfterA403, "POL-02", "a good read_all within"),
    Mutant(LogsInForADenialEveryTenSeconds, "POL-02", "a denial costs").called(
        "logs-in-for-a-denial-too-often", pause=6.0
    ),
    Mutant(LogsInThreeTimesAtOnce, "POL-03", "at most 2 logins").called(
        "logs-in-four-times-for-a-policy", times=4
    ),
    Mutant(CachesADenialForLong, "POL-03", "a good read within").called(
        "caches-a-denial-for-too-long", keeps=17.5
    ),
    Mutant(TreatsADenialAsAnOutage, "POL-04", "no read of"),
    Mutant(ReportsUnhealthyAfterADenial, "POL-04", "health says well"),
    Mutant(TreatsADeniedSecretAsADeniedFolder, "POL-04", "no read of ai/anthropic"),
    Mutant(FallsBackAfterTenDenials, "POL-04", "fails as denied"),
    Mutant(StopsLoggingInAfterThreeRefusedTokens, "POL-05", "a good read within"),
    Mutant(LogsInInALoopWhileTokensAreRefused, "POL-05", "requests (login)"),
)


TOLERATED = by_name(
    Tolerated(LooksBeforeEachRead, "POL-01").called("looks-up-its-token-before-each-denied-read"),
    Tolerated(LogsInForEachCall, "POL-01").called("logs-in-for-each-denied-call"),
    Tolerated(LogsInOnTheFirst403, "POL-01").called("logs-in-on-the-first-denial"),
    Tolerated(RepeatsEachDeniedRead, "POL-01").called(
        "repeats-its-first-denied-read-twice", at_the_first=2
    ),
    Tolerated(LooksAtEachDenial, "POL-01").called(
        "looks-up-its-token-twice-at-its-first-denial", at_the_first=2
    ),
    Tolerated(LogsInAfterAFailedLookup, "POL-01").called(
        "logs-in-once-after-a-failed-lookup", most=1
    ),
    Tolerated(LooksEverySecond, "POL-01").called("looks-up-its-token-every-second"),
    Tolerated(AsksForMetadataFirst, "POL-01").called("asks-for-metadata-of-a-denied-secret"),
    Tolerated(AsksForADeniedSecretInTwoWays, "POL-01"),
    Tolerated(CachesADenialForeverInCachedReads, "POL-02").called(
        "caches-a-denial-for-the-refresh-time", keeps=4.8
    ),
    Tolerated(CachesADenialInEveryReadForTheRefreshTime, "POL-02"),
    Tolerated(DeniesWholeSecretsForeverAfterA403, "POL-02").called(
        "denies-whole-secrets-for-the-refresh-time", keeps=4.8
    ),
    Tolerated(ReportsUnhealthyForAWhileWithoutDeclaringIt, "POL-02"),
    Tolerated(LogsInForADenialEveryTenSeconds, "POL-02"),
    Tolerated(HasATenSecondDeadline, "POL-02").called(
        "has-a-ten-second-deadline-under-a-narrow-policy"
    ),
    Tolerated(LogsInThreeTimesAtOnce, "POL-03").called("logs-in-three-times-for-a-policy"),
    Tolerated(CachesADenialForLong, "POL-03"),
    Tolerated(LogsInOnScheduleDuringADenial, "POL-03"),
    Tolerated(ReportsTheHealthOfItsLastRead, "POL-04"),
    Tolerated(KeepsAndLogsInAtAThird, "POL-05").called("logs-in-on-schedule-with-bound-tokens"),
    Tolerated(LogsInElevenTimes, "POL-05"),
    Tolerated(PollsTwiceAMinute, "POL-05").called("polls-twice-a-minute-with-bound-tokens"),
)
