"""Clients that break TOK-11 to 13 or 19 to 21: a lost token, start and shutdown."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import signal
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus

from resilient_vault_client import VaultClient
from tests.mutants.clients import (
    AtShare,
    CachesForTheRefreshTime,
    KeepsThreeSecretsFresh,
    LogsInThreeTimes,
    Mutant,
    ReadsWholeSecretsWithItsFirstToken,
    Shaken,
    Tolerated,
    Writes,
    _KeyByKeyAsEver,
    by_name,
)
from tests.mutants.login_clients import (
    AsksForAnHour,
    EndsWithACallInTime,
    KeepsLongAndLogsInAtAThird,
    LoadsAtItsFirstRead,
    LogsInAtAThird,
    LogsInAtHalfALife,
    LooksUpItsOldToken,
    PollsSeldom,
    SendsOnceMore,
)
from tests.mutants.reference_clients import Tweaked
from tests.mutants.tok_replacement import RenewsEachTokenOnce
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    ClientError,
    DeniedError,
    GivenUpError,
    MissingError,
    Reply,
)

# TOK-11


class WritesWithItsFirstToken(Writes):
    _first: Token | None = None

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._first = self._first or token
        return token

    def write(self, path: str, data: Mapping[str, str]) -> None:
        deadline = time.monotonic() + self._deadline * 0.95
        token = self._first or self._valid_token(deadline)
        reply = self._post(f"{self._mount}/data/{path}", deadline, token, data)
        if reply.status != 200:
            raise DeniedError(f"the policy denies writing {path}")


class LogsInSlowly(LazyClient):
    """Waits a while, even if calls fail meanwhile."""

    after = 1.4
    _due: float | None = 0.0  # the first login is due at once

    def _log_in(self, deadline: float) -> Token:
        now, last = time.monotonic(), deadline - 0.15  # a login takes time too
        if self._due is None:
            self._due = now + self.after
        time.sleep(max(0.0, min(self._due, last) - now))
        if self._due > last:
            raise GivenUpError("it still thinks about the token that it has lost")
        self._due = None
        return super()._log_in(deadline)


class TreatsADeadTokenAsAMissingSecret(LazyClient):
    """The next call logs in."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        where, token = f"{self._mount}/data/{path}", self._valid_token(deadline)
        reply = self._ask("GET", where, deadline, token)
        if reply.status == HTTPStatus.FORBIDDEN:
            if self._was_dead(where, token, deadline):
                raise MissingError(f"there is no {path}")
            raise DeniedError(f"the policy denies {path}")
        return reply


class DeniesWholeSecretsAfterADeadToken(LogsInAtAThird, _KeyByKeyAsEver):
    """Takes one refusal of a dead token for a denial of whole secrets, for ten seconds."""

    keeps = 9.8

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "refresh": 10.0}
        self._denied_until = 0.0

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        dead = super()._was_dead(where, token, deadline)
        if dead:
            self._denied_until = time.monotonic() + self.keeps
        return dead

    def read_all(self, path: str) -> dict[str, str]:
        if time.monotonic() < self._denied_until:
            raise DeniedError(f"the policy denied {path}")
        return super().read_all(path)


class MeetsItsLossAtItsNextPoll(PollsSeldom, LogsInAtHalfALife):
    """It may replace a lost token on time, before anything was refused."""

    def _log_in(self, deadline: float) -> Token:
        old = self._token
        token = super()._log_in(deadline)
        if old is not None:
            with contextlib.suppress(ClientError):
                self._ask("POST", "auth/token/revoke-self", deadline, old, {})
        return token


# TOK-12


class LogsInOncePerThread(LazyClient):
    """Has no single flight: each thread with a dead token logs in for itself."""

    def _was_dead(self, _: str, token: Token, deadline: float) -> bool:
        looked = self._ask("GET", "auth/token/lookup-self", deadline, token)
        if looked.status != 403:
            return False
        self._log_in(deadline)
        return True


