"""Clients that break SRV-05, 06, 09 or 11: quotas, lagging standbys and retries."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.mutants.clients import (
    AtShare,
    HasATenSecondDeadline,
    IgnoresRetryAfter,
    LooksByItself,
    Mutant,
    Remembers,
    RetriesWithoutAPause,
    Tolerated,
    Writes,
    by_name,
)
from tests.mutants.login_clients import (
    AsksForAnHour,
    AsksOnceItIsOld,
    LogsInAtAThird,
    PollsItsSecrets,
    RenewsInACallersCall,
)
from tests.mutants.reference_clients import StopsRefreshingAfterA429
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    ClientError,
    Gate,
    GivenUpError,
    Reply,
    UnavailableError,
    Wire,
)

# SRV-05


class _Old(str):
    """A value marked as old."""

    __slots__ = ()
    stale = True


class IgnoresRetryAfterBehindAStaleValue(Remembers):
    def read(self, path: str, key: str) -> str:
        deadline = time.monotonic() + self._deadline * 0.95
        token = self._valid_token(deadline)
        where = f"{self._mount}/data/{path}"
        with contextlib.suppress(UnavailableError):
            reply = self._wire.send("GET", where, deadline=deadline, token=token.value)
            if reply.status != 200:
                return super().read(path, key)
            self._kept[path, key] = value = str(reply.body["data"]["data"][key])
            return value
        if (path, key) in self._kept:
            return _Old(self._kept[path, key])
        raise UnavailableError("there is no value yet")


class _AnsweredInItsWay(Wire):
    """Sends a request as `_answered` decides."""

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        send = super().send

        def ask(until: float) -> Reply:
            return send(method, path, deadline=until, token=token, body=body)

        return self._answered(ask, deadline)

    def _answered(self, ask: Callable[[float], Reply], deadline: float) -> Reply:
        raise NotImplementedError


class IgnoresALowercaseRetryAfter(_AnsweredInItsWay):
    """``retry-after`` is the same as ``Retry-After``."""

    def _answered(self, ask: Callable[[float], Reply], deadline: float) -> Reply:
        try:
            return ask(deadline)
        except UnavailableError as error:
            if getattr(error, "pause", 0.0) and not self._spelled:
                error.pause = 0.0  # type: ignore[attr-defined]  # as what raised it has set it
            raise

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        received = super()._exchange(request, deadline)
        self._spelled = b"\r\nRetry-After:" in received
        return received

    _spelled = False


class SleepsForRetryAfterBeyondItsDeadline(_AnsweredInItsWay):
    """Obeys it within the call, even for a minute, as urllib3 does by default."""

    def _answered(self, ask: Callable[[float], Reply], deadline: float) -> Reply:
        while True:
            try:
                return ask(deadline)
            except UnavailableError as error:
                pause = float(getattr(error, "pause", 0.0))
                if not pause:
                    raise
            time.sleep(pause)
            deadline = max(deadline, time.monotonic() + 1.0)


class RetriesExactlyAfterRetryAfter(Gate):
    """Waits for a share of what ``Retry-After`` says."""

    share = 1.0

    def _leave(self, *, probe: bool, failed: bool, pause: float) -> None:
        with self._changed:
            if probe:
                self._probing = False
            if not failed:
                self._failures = 0
            elif probe or not self._failures:
                self._failures += 1
                self._opens = time.monotonic() + (pause * self.share or 0.5)
            self._changed.notify_all()


class PollsVersionsDespiteRetryAfter(LooksByItself):
    """Twice a second. A quota stops only its reads."""

    every = 0.5
    _last = ""

    def read_all(self, path: str) -> dict[str, str]:
        self._last = path
        return super().read_all(path)

    def _look(self, token: Token, deadline: float) -> None:
        if where := self._last:
            where = f"{self._mount}/metadata/{where}"
            self._wire.send("GET", where, deadline=deadline, token=token.value)


class WritesDespiteRetryAfter(Writes):
    def _post(self, where: str, deadline: float, token: Token, data: Mapping[str, str]) -> Reply:
        body = {"data": dict(data)}
        try:
            return self._wire.send("POST", where, deadline=deadline, token=token.value, body=body)
        except UnavailableError as error:
            if "429" not in str(error):
                raise
            time.sleep(0.2)
        return self._wire.send("POST", where, deadline=deadline, token=token.value, body=body)


# SRV-09


class _KnowsNo412(Wire):
    """Takes every status below 500 as final."""

    def send(self, *args: Any, **how: Any) -> Reply:
        try:
            return super().send(*args, **how)
        except UnavailableError as error:
            if "answered 412" in str(error):
                raise ClientError(str(error)) from None
            raise


class ReportsA412AsAnError(LazyClient):
    wire_type = _KnowsNo412


class ReturnsAnOldValueOnceForA412(ReportsA412AsAnError):
    """Marked as old; then it asks again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._had: dict[tuple[str, str], str] = {}

    def read(self, path: str, key: str) -> str:
        try:
            self._had[path, key] = super().read(path, key)
        except ClientError as error:
            if "answered 412" not in str(error):
                raise
            return _Old(self._had[path, key])
        return self._had[path, key]


