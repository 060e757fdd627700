"""Clients that break SEA-01 to 04 or 06 to 09: one client and a sealed Vault."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from resilient_vault_client import Secret, VaultError, VaultSealed, VaultUnavailable
from tests.mutants.clients import (
    AsksOften,
    GivesUpAtItsStart,
    KeepsFiveInReserve,
    KeepsThreeSecretsFresh,
    LeavesFiveThreads,
    LogsInLaterAfterAFailure,
    LogsInOnceMoreLater,
    LogsInThreeTimes,
    Mutant,
    NeverRecovers,
    PausesBeforeItWritesAgain,
    Tolerated,
    TreatsAnOutageAsAnEmptySecret,
    TreatsASealAsADeadToken,
    _CallsItSomethingElse,
    _Reconnects,
    by_name,
)
from tests.mutants.login_clients import (
    AnswersFromMemory,
    AsksForAnHour,
    ExitsInAnOutage,
    LoadsWhileItIsFirstAsked,
    LogsInAtAThird,
    LogsInForEachCall,
    PausesForFourSeconds,
    StartsWithAToken,
    WantsVaultAtItsSlowStart,
)
from tests.mutants.reference_clients import StopsRefreshingAfterA429, Tweaked
from tests.subjects.lazy_client import LazyClient, Token, _secret, log
from tests.subjects.lazy_wire import (
    FIRST_PAUSE,
    ClientError,
    DeniedError,
    Gate,
    Reply,
    UnavailableError,
)


class WaitsEverLonger(Gate):
    """Triples its pause without a limit."""

    def __init__(self, longest: float) -> None:
        super().__init__(longest)
        self._longest = 3600.0

    def _leave(self, *, probe: bool, failed: bool, pause: float) -> None:
        grown = FIRST_PAUSE * 3.0 ** min(self._failures, 9) if failed else 0.0
        super()._leave(probe=probe, failed=failed, pause=max(grown, pause))


# SEA-01


class LogsInALoopWhileVaultIsAway(LazyClient):
    """A thread waits for a flag, and logs each look; it sends nothing."""

    lines, pause = 50, 0.005
    _waiting: threading.Thread | None = None
    _away = False

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        try:
            reply = super()._ask(method, path, deadline, token, body)
        except UnavailableError:
            self._away = True
            if self._waiting is None or not self._waiting.is_alive():
                self._waiting = threading.Thread(target=self._wait, name="waits", daemon=True)
                self._waiting.start()
            raise
        self._away = False
        return reply

    def _wait(self) -> None:
        while self._away and not self._closed:
            for _ in range(self.lines):
                log.info("Vault is away; waiting for it")
            time.sleep(self.pause)


class FillsItsCacheOnlyByPlainReadsAfterASeal(Tweaked):
    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 0.0}

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._failed: dict[str, VaultError] = {}

    def read(self, path: str, key: str) -> Secret:
        found = super().read(path, key)
        self._failed.pop(path, None)
        return found

    def read_cached(self, path: str, key: str) -> Secret:
        if path in self._failed:
            raise self._failed[path]
        try:
            return super().read_cached(path, key)
        except VaultUnavailable as error:
            self._failed[path] = error
            raise


class PausesReadsOfUncachedSecrets(PausesForFourSeconds):
    """Refreshes and serves what it has read."""

    every, keeps = 0.5, 5.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[str, tuple[float, dict[str, str]]] = {}
        self._over = threading.Event()
        threading.Thread(target=self._refresh, name="refresh", daemon=True).start()

    def read_all(self, path: str) -> dict[str, str]:
        asked = time.monotonic()
        at, values = self._kept.get(path, (float("-inf"), {}))
        if asked - at >= self.keeps:
            values = super().read_all(path)
            self._kept[path] = asked, values
        return dict(values)

    def _refresh(self) -> None:
        while not self._over.wait(self.every):
            token = self._token
            for path in list(self._kept) if token is not None else []:
                assert token is not None
                asked = time.monotonic()
                where, deadline = f"{self._mount}/data/{path}", asked + self.every
                try:
                    reply = self._wire.send("GET", where, deadline=deadline, token=token.value)
                    self._kept[path] = asked, _secret(reply, path)
                except UnavailableError:
                    self._until = time.monotonic() + self.rests
                except ClientError:
                    self._kept.pop(path, None)  # the next caller gets the reason

    def close(self) -> None:
        self._over.set()
        super().close()


class PausesReadsOfUncachedSecretsForTooLong(PausesReadsOfUncachedSecrets):
    """Three times the four seconds that it declares."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.rests = 12.0