class AsksOnceForAll(CachesForTheRefreshTime):
    """Has a cache, and asks once for all callers of a secret: Vault sees one request for fifty."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._turns: dict[str, threading.Lock] = {}

    def read(self, path: str, key: str) -> str:
        with self._turns.setdefault(path, threading.Lock()):
            return super().read(path, key)


class TreatsATokenLostByAnotherCallAsADenial(LazyClient):
    """One of many callers is served again, and the others never."""

    keeps = float("inf")

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._refused: dict[str, float] = {}

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        with self._held(deadline):
            if self._token is not token:
                self._refused[where] = time.monotonic()
                return False
            return super()._was_dead(where, token, deadline)

    def _fetch(self, path: str, deadline: float) -> Reply:
        refused = self._refused.get(f"{self._mount}/data/{path}", float("-inf"))
        if time.monotonic() - refused < self.keeps:
            raise DeniedError(f"the policy denies {path}")
        return super()._fetch(path, deadline)


# TOK-19


class RevokesNoTokenAtItsEnd(LazyClient):
    def close(self) -> None:
        self._token = None
        super().close()


class RaisesAnErrorAtItsEnd(LazyClient):
    """Ends, and then fails on something that it has already released."""

    def close(self) -> None:
        super().close()
        raise RuntimeError("it is closed already")


class RevokesItsTokenByADeniedPath(LazyClient):
    """Revokes its token by the path for any token, for which it lacks the right."""

    def close(self) -> None:
        token, self._token = self._token, None
        super().close()
        if token is not None:
            deadline, body = time.monotonic() + 1.0, {"token": token.value}
            with contextlib.suppress(ClientError):
                self._wire.send(
                    "POST", "auth/token/revoke", deadline=deadline, token=token.value, body=body
                )


class RevokesOnlyItsLastToken(LazyClient):
    """Logs in again at its second read, and forgets its first token."""

    _reads = 0

    def read_all(self, path: str) -> dict[str, str]:
        self._reads += 1
        if self._reads == 2:
            deadline = time.monotonic() + self._deadline
            with self._held(deadline):
                self._log_in(deadline)
        return super().read_all(path)


class LogsInAfterItsEnd(LazyClient):
    """Revokes its token at its end, but its renewer still runs and gets another.

    The end of a process ends such a renewer. A client that is closed and made again within a
    process, as in a test or at a reload, leaves it behind.
    """

    def close(self) -> None:
        token = self._token
        if token is not None:
            deadline = time.monotonic() + 2.0
            with contextlib.suppress(ClientError):
                self._wire.send(
                    "POST", "auth/token/revoke-self", deadline=deadline, token=token.value
                )


class LogsInForACallerAfterItsEnd(LazyClient):
    """Revokes its token at its end, and gets another for a caller after that."""

    def _log_in(self, deadline: float) -> Token:
        closed, self._closed = self._closed, False
        try:
            return super()._log_in(deadline)
        finally:
            self._closed = closed


# TOK-20


class RevokesNoTokenOfAnUnfinishedLogin(LogsInAfterItsEnd):
    """It begins no other login."""

    def close(self) -> None:
        self._closed = True
        super().close()


class RevokesNoTokenAtItsEndAfterAnOutage(Shaken):
    def close(self) -> None:
        if self._shaken:
            self._token = None
        super().close()


class RevokesNoTokenOnSigterm(LazyClient):
    """Revokes its token on `close`; the signal of a deployment kills it."""

    def read(self, path: str, key: str) -> str:
        # Python handles SIGTERM; C can reset that from any thread.
        ctypes.CDLL(None).signal(int(signal.SIGTERM), None)
        return super().read(path, key)


class TakesASecondToEnd(LazyClient):
    """A thread notices the end of its client."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        threading.Thread(target=self._wait_for_the_end, name="renewer", daemon=True).start()

    def _wait_for_the_end(self) -> None:
        while not self._closed:
            time.sleep(1.0)


# TOK-21