class ReturnsAnOldValueForeverAfterA412(ReturnsAnOldValueOnceForA412):
    def read(self, path: str, key: str) -> str:
        had = self._had.get((path, key))
        if isinstance(had, _Old):
            return had
        value = super().read(path, key)
        if isinstance(value, _Old):
            self._had[path, key] = value
        return value


class TriesA412SixTimesWithoutPauses(LazyClient):
    def read(self, path: str, key: str) -> str:
        deadline = time.monotonic() + self._deadline * 0.95
        for _ in range(6):
            token = self._valid_token(deadline)
            where = f"{self._mount}/data/{path}"
            with contextlib.suppress(UnavailableError):
                reply = self._wire.send("GET", where, deadline=deadline, token=token.value)
                if reply.status != 200:
                    return super().read(path, key)
                return str(reply.body["data"]["data"][key])
            time.sleep(0.003)
        raise UnavailableError("none of six tries was answered")


class TriesA412SixTimes(LazyClient):
    """In one call, with the shortest pause."""

    tries, pause = 6, 0.11

    def read(self, path: str, key: str) -> str:
        deadline = time.monotonic() + self._deadline * 0.95
        for number in range(self.tries):
            token = self._valid_token(deadline)
            where = f"{self._mount}/data/{path}"
            with contextlib.suppress(UnavailableError):
                reply = self._wire.send("GET", where, deadline=deadline, token=token.value)
                if reply.status != 200:
                    return super().read(path, key)
                return str(reply.body["data"]["data"][key])
            if number:
                time.sleep(self.pause)
        raise UnavailableError("no try was answered")


class TriesA412SixTimesAndPolls(LooksByItself, TriesA412SixTimes):
    """Every 0.7 s, and tries six times in a call."""

    every = 0.7

    def _look(self, token: Token, deadline: float) -> None:
        if token.left > 0:
            where = f"{self._mount}/data/backend/django"
            self._wire.send("GET", where, deadline=deadline, token=token.value)


# SRV-11


class _AtARefusal(LazyClient):
    """Reacts in its own way if a renewal fails with `word` in the error."""

    word = ""
    _over = False

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError as error:
            if self.word not in str(error):
                raise
            if self._turned_away():
                raise
            return False

    def _turned_away(self) -> bool:
        """Take another token, and return that this one is not kept."""
        return False

    def _arm(self, seconds: float) -> None:
        if not self._over:
            super()._arm(seconds)


class _GivesUp(_AtARefusal):
    def _turned_away(self) -> bool:
        self._over = True
        return True


DENIED = "403 by a page"