# SEA-02


class RecoversLateFromALongSeal(Gate):
    """Asks again a fixed time after the first failure: after a seal of 9.6 s."""

    pause = 10.9
    _paused = False

    def _enter(self, deadline: float) -> bool:
        return super()._enter(deadline - 0.4)  # a login that is cut off would be one too many

    def _leave(self, *, probe: bool, failed: bool, pause: float) -> None:
        first = failed and not self._paused
        self._paused = self._paused or failed
        super()._leave(probe=probe, failed=failed, pause=self.pause if first else pause)


class LogsInForEachCallerWithoutAToken(LazyClient):
    """It locks where it looks at a 403, but not where it takes the token."""

    def _valid_token(self, deadline: float) -> Token:
        token = self._token
        if token is None or token.left <= 0:
            return self._log_in(deadline)
        return super()._valid_token(deadline)

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        with self._held(deadline):
            dead = super()._was_dead(where, token, deadline)
            if dead and self._token is None:
                self._token = token  # callers from now on are refused, and wait at the lock
                self._log_in(deadline)
            return dead


# SEA-03


class FloodsVaultAtItsStart(LazyClient):
    """Asks for a token without a pause."""

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


class TreatsAGatewayPageForALoginAsARefusal(LazyClient):
    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except UnavailableError as error:
            if "none of Vault's" not in str(error):
                raise
            self._credentials.refused(self._credentials.current()[1])
            raise DeniedError("Vault refused role-id or secret-id") from None


# SEA-04


class LeavesOneThreadForEachSeal(LazyClient):
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


# SEA-06


# SEA-07


class InitialisesAnEmptyVault(LazyClient):
    """With one key, which it forgets."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except UnavailableError:
            with contextlib.suppress(UnavailableError):
                deadline = time.monotonic() + 1.0
                alone = {"secret_shares": 1, "secret_threshold": 1}
                self._wire.send("PUT", "sys/init", deadline=deadline, body=alone)
            raise


# SEA-08


class _EndsLate(LazyClient):
    """Takes time at its end, and leaves without a goodbye."""

    lasts = 4.5

    def close(self) -> None:
        threading.Event().wait(self.lasts)
        self._token = None
        super().close()


class EndsOnlyByASignal(LazyClient):
    """Ignores `close` and the end of its input."""

    takes = 0.0

    def close(self) -> None:
        told = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: told.set())
        told.wait(60.0)
        threading.Event().wait(self.takes)
        super().close()


class RaisesAtItsEndInASeal(LazyClient):
    """If it cannot revoke its token."""

    def close(self) -> None:
        token, self._token = self._token, None
        super().close()
        if token is not None:
            deadline = time.monotonic() + 1.0
            self._wire.send("POST", "auth/token/revoke-self", deadline=deadline, token=token.value)


class RaisesWhenNothingAnswersItsRevocation(LazyClient):
    """It handles only Vault's answers."""

    def close(self) -> None:
        token = self._token
        try:
            if token is not None:
                self._give_back(token)
        finally:
            self._token = None
            super().close()

    def _give_back(self, token: Token) -> None:
        deadline = time.monotonic() + 2.0
        try:
            self._wire.send("POST", "auth/token/revoke-self", deadline=deadline, token=token.value)
        except UnavailableError as error:
            if "Vault answered" not in str(error):
                raise


class RetriesItsRevocationWhileNothingAnswers(RaisesWhenNothingAnswersItsRevocation):
    """As if it could not end before."""

    def _give_back(self, token: Token) -> None:
        until = time.monotonic() + 30.0
        while time.monotonic() < until:
            try:
                super()._give_back(token)
                break
            except UnavailableError:
                time.sleep(0.4)


class WaitsForALoginAtItsEnd(LazyClient):
    _asked = False

    def read(self, path: str, key: str) -> str:
        self._asked = True
        return super().read(path, key)

    def close(self) -> None:
        while self._asked and self._token is None and not self._closed:
            with contextlib.suppress(ClientError):
                self._valid_token(time.monotonic() + 1.0)
            time.sleep(0.2)
        super().close()


