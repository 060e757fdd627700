"""Clients that break the promises of SRV: a Vault that is slow, limited or sick."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from resilient_vault_client import VaultError
from tests.mutants import (
    beside_reads,
    byways,
    companions,
    denying_pages,
    edges_endings,
    edges_hangs,
    edges_logins,
    edges_tokens,
    every_day,
    loose_ends,
    other_styles,
    oversights,
    own_pace,
    pauses,
    unasked,
    untried,
    wholes,
)
from tests.mutants.clients import (
    REFERENCE,
    AlwaysSaysWell,
    AsksAgainLater,
    AsksOften,
    AsksTooOften,
    HasNoTimeout,
    LogsInLaterAfterAFailure,
    LooksByItself,
    Mutant,
    Remembers,
    RetriesWithoutAPause,
    TakesASealForADeadToken,
    TakesItsTime,
    Tolerated,
    Tweaked,
)
from tests.mutants.prc import SaysIllLate, SaysIllTooLate
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    ClientError,
    Gate,
    Reply,
    UnavailableError,
    Wire,
)


class OneCallAtATime(LazyClient):
    """Lets callers queue behind one that hangs, without a deadline for the queue."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._one = threading.Lock()

    def read(self, path: str, key: str) -> str:
        with self._one:
            return super().read(path, key)


class _Deaf(Gate):
    """Pauses by its own measure."""

    def _leave(self, **how: Any) -> None:
        super()._leave(**{**how, "pause": 0.0})


class IgnoresRetryAfter(LazyClient):
    """Backs off as it likes, not as Vault says."""

    gate_type = _Deaf


class _Page(dict[str, Any]):
    """A page, taken for a secret: it has a value for every key."""

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: str) -> str:
        return "<!DOCTYPE html>"


class _TakesPages(Wire):
    """Asks for no more than the status."""

    def send(self, *args: Any, **how: Any) -> Reply:
        try:
            return super().send(*args, **how)
        except UnavailableError as error:
            if "none of Vault's" in str(error):
                return Reply(200, {"data": {"data": _Page()}})
            raise


class TakesAPageForASecret(LazyClient):
    """Hands out whatever came with 200."""

    wire_type = _TakesPages

    def read_all(self, path: str) -> dict[str, str]:
        return super().read_all(path) or _Page()


class _Stumbles(Wire):
    """Knows no body but JSON."""

    def send(self, *args: Any, **how: Any) -> Reply:
        try:
            return super().send(*args, **how)
        except UnavailableError as error:
            if "none of Vault's" in str(error):
                raise ValueError("Expecting value: line 1 column 1 (char 0)") from None
            raise


class StumblesOverAPage(LazyClient):
    """Parses every body as JSON, and lets the parser's error escape."""

    wire_type = _Stumbles


class _KnowsNo412(Wire):
    """Everything below 500 is final."""

    def send(self, *args: Any, **how: Any) -> Reply:
        try:
            return super().send(*args, **how)
        except UnavailableError as error:
            if "answered 412" in str(error):
                raise ClientError(str(error)) from None
            raise


class KnowsNo412(LazyClient):
    """Surfaces the 412 of a standby that lags."""

    wire_type = _KnowsNo412


class _Old(str):
    """A value that the client marks as old."""

    __slots__ = ()
    stale = True


class GivesAnOldValueForA412(KnowsNo412):
    """Has a value from before for the call that meets it, marked as old, and asks at the next."""

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


class GivesAnOldValueForEverAfterA412(GivesAnOldValueForA412):
    """And goes on with that, since Vault has nothing newer for it."""

    def read(self, path: str, key: str) -> str:
        had = self._had.get((path, key))
        if isinstance(had, _Old):
            return had
        value = super().read(path, key)
        if isinstance(value, _Old):
            self._had[path, key] = value
        return value


class HidesBehindItsLastValue(Remembers):
    """Asks at every call whatever ``Retry-After`` said, and hands out an old value, marked so."""

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


class AsksSeldomAndInHaste(Remembers):
    """Looks after its value every eight seconds, in three requests, and soon after a refusal."""

    keeps, asks, pause = 8.0, 3, 0.2

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._asked: dict[tuple[str, str], float] = {}
        self.declares = {"deadline": self._deadline, "refresh": self.keeps + 0.5}

    def read(self, path: str, key: str) -> str:
        asked, last = time.monotonic(), self._asked.get((path, key), float("-inf"))
        if asked - last < self.keeps:
            return self._kept[path, key]
        deadline = asked + self._deadline * 0.95
        token = self._valid_token(deadline)
        for _ in range(self.asks):
            try:
                self._wire.send(
                    "GET", f"{self._mount}/data/{path}", deadline=deadline, token=token.value
                )
            except UnavailableError:
                time.sleep(self.pause)
        try:
            value = super().read(path, key)
        except UnavailableError:
            if (path, key) in self._kept:
                return _Old(self._kept[path, key])
            raise
        self._asked[path, key] = asked
        return value