class LogsInForEachRead(LazyClient):
    """Does not remember its token."""

    def _valid_token(self, deadline: float) -> Token:
        with self._held(deadline):
            return self._log_in(deadline)


class LogsInForItsHealth(Tweaked):
    """Makes a client of its own for each health question, and is well if that can log in."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._environ = environ

    def health(self) -> bool:
        own = VaultClient(environ=self._environ)
        try:
            return own.health().ok
        finally:
            own.close()


class SpinsWhileIdle(LazyClient):
    """A thread checks whether there is anything to do."""

    rests = 0.001

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._closed:
            until = time.monotonic() + 0.01
            while time.monotonic() < until and not self._closed:
                pass
            time.sleep(self.rests)


class OverflowsItsTimer(AtShare):
    """Milliseconds in 31 bits, as JavaScript's `setTimeout`: over 24.8 days it fires at once."""

    share = 0.8

    def _arm(self, seconds: float) -> None:
        token = self._token
        due = token.ttl * self.share if token is not None else seconds
        LazyClient._arm(self, due if due * 1000 < 2**31 else 0.001)


class LooksUpItsTokenForEveryFourthRead(LazyClient):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._numbers = itertools.count(1)

    def looks(self, number: int) -> bool:
        return number % 4 == 0

    def _fetch(self, path: str, deadline: float) -> Reply:
        if self.looks(next(self._numbers)):
            self._ask("GET", "auth/token/lookup-self", deadline, self._valid_token(deadline))
        return super()._fetch(path, deadline)


class LooksUpItsTokenForTwoReadsOfFive(LooksUpItsTokenForEveryFourthRead):
    def looks(self, number: int) -> bool:
        """Return whether this is the second or last of five reads."""
        return number % 5 in (0, 2)


class LogsInForEachFirstCaller(LazyClient):
    """Logs in once at a time after it has a token. Before that, every caller logs in."""

    _begun = False

    def _valid_token(self, deadline: float) -> Token:
        if self._begun:
            return super()._valid_token(deadline)
        token = self._log_in(deadline)
        self._begun = True
        return token


MUTANTS = by_name(
    Mutant(WritesWithItsFirstToken, "TOK-11", "a write is good again"),
    Mutant(LogsInThreeTimes, "TOK-11", "at most 1 login"),
    Mutant(ReadsWholeSecretsWithItsFirstToken, "TOK-11", "a good read_all within"),
    Mutant(LogsInSlowly, "TOK-11", "a new login within").called("logs-in-too-late", after=4.0),
    Mutant(SendsOnceMore, "TOK-11", "known to be dead").called(
        "sends-a-request-with-its-dead-token"
    ),
    Mutant(TreatsADeadTokenAsAMissingSecret, "TOK-11", "never called missing or deleted"),
    Mutant(LogsInOncePerThread, "TOK-12", "at most 1 login"),
    Mutant(LogsInSlowly, "TOK-12", "a new login within").called(
        "logs-in-too-late-for-fifty", after=5.4
    ),
    Mutant(TreatsATokenLostByAnotherCallAsADenial, "TOK-12", "a good read within"),
    Mutant(LogsInThreeTimes, "TOK-13", "at most 1 login").called(
        "logs-in-three-times-for-a-lost-child-token"
    ),
    Mutant(LogsInSlowly, "TOK-13", "a new login within").called(
        "logs-in-too-late-for-a-lost-child-token", after=4.0
    ),
    Mutant(LooksUpItsOldToken, "TOK-13", "known to be dead").called("looks-up-a-lost-child-token"),
    Mutant(RevokesNoTokenAtItsEnd, "TOK-19", "tokens alive"),
    Mutant(EndsWithACallInTime, "TOK-19", "seconds until it has ended").called(
        "ends-too-late-without-a-fault", lasts=6.9
    ),
    Mutant(RaisesAnErrorAtItsEnd, "TOK-19", "it ends cleanly"),
    Mutant(RevokesItsTokenByADeniedPath, "TOK-19", "tokens alive five seconds after the end"),
    Mutant(RevokesOnlyItsLastToken, "TOK-19", "tokens alive five seconds after the end"),
    Mutant(LogsInAfterItsEnd, "TOK-19", "tokens alive when that token would have ended"),
    Mutant(LogsInForACallerAfterItsEnd, "TOK-19", "tokens alive five seconds after the end"),
    Mutant(RevokesNoTokenOfAnUnfinishedLogin, "TOK-20", "tokens alive"),
    Mutant(RevokesNoTokenAtItsEndAfterAnOutage, "TOK-20", "tokens alive"),
    Mutant(RevokesNoTokenOnSigterm, "TOK-20", "tokens alive", process=True),
    Mutant(LogsInForEachRead, "TOK-21", "at most 1 login"),
    Mutant(LogsInForItsHealth, "TOK-21", "at most 1 login"),
    Mutant(KeepsThreeSecretsFresh, "TOK-21", "at most 27 requests").called(
        "polls-its-secrets-too-often", every=0.01
    ),
    Mutant(SpinsWhileIdle, "TOK-21", "seconds of a processor", process=True),
    Mutant(OverflowsItsTimer, "TOK-21", "at most 1 renewal"),
    Mutant(RenewsEachTokenOnce, "TOK-21", "at most 1 renewal").called(
        "renews-a-long-lived-token-twice", at_the_first=2
    ),
    Mutant(LooksUpItsTokenForTwoReadsOfFive, "TOK-21", "requests (lookup and capabilities)"),
    Mutant(LogsInForEachFirstCaller, "TOK-21", "at most 1 login"),
)