class EndsInTime(_EndsLate):
    """Its end takes just less than five seconds."""


# SEA-09


class SpinsWhileItWaits(LogsInALoopWhileVaultIsAway):
    """A thread checks without a log, as a `select` in Go with a `default` does."""

    rests = 0.0

    def _wait(self) -> None:
        while self._away and not self._closed:
            until = time.monotonic() + 0.01
            while time.monotonic() < until and not self._closed:
                pass
            if self.rests:
                time.sleep(self.rests)


class NeverPausesAfter22Failures(Gate):
    """Doubles a pause in a 32-bit number before it applies the limit."""

    def _leave(self, **how: Any) -> None:
        super()._leave(**how)
        with self._changed:
            if how["failed"]:
                self._opens = time.monotonic() + self.pause_after(self._failures)

    def pause_after(self, failures: int) -> float:
        grown = (500 << failures) & 0xFFFFFFFF
        signed = grown - (1 << 32) if grown >> 31 else grown
        return min(signed / 1000, self._longest)


class CrashesAfter22Failures(NeverPausesAfter22Failures):
    """Its pause raises an error."""

    def _leave(self, **how: Any) -> None:
        if how["failed"] and self.pause_after(self._failures + 1) < 0:
            raise ValueError("sleep length must be non-negative")  # its probe never ends
        super()._leave(**how)


MUTANTS = by_name(
    Mutant(LogsInALoopWhileVaultIsAway, "SEA-01", "no log without a pause"),
    Mutant(TreatsAnOutageAsAnEmptySecret, "SEA-01", "none of its keys").called(
        "treats-a-seal-as-an-empty-secret"
    ),
    Mutant(TreatsASealAsADeadToken, "SEA-01", "the token survives"),
    Mutant(PausesBeforeItWritesAgain, "SEA-01", "a write is good again").called(
        "pauses-writes-after-a-seal"
    ),
    Mutant(FillsItsCacheOnlyByPlainReadsAfterASeal, "SEA-01", "a good read_cached within"),
    Mutant(StopsRefreshingAfterA429, "SEA-01", "a rotated secret is seen").called(
        "stops-refreshing-after-a-seal", ends_at=VaultSealed
    ),
    Mutant(LogsInLaterAfterAFailure, "SEA-01", "the token survives").called(
        "logs-in-later-after-a-short-seal"
    ),
    Mutant(AsksOften, "SEA-01", "no request storm").called("asks-too-often-in-a-seal", pace=0.01),
    Mutant(KeepsThreeSecretsFresh, "SEA-01", "requests in").called(
        "polls-three-secrets-too-often", every=0.01
    ),
    Mutant(ExitsInAnOutage, "SEA-01", "the client stays alive", process=True).called(
        "exits-in-a-seal", times=2
    ),
    Mutant(PausesReadsOfUncachedSecretsForTooLong, "SEA-01", "a good read_all within"),
    Mutant(_CallsItSomethingElse, "SEA-01", "a failure then is unavailable").called(
        "treats-a-seal-as-a-missing-secret", word="sealed"
    ),
    Mutant(NeverRecovers, "SEA-02", "a good read within").called(
        "never-recovers-after-a-long-seal"
    ),
    Mutant(RecoversLateFromALongSeal, "SEA-02", "a new login within").called(
        "recovers-too-late-from-a-long-seal", pause=14.4
    ),
    Mutant(LogsInThreeTimes, "SEA-02", "at most 1 login").called(
        "logs-in-three-times-after-a-seal"
    ),
    Mutant(LogsInForEachCallerWithoutAToken, "SEA-02", "at most 1 login"),
    Mutant(GivesUpAtItsStart, "SEA-03", "a good read within").called(
        "never-logs-in-after-a-failed-start"
    ),
    Mutant(StartsWithAToken, "SEA-03", "no request storm").called(
        "logs-in-too-often-at-its-start", longest=0.02
    ),
    Mutant(TreatsAGatewayPageForALoginAsARefusal, "SEA-03", "a failure then is unavailable"),
    Mutant(LeavesFiveThreads, "SEA-04", "leave nothing behind").called(
        "leaves-nine-threads", left=9
    ),
    Mutant(LeavesOneThreadForEachSeal, "SEA-04", "leave nothing behind"),
    Mutant(KeepsFiveInReserve, "SEA-04", "connections: 0 before").called(
        "keeps-nine-connections-in-reserve", reserve=9
    ),
    Mutant(TreatsASealAsADeadToken, "SEA-06", "the token survives").called(
        "treats-a-restart-as-a-dead-token"
    ),
    Mutant(NeverRecovers, "SEA-06", "a good read within").called("never-recovers-after-a-restart"),
    Mutant(_Reconnects, "SEA-06", "no connection storm").called(
        "reconnects-too-often-to-a-dead-server", pause=0.01
    ),
    Mutant(InitialisesAnEmptyVault, "SEA-07", "nobody initialises a Vault"),
    Mutant(FloodsVaultAtItsStart, "SEA-07", "no request storm").called("floods-an-empty-vault"),
    # A second and a half, which no busy machine explains.
    Mutant(_EndsLate, "SEA-08", "seconds until it has ended").called("ends-too-late", lasts=6.6),
    Mutant(EndsOnlyByASignal, "SEA-08", "seconds until it has ended", process=True).called(
        "ends-long-after-a-signal", takes=2.5
    ),
    Mutant(RaisesAtItsEndInASeal, "SEA-08", "it ends cleanly"),
    Mutant(RetriesItsRevocationWhileNothingAnswers, "SEA-08", "it ends cleanly"),
    Mutant(WaitsForALoginAtItsEnd, "SEA-08", "it ends cleanly"),
    Mutant(SpinsWhileItWaits, "SEA-09", "seconds of a processor", process=True),
    Mutant(WaitsEverLonger, "SEA-09", "a good read within").called(
        "waits-longer-after-each-failure"
    ),
    Mutant(NeverPausesAfter22Failures, "SEA-09", "no request storm"),
    Mutant(CrashesAfter22Failures, "SEA-09", "a good read within"),
    Mutant(LogsInOnceMoreLater, "SEA-09", "at most 1 login").called(
        "logs-in-again-later-after-a-long-seal"
    ),
)