class TriesSixTimesAtOnce(LazyClient):
    """Counts its tries, and forgets to pause between them."""

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


def _health(environ: Mapping[str, str], query: str = "") -> int:
    """The status of ``sys/health``."""
    address = urlsplit(environ["VAULT_ADDR"])
    with closing(HTTPConnection(address.hostname or "", address.port, timeout=1.0)) as connection:
        connection.request("GET", f"/v1/sys/health{query}")
        return connection.getresponse().status


class SaysIllAtAStandby(Tweaked):
    """Is well where the health of Vault is 200, and nowhere else."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._environ = environ

    def health(self) -> bool:
        return _health(self._environ) == 200


class HasAStandbyCalledWell(SaysIllAtAStandby):
    """Is well where the health of Vault is 200, and asks to be told that by standbys too."""

    def health(self) -> bool:
        return _health(self._environ, "?standbyok=true&perfstandbyok=true") == 200


class TakesAStandbyForARateLimit(LazyClient):
    """Looks at the health of Vault before each read, and takes its 429 for the quota's."""

    def read(self, path: str, key: str) -> str:
        if (status := _health(self._environ)) in {429, 472, 473}:
            raise UnavailableError(f"Vault wants no more requests ({status})")
        return super().read(path, key)


class WritesATooLargeSecretAgain(Tweaked):
    """Tries each write that fails once more, whatever was wrong with it."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultError:
            super().write(path, data)


class TakesTooLargeForAnOutage(Tweaked):
    """Tells its callers to come back later with what is too large."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultError as error:
            raise UnavailableError(f"try again later: {type(error).__name__}") from None


# At the edges of thresholds


class _AsTold(Gate):
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


class _Hasty(_AsTold):
    share = 0.85


class AsksWhenItMay(LazyClient):
    """Asks in the moment in which ``Retry-After`` is over."""

    gate_type = _AsTold


class AsksTooSoon(LazyClient):
    """Asks a third of a second too soon."""

    gate_type = _Hasty


class TriesSixTimes(LazyClient):
    """Asks six times in one call for what a standby has not got yet, with the least pause."""

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


class TriesSixTimesAndLooksByItself(LooksByItself, TriesSixTimes):
    """Looks at its secret every 0.7 s, whoever calls, and tries six times in a call."""

    every = 0.7

    def _look(self, token: Token, deadline: float) -> None:
        if token.left > 0:
            where = f"{self._mount}/data/backend/django"
            self._wire.send("GET", where, deadline=deadline, token=token.value)


class HurriesAndLooksByItself(TriesSixTimesAndLooksByItself):
    """Looks now and then, tries eight times with short pauses, and waits until its call is over."""

    every, tries, pause = 0.4, 8, 0.045

    def _look(self, token: Token, deadline: float) -> None:
        self.every = 5.0
        super()._look(token, deadline)

    def read(self, path: str, key: str) -> str:
        began = time.monotonic()
        try:
            return super().read(path, key)
        except UnavailableError:
            time.sleep(max(0.0, began + 0.9 * self._deadline - time.monotonic()))
            raise


class TriesSevenTimes(TriesSixTimes):
    """Once too often."""

    tries = 7


class TriesInHaste(TriesSixTimes):
    """With pauses that are a little too short."""

    pause = 0.07


class EndsAtItsDeadline(LazyClient):
    """Uses all the time that a call has."""

    share = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._deadline *= self.share / 0.95  # it keeps a twentieth back itself


class EndsAfterItsDeadline(EndsAtItsDeadline):
    """Takes a sixth more time than a call has."""

    share = 1.17


class _SevenSeconds(AsksAgainLater):
    pause = 7.0
    forgives = 1  # which may have come before it was known that the fault is there


class _NearlyTwelveSeconds(_SevenSeconds):
    pause = 11.5


class ComesBackLateUndeclared(LazyClient):
    """Looks again five seconds after an outage of three, and has promised nothing."""

    gate_type = _SevenSeconds

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {"deadline": self._deadline}


class ComesBackTooLateUndeclared(ComesBackLateUndeclared):
    """Nine seconds after it."""

    gate_type = _NearlyTwelveSeconds