class _ReadsTheStatus(Wire):
    """Uses the status of a page."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        head = raw.partition(b"\r\n\r\n")[0].lower()
        if head.startswith(b"http/1.1 403") and b"text/html" in head:
            raise UnavailableError(DENIED)
        return raw


class LogsInAfterAGateway403(LazyClient):
    wire_type = _ReadsTheStatus

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError as error:
            if DENIED not in str(error):
                raise
            return self._goes_on()

    def _goes_on(self) -> bool:
        return False


class FailsAReadWhenItsRenewalFails(LazyClient):
    """Renews during a read."""

    def read(self, path: str, key: str) -> str:
        token = self._token
        if token is not None and token.due <= 0 < token.left:
            self._renewed(token, time.monotonic() + self._deadline)
        return super().read(path, key)

    def _arm(self, seconds: float) -> None:
        """Start no thread."""


class DoublesItsPausesBetweenRenewals(LazyClient):
    """From 1.5 s to 3 s, and declares no longest pause."""

    times = 3.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {"deadline": self._deadline}

    def _arm(self, seconds: float) -> None:
        token = self._token
        if token is not None and seconds > self._longest:  # otherwise it is a pause after a failure
            seconds = token.since + 0.5 * token.ttl - time.monotonic()
        else:
            seconds *= self.times
        super()._arm(seconds)


class RenewsLateUnderAQuota(LazyClient):
    """At 0.85 of a life, and retries after a pause."""

    def _arm(self, seconds: float) -> None:
        token = self._token
        due = token.left - 0.15 * token.ttl if token is not None else 0.0
        super()._arm(due if due > 0 else seconds)


class FailsAReadWhenItsRenewalMeetsASeal(RenewsInACallersCall):
    """The read would fail too."""

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


MUTANTS = by_name(
    Mutant(IgnoresRetryAfterBehindAStaleValue, "SRV-05", "Retry-After"),
    Mutant(IgnoresALowercaseRetryAfter, "SRV-05", "Retry-After is obeyed"),
    Mutant(SleepsForRetryAfterBeyondItsDeadline, "SRV-05", "every call ends within 4 s"),
    Mutant(IgnoresRetryAfter, "SRV-05", "Retry-After is obeyed"),
    Mutant(RetriesExactlyAfterRetryAfter, "SRV-05", "Retry-After is obeyed").called(
        "retries-before-retry-after", share=0.85
    ),
    Mutant(
        PollsVersionsDespiteRetryAfter, "SRV-05", "Retry-After is obeyed by each look at a version"
    ),
    Mutant(WritesDespiteRetryAfter, "SRV-05", "Retry-After is obeyed by each write"),
    Mutant(StopsRefreshingAfterA429, "SRV-06", "a rotated secret is seen"),
    Mutant(RetriesWithoutAPause, "SRV-06", "no request storm").called(
        "retries-a-429-without-a-pause"
    ),
    Mutant(ReportsA412AsAnError, "SRV-09", "a 412 is tried again"),
    Mutant(ReturnsAnOldValueForeverAfterA412, "SRV-09", "the steady state holds again"),
    Mutant(TriesA412SixTimesWithoutPauses, "SRV-09", "0.1 s apart"),
    Mutant(TriesA412SixTimes, "SRV-09", "for one call").called("tries-a-412-seven-times", tries=7),
    Mutant(TriesA412SixTimes, "SRV-09", "0.1 s apart").called(
        "tries-a-412-with-short-pauses", pause=0.07
    ),
    Mutant(_GivesUp, "SRV-11", "the next renewal succeeds").called(
        "stops-renewing-after-a-429", word="429"
    ),
    Mutant(IgnoresRetryAfter, "SRV-11", "Retry-After is obeyed by each renew").called(
        "renews-despite-retry-after"
    ),
    Mutant(_AtARefusal, "SRV-11", "the token survives").called("logs-in-after-a-429", word="429"),
    Mutant(_GivesUp, "SRV-11", "the next renewal succeeds").called(
        "stops-renewing-after-a-gateway-page", word="none of Vault's"
    ),
    Mutant(LogsInAfterAGateway403, "SRV-11", "the token survives"),
    Mutant(FailsAReadWhenItsRenewalFails, "SRV-11", "no read fails"),
)


TOLERATED = by_name(
    Tolerated(LogsInAtAThird, "SRV-05").called("logs-in-at-a-third-after-a-quota"),
    Tolerated(RetriesExactlyAfterRetryAfter, "SRV-05"),
    Tolerated(AsksOnceItIsOld, "SRV-05").called("keeps-what-it-read-under-a-quota"),
    Tolerated(PollsItsSecrets, "SRV-06").called("polls-under-a-silent-quota"),
    Tolerated(HasATenSecondDeadline, "SRV-09").called(
        "has-a-ten-second-deadline-at-a-lagging-standby"
    ),
    Tolerated(TriesA412SixTimes, "SRV-09"),
    Tolerated(TriesA412SixTimesAndPolls, "SRV-09"),
    Tolerated(ReturnsAnOldValueOnceForA412, "SRV-09"),
    Tolerated(AsksOnceItIsOld, "SRV-09").called("retries-a-412-in-a-later-call"),
    Tolerated(AsksForAnHour, "SRV-11").called("asks-for-an-hour-before-a-quota"),
    Tolerated(AtShare, "SRV-11").called("renews-at-a-third-under-a-quota", share=0.33),
    Tolerated(DoublesItsPausesBetweenRenewals, "SRV-11"),
    Tolerated(RenewsLateUnderAQuota, "SRV-11"),
    Tolerated(FailsAReadWhenItsRenewalMeetsASeal, "SRV-11"),
)