TOLERATED = by_name(
    Tolerated(LogsInForEachCall, "SEA-01").called("logs-in-for-each-call-in-a-seal"),
    Tolerated(LogsInALoopWhileVaultIsAway, "SEA-01").called(
        "logs-with-a-pause-while-vault-is-away", lines=10, pause=0.02
    ),
    Tolerated(LogsInAtAThird, "SEA-01").called("logs-in-at-a-third-after-a-seal"),
    Tolerated(PausesReadsOfUncachedSecrets, "SEA-01"),
    Tolerated(AsksOften, "SEA-01").called("asks-often-in-a-seal"),
    Tolerated(KeepsThreeSecretsFresh, "SEA-01").called("polls-three-secrets"),
    Tolerated(LogsInForEachCall, "SEA-02").called("logs-in-for-each-call-in-a-long-seal"),
    Tolerated(AsksForAnHour, "SEA-02").called("asks-for-an-hour-before-a-seal"),
    Tolerated(AnswersFromMemory, "SEA-02").called("answers-from-memory-through-a-seal"),
    Tolerated(RecoversLateFromALongSeal, "SEA-02"),
    Tolerated(LoadsWhileItIsFirstAsked, "SEA-03").called("loads-code-at-a-sealed-vault"),
    Tolerated(WantsVaultAtItsSlowStart, "SEA-03").called("exits-without-a-token-at-its-slow-start"),
    Tolerated(StartsWithAToken, "SEA-03"),
    Tolerated(LeavesFiveThreads, "SEA-04"),
    Tolerated(KeepsFiveInReserve, "SEA-04").called("keeps-five-connections-in-reserve"),
    Tolerated(_Reconnects, "SEA-06").called("reconnects-often-to-a-dead-server"),
    Tolerated(LoadsWhileItIsFirstAsked, "SEA-08").called("loads-code-before-it-ends-in-a-seal"),
    Tolerated(EndsInTime, "SEA-08"),
    Tolerated(EndsOnlyByASignal, "SEA-08", process=True),
    Tolerated(SpinsWhileItWaits, "SEA-09", process=True).called(
        "wakes-up-with-pauses-while-it-waits", rests=0.09
    ),
)