TOLERATED = by_name(
    Tolerated(DeniesWholeSecretsAfterADeadToken, "TOK-11"),
    Tolerated(LogsInSlowly, "TOK-11").called("logs-in-late"),
    Tolerated(SendsOnceMore, "TOK-11").called(
        "has-a-request-in-flight-when-its-token-is-replaced", late=0.1
    ),
    # Keeps values for longer than two thirds: it may log in twice before it asks again.
    Tolerated(KeepsLongAndLogsInAtAThird, "TOK-11").called(
        "notices-a-lost-token-at-its-third-login", keeps=14.5
    ),
    Tolerated(MeetsItsLossAtItsNextPoll, "TOK-11").called("notices-a-lost-token-at-its-next-poll"),
    Tolerated(TreatsATokenLostByAnotherCallAsADenial, "TOK-12").called(
        "treats-a-token-lost-by-another-call-as-a-denial-once", keeps=4.8
    ),
    Tolerated(AsksOnceForAll, "TOK-12").called("answers-fifty-from-memory"),
    Tolerated(LogsInSlowly, "TOK-12").called("logs-in-late-for-fifty", after=2.6),
    # Has such a request wait for a connection, which a slow link keeps busy.
    Tolerated(SendsOnceMore, "TOK-12").called(
        "has-a-request-waiting-for-a-connection-when-its-token-is-replaced", late=0.9
    ),
    Tolerated(LogsInSlowly, "TOK-13").called("logs-in-late-for-a-lost-child-token"),
    Tolerated(EndsWithACallInTime, "TOK-19").called("ends-late-without-a-fault", lasts=4.4),
    Tolerated(TakesASecondToEnd, "TOK-20"),
    Tolerated(LoadsAtItsFirstRead, "TOK-21").called("loads-code-under-ten-first-reads"),
    Tolerated(AsksForAnHour, "TOK-21").called("asks-for-an-hour-of-a-month"),
    Tolerated(SpinsWhileIdle, "TOK-21", process=True).called(
        "wakes-up-with-pauses-while-idle", rests=0.09
    ),
    Tolerated(KeepsThreeSecretsFresh, "TOK-21").called("polls-its-secrets-often"),
    Tolerated(LooksUpItsTokenForEveryFourthRead, "TOK-21"),
)