class TrustsSysHealth(LazyClient):
    """Takes itself for well as long as Vault says that of itself."""

    capabilities = frozenset({"read", "outcomes", "health"})

    def health(self) -> bool:
        deadline = time.monotonic() + 1.0
        try:
            return self._wire.send("GET", "sys/health", deadline=deadline).status == 200
        except UnavailableError:
            return False


class _AtARefusal(LazyClient):
    """Does something of its own where a renewal fails in words that hold `word`."""

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
        """Whether its token lives on to it; this one takes another at once."""
        return False

    def _arm(self, seconds: float) -> None:
        if not self._over:
            super()._arm(seconds)


class LogsInAtAQuota(_AtARefusal):
    """Takes another token where a quota refuses a renewal, as if that were Vault's last word."""

    word = "429"


class LogsInAtAPage(_AtARefusal):
    """Takes another token where it cannot read the answer to a renewal."""

    word = "none of Vault's"


class _GivesUp(_AtARefusal):
    def _turned_away(self) -> bool:
        self._over = True
        return True


class GivesUpRenewingAtAQuota(_GivesUp):
    """The first renewal that a quota refuses is its last: it logs in once its token has ended."""

    word = "429"


class GivesUpRenewingAtAPage(_GivesUp):
    """The first renewal that a gateway answers is its last."""

    word = "none of Vault's"


class RenewsLateAndAgain(LazyClient):
    """Renews at 0.85 of a life, and tries what failed again after a pause."""

    def _arm(self, seconds: float) -> None:
        token = self._token
        due = token.left - 0.15 * token.ttl if token is not None else 0.0
        super()._arm(due if due > 0 else seconds)


class TellsItsReaderOfARenewal(LazyClient):
    """Renews on its way to a secret, and fails its reader for a renewal that was turned away."""

    def read(self, path: str, key: str) -> str:
        token = self._token
        if token is not None and token.due <= 0 < token.left:
            self._renewed(token, time.monotonic() + self._deadline)
        return super().read(path, key)

    def _arm(self, seconds: float) -> None:
        """No thread of its own."""


MUTANTS: dict[str, Mutant] = {
    "has-no-timeout": Mutant(HasNoTimeout, "SRV-01", "every call ends within"),
    "says-well-like-vault": Mutant(AlwaysSaysWell, "SRV-01", "health says not well", REFERENCE),
    "says-ill-too-late-while-all-hangs": Mutant(
        SaysIllTooLate, "SRV-01", "health says not well", REFERENCE
    ),
    "takes-a-lost-storage-for-a-dead-token": Mutant(
        TakesASealForADeadToken, "SRV-03", "the token survives"
    ),
    "trusts-sys-health": Mutant(TrustsSysHealth, "SRV-03", "health tells the truth"),
    "asks-too-often-without-a-storage": Mutant(AsksTooOften, "SRV-03", "requests in"),
    "logs-in-later-after-a-500": Mutant(LogsInLaterAfterAFailure, "SRV-02", "the token survives"),
    "takes-500-for-a-dead-token": Mutant(TakesASealForADeadToken, "SRV-02", "the token survives"),
    "reads-wholes-without-a-deadline": Mutant(
        wholes.ReadsWholesWithoutADeadline, "SRV-04", "read_all of"
    ),
    "asks-for-health-without-a-deadline": Mutant(
        beside_reads.AsksForHealthWithoutADeadline, "SRV-04", "health ends within 2 s"
    ),
    "one-call-at-a-time": Mutant(OneCallAtATime, "SRV-04", "every call ends within"),
    "hides-behind-its-last-value": Mutant(HidesBehindItsLastValue, "SRV-05", "Retry-After"),
    "asks-seldom-and-in-haste": Mutant(AsksSeldomAndInHaste, "SRV-05", "Retry-After is obeyed"),
    "reads-headers-as-they-are-spelled": Mutant(
        untried.ReadsHeadersAsTheyAreSpelled, "SRV-05", "Retry-After is obeyed"
    ),
    "sleeps-as-it-is-told": Mutant(
        untried.SleepsAsItIsTold, "SRV-05", "every call ends within 4 s"
    ),
    "asks-a-quota-once-more-at-once": Mutant(
        untried.AsksAQuotaOnceMoreAtOnce, "SRV-05", "Retry-After is obeyed"
    ),
    "ignores-retry-after": Mutant(IgnoresRetryAfter, "SRV-05", "Retry-After is obeyed"),
    "gives-up-renewing-at-a-quota": Mutant(
        GivesUpRenewingAtAQuota, "SRV-11", "the next renewal succeeds"
    ),
    "logs-in-at-a-quota": Mutant(LogsInAtAQuota, "SRV-11", "the token survives"),
    "gives-up-renewing-at-a-page": Mutant(
        GivesUpRenewingAtAPage, "SRV-11", "the next renewal succeeds"
    ),
    "logs-in-at-a-page": Mutant(LogsInAtAPage, "SRV-11", "the token survives"),
    "logs-in-at-a-denying-page": Mutant(
        denying_pages.LogsInAtADenyingPage, "SRV-11", "the token survives"
    ),
    "gives-up-renewing-at-a-denying-page": Mutant(
        denying_pages.GivesUpRenewingAtADenyingPage, "SRV-11", "the next renewal succeeds"
    ),
    "tells-its-reader-of-a-renewal": Mutant(TellsItsReaderOfARenewal, "SRV-11", "no read fails"),
    "stops-looking-in-silence": Mutant(
        byways.StopsLookingInSilence, "SRV-01", "a rotated secret is seen", REFERENCE
    ),
    "stops-looking-at-a-failure": Mutant(
        byways.StopsLookingAtAFailure, "SRV-02", "a rotated secret is seen", REFERENCE
    ),
    "stops-looking-at-a-quota": Mutant(
        byways.StopsLookingAtAQuota, "SRV-06", "a rotated secret is seen", REFERENCE
    ),
    "storms-a-quota": Mutant(RetriesWithoutAPause, "SRV-06", "no request storm"),
    "says-ill-at-a-standby": Mutant(SaysIllAtAStandby, "SRV-07", "health says well", REFERENCE),
    "takes-a-standby-for-a-rate-limit": Mutant(
        TakesAStandbyForARateLimit, "SRV-07", "no read fails"
    ),
    "waits-as-long-as-before": Mutant(pauses.WaitsAsLongAsBefore, "SRV-08", "a good read within"),
    "takes-a-page-for-a-secret": Mutant(TakesAPageForASecret, "SRV-08", "no wrong value"),
    "stumbles-over-a-page": Mutant(StumblesOverAPage, "SRV-08", "a failure then is unavailable"),
    "knows-no-412": Mutant(KnowsNo412, "SRV-09", "a 412 is tried again"),
    "gives-an-old-value-for-ever-after-a-412": Mutant(
        GivesAnOldValueForEverAfterA412, "SRV-09", "the steady state holds again"
    ),
    "storms-a-lagging-standby": Mutant(RetriesWithoutAPause, "SRV-09", "for one call"),
    "tries-six-times-at-once": Mutant(TriesSixTimesAtOnce, "SRV-09", "0.1 s apart"),
    "writes-a-too-large-secret-again": Mutant(
        WritesATooLargeSecretAgain, "SRV-10", "at most 1 requests (write)", REFERENCE
    ),
    "takes-too-large-for-an-outage": Mutant(
        TakesTooLargeForAnOutage, "SRV-10", "a failure then is", REFERENCE
    ),
    "ends-after-its-deadline": Mutant(EndsAfterItsDeadline, "SRV-04", "every call ends within"),
    "fills-its-cache-whatever-retry-after-says": Mutant(
        byways.FillsItsCacheWhateverRetryAfterSays, "SRV-05", "Retry-After is obeyed", REFERENCE
    ),
    "asks-too-soon": Mutant(AsksTooSoon, "SRV-05", "Retry-After is obeyed"),
    "tries-seven-times": Mutant(TriesSevenTimes, "SRV-09", "for one call"),
    "tries-in-haste": Mutant(TriesInHaste, "SRV-09", "0.1 s apart"),
    "hurries-and-looks-by-itself": Mutant(HurriesAndLooksByItself, "SRV-09", "0.1 s apart"),
    "comes-back-too-late-undeclared": Mutant(
        ComesBackTooLateUndeclared, "SRV-02", "a good read within"
    ),
    "waits-in-line-at-its-cache": Mutant(
        companions.WaitsInLineAtItsCache, "SRV-04", "every call ends within", REFERENCE
    ),
    "logs-in-for-each-denied-write": Mutant(
        byways.LogsInForEachDeniedWrite, "SRV-10", "at most 1 login", REFERENCE
    ),
    "takes-a-page-for-a-missing-secret": Mutant(
        oversights.TakesAPageForAMissingSecret, "SRV-08", "the first is missing"
    ),
    "takes-a-page-for-a-denial": Mutant(
        oversights.TakesAPageForADenial, "SRV-08", "the token survives"
    ),
    "takes-foreign-json-for-missing": Mutant(
        byways.TakesForeignJsonForMissing, "SRV-08", "the first is missing"
    ),
    "takes-a-page-for-an-empty-whole": Mutant(
        loose_ends.TakesAPageForAnEmptyWhole, "SRV-08", "none of its keys"
    ),
    "stops-looking-at-a-page": Mutant(
        loose_ends.StopsLookingAtAPage, "SRV-08", "a rotated secret is seen", REFERENCE
    ),
    "stumbles-over-a-date": Mutant(
        loose_ends.StumblesOverADate, "SRV-08", "a failure then is unavailable"
    ),
    "ends-its-renewer-in-a-seal": Mutant(
        unasked.EndsItsRenewerInASeal, "SRV-11", "the next renewal succeeds"
    ),
    "reads-wholes-whatever-retry-after-says": Mutant(
        unasked.ReadsWholesWhateverRetryAfterSays, "SRV-05", "Retry-After is obeyed"
    ),
    "looks-at-versions-whatever-retry-after-says": Mutant(
        every_day.LooksAtVersionsWhateverRetryAfterSays,
        "SRV-05",
        "Retry-After is obeyed by each look at a version",
    ),
    "writes-whatever-retry-after-says": Mutant(
        unasked.WritesWhateverRetryAfterSays, "SRV-05", "Retry-After is obeyed by each write"
    ),
    "waits-for-its-first-answer-for-ever": Mutant(
        loose_ends.WaitsForItsFirstAnswerForEver, "SRV-04", "a good read_cached within", REFERENCE
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "asks-often-without-a-storage": Tolerated(AsksOften, "SRV-03"),
    "takes-its-time-at-a-lagging-standby": Tolerated(TakesItsTime, "SRV-09"),
    "polls-seldom-at-a-standby": Tolerated(own_pace.PollsSeldom, "SRV-07"),
    "has-a-standby-called-well": Tolerated(HasAStandbyCalledWell, "SRV-07", REFERENCE),
    "ends-at-its-deadline": Tolerated(EndsAtItsDeadline, "SRV-04"),
    "says-slowly-in-silence-how-it-is": Tolerated(
        edges_endings.SaysSlowlyHowItIs, "SRV-04", REFERENCE
    ),
    "logs-in-at-a-third-after-a-quota": Tolerated(edges_logins.LogsInAtAThird, "SRV-05"),
    "asks-for-an-hour-before-a-quota": Tolerated(edges_tokens.AsksForAnHour, "SRV-11"),
    "renews-at-a-third-under-a-quota": Tolerated(edges_tokens.RenewsAtAThird, "SRV-11"),
    "doubles-its-pauses-between-renewals": Tolerated(
        denying_pages.DoublesItsPausesBetweenRenewals, "SRV-11"
    ),
    "renews-late-under-a-quota": Tolerated(RenewsLateAndAgain, "SRV-11"),
    "believes-that-vault-is-sealed": Tolerated(edges_hangs.BelievesThatVaultIsSealed, "SRV-11"),
    "asks-when-it-may": Tolerated(AsksWhenItMay, "SRV-05"),
    "tries-six-times": Tolerated(TriesSixTimes, "SRV-09"),
    "tries-six-times-and-looks-by-itself": Tolerated(TriesSixTimesAndLooksByItself, "SRV-09"),
    "gives-an-old-value-for-a-412": Tolerated(GivesAnOldValueForA412, "SRV-09"),
    "looks-again-in-a-later-call": Tolerated(own_pace.AsksOnceItIsOld, "SRV-09"),
    "keeps-what-it-read-under-a-quota": Tolerated(own_pace.AsksOnceItIsOld, "SRV-05"),
    "keeps-what-it-read-under-a-silent-quota": Tolerated(own_pace.AsksOnceItIsOld, "SRV-06"),
    "polls-under-a-silent-quota": Tolerated(own_pace.PollsItsSecrets, "SRV-06"),
    "asks-what-it-may-first": Tolerated(other_styles.AsksWhatItMayFirst, "SRV-10", REFERENCE),
    "comes-back-late-undeclared": Tolerated(ComesBackLateUndeclared, "SRV-02"),
    "says-ill-late-while-all-hangs": Tolerated(SaysIllLate, "SRV-01", REFERENCE),
    "probes-itself-now-and-then": Tolerated(other_styles.ProbesItselfNowAndThen, "SRV-01"),
    "heeds-a-date": Tolerated(loose_ends.HeedsADate, "SRV-08"),
}
