"""Clients that break PRC-01 to 03, 05 or 07: forks, sleep, health and shutdown."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping

from resilient_vault_client import Credential, VaultUnavailable
from resilient_vault_client._deadline import Deadline, clock
from resilient_vault_client._leases import Leases
from tests.mutants.clients import (
    AtShare,
    HangsAtTheEnd,
    LogsInThreeTimes,
    Mutant,
    Shaken,
    Tolerated,
    Writes,
    by_name,
)
from tests.mutants.login_clients import (
    AnswersFromMemory,
    AsksForAnHour,
    EndsWithACallInTime,
    LogsInAtAQuarter,
    LogsInAtHalfALife,
    LogsInFourSecondsAfterASleep,
    LooksUpItsOldToken,
    ProbesItselfNowAndThen,
    ReportsTheHealthOfItsLastPoll,
    _EndsWithACall,
)
from tests.mutants.reference_clients import (
    ReportsUnhealthyLate,
    Tweaked,
)
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import ClientError, UnavailableError, Wire, is_whole

# PRC-01


class Prefork(LazyClient):
    """Correct, also after a fork."""

    capabilities = frozenset({"read", "outcomes", "fork"})

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._process = os.getpid()

    def read_all(self, path: str) -> dict[str, str]:
        self._look_around()
        return super().read_all(path)

    def close(self) -> None:
        self._look_around()
        super().close()

    def _look_around(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._begin_again()

    def _begin_again(self) -> None:
        """Reset locks, timer and token in a child, which has one thread."""
        self._changing, self._timing = threading.RLock(), threading.Lock()
        self._gate = self.gate_type(self._longest)
        self._wire = self.wire_type(self._environ)
        self._timer = self._token = None


class RevokesItsParentsToken(Prefork):
    """A child uses it, and revokes it at its end."""

    def _begin_again(self) -> None:
        token = self._token
        super()._begin_again()
        self._token = token


_PREFORK = f"command:{sys.executable} -m vault_harness.judge.subjects python:{__name__}:Prefork"


class KeepsALockedLockInAFork(Prefork):
    """Reads one secret at a time, under a lock that a child does not reset.

    If a thread of the parent reads during the fork, the child waits for ever.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._one_at_a_time = threading.Lock()

    def read_all(self, path: str) -> dict[str, str]:
        with self._one_at_a_time:
            return super().read_all(path)


class RenewsOnlyInTheFirstProcess(Prefork):
    """Sets no timers in a child."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first = self._process

    def _arm(self, seconds: float) -> None:
        if self._process == self._first:
            super()._arm(seconds)


class LogsInAtAQuarterInEachWorker(LogsInAtAQuarter, Prefork):
    """Logs in before that."""


class _OneConnection(Wire):
    """Keeps a connection, and never checks it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.turn = threading.Lock()
        self._peer: socket.socket | None = None

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        with self.turn:
            try:
                return self._over_it(request.replace(b"Connection: close\r\n", b""), deadline)
            except OSError:
                self._peer = None
                raise

    def _over_it(self, request: bytes, deadline: float) -> bytes:
        if self._peer is None:
            self._peer = socket.create_connection((self._host, self._port), timeout=1.0)
        self._peer.settimeout(max(0.01, deadline - time.monotonic()))
        self._peer.sendall(request)
        received = bytearray()
        while not is_whole(received):
            piece = self._peer.recv(65536)
            if not piece:
                raise ConnectionResetError
            received += piece
        return bytes(received)


class SharesItsConnection(Prefork):
    """A child sends its own token over its parent's connection."""

    wire_type = _OneConnection

    def _begin_again(self) -> None:
        wire = self._wire
        super()._begin_again()
        self._wire = wire
        assert isinstance(wire, _OneConnection)
        wire.turn = threading.Lock()


class ReadsSlowlyInItsWorkers(Prefork):
    """Reads in a child so slowly that it makes three fifths of its reads."""

    lasts = 0.4
    _child = False

    def _begin_again(self) -> None:
        super()._begin_again()
        self._child = True

    def read(self, path: str, key: str) -> str:
        began = time.monotonic()
        value = super().read(path, key)
        if self._child:
            time.sleep(max(0.0, began + self.lasts - time.monotonic()))
        return value


class LogsInAtHalfALifeInEachWorker(LogsInAtHalfALife, Prefork):
    """Each process does; it never renews."""


# PRC-02


class TreatsAGatewayPageAsARenewal(AtShare):
    """Checks only the status, and assumes another whole life."""

    share = 0.6

    def _renewed(self, token: Token, deadline: float) -> bool:
        asked = time.monotonic()
        try:
            return super()._renewed(token, deadline)
        except UnavailableError as error:
            if "none of Vault's" not in str(error):
                raise
        token.since = asked
        self._arm(token.due)
        return True


class StopsRenewingAtAnUnreadableAnswer(AtShare):
    """Retries a failed renewal, but cannot read an answer that is not JSON.

    Nothing catches the error, and the thread that renews ends.
    """

    share = 0.5
    _ended = False

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError as error:
            self._ended = "none of Vault's" in str(error)
            raise

    def _arm(self, seconds: float) -> None:
        if not self._ended:
            super()._arm(seconds)


class LogsInTwiceForAnUnreadableRenewal(LazyClient):
    """Takes it for the loss of its token."""

    times = 2

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError:
            for _ in range(self.times - 1):
                self._log_in(deadline)
            return False


# PRC-03


class _LooksRound(Leases):
    """Checks its leases four times a second, and so notices that it stood still."""

    every = 0.25
    gathers_itself = 0.0
    """Seconds until it checks again after it stood still."""

    _looked = math.inf
    _stood_still = False

    def current(self, path: str, deadline: Deadline) -> Credential:
        credential = super().current(path, deadline)
        if self._looked == math.inf:  # it may sleep before its first round
            self._looked = clock()
        return credential

    def _has_slept(self) -> bool:
        """Return whether it ever stood still; a call may notice first."""
        self._stood_still |= clock() - self._looked > 5.0
        return self._stood_still

    def _step(self) -> float | None:
        if not self._stood_still and self._has_slept():
            threading.Event().wait(self.gathers_itself)
        wait = super()._step()
        self._looked = clock()
        return self.every if wait is None else min(wait, self.every)


class HandsOutEndedCredentialsAfterASleep(_LooksRound):
    """Trusts its thread to have replaced its leases, which happens a second after it woke up."""

    gathers_itself = 1.0

    def current(self, path: str, deadline: Deadline) -> Credential:
        held = self._by_path.get(path)
        if held is not None and held.grant is not None and held.grant.lost is None:
            return held.grant.credential
        return super().current(path, deadline)


class RequestsNoCredentialAfterASleep(_LooksRound):
    """Knows that its lease has ended, and asks for no other."""

    def current(self, path: str, deadline: Deadline) -> Credential:
        if self._has_slept():
            raise VaultUnavailable("what was leased has ended")
        return super().current(path, deadline)


class AsksFourTimesAfterASleep(LazyClient):
    times = 4

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        threading.Thread(target=self._notice, daemon=True).start()

    def _notice(self) -> None:
        last = time.monotonic()
        while not self._closed:
            time.sleep(0.05)
            now = time.monotonic()
            if now - last > 4.0:
                for _ in range(self.times):
                    with contextlib.suppress(ClientError):
                        self._wire.send("GET", "sys/health", deadline=time.monotonic() + 0.5)
            last = now


# PRC-05


class NeverReportsHealthyAgain(Tweaked):
    _red = False

    def health(self) -> bool:
        self._red = self._red or not super().health()
        return not self._red


class ReportsUnhealthyOnlyInItsFirstOutage(Tweaked):
    """After that it is good for ever."""

    _ill = _over = False

    def health(self) -> bool:
        if self._over:
            return True
        well = super().health()
        self._over = well and self._ill
        self._ill |= not well
        return well


class NeverAnswersAHealthQuestionAfterAnOutage(Shaken):
    capabilities = frozenset({"read", "outcomes", "health"})

    def health(self) -> bool:
        if self._shaken:
            threading.Event().wait(30.0)
        return True


class RaisesAtAHealthQuestionWhileUnhealthy(Tweaked):
    def health(self) -> bool:
        if not super().health():
            raise RuntimeError("Vault does not answer")
        return True


class RaisesAtAHealthQuestionAfterAnOutage(Tweaked):
    """Says that it is not well, and raises on every later question."""

    _ill = False

    def health(self) -> bool:
        well = super().health()
        if well and self._ill:
            raise RuntimeError("it was not well a moment ago")
        self._ill = self._ill or not well
        return well


class ReportsUnhealthyBeforeItsFirstLookup(ProbesItselfNowAndThen):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._well = False


# PRC-07


class ExitsOnSigtermInACall(HangsAtTheEnd):
    """Has no handler for the signal."""

    def close(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        super().close()


class EndsAfterItsRead(AnswersFromMemory):
    """Asks for a value that is not in memory until it has it, under a lock that its end needs."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._missing = threading.Lock()

    def read_all(self, path: str) -> dict[str, str]:
        if path in self._kept:
            return super().read_all(path)
        with self._missing:
            while True:
                with contextlib.suppress(UnavailableError):
                    return super().read_all(path)

    def close(self) -> None:
        self._over.set()
        if self._missing.acquire(timeout=60.0):
            self._missing.release()
        super().close()


class EndsAfterItsWrite(Writes):
    """Gives a write as long as Vault takes, and ends when all writes are done.

    So does a thread pool whose shutdown is awaited, beside calls that have deadlines.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._writing = threading.Lock()

    def write(self, path: str, data: Mapping[str, str]) -> None:
        with self._writing:
            while True:
                try:
                    return super().write(path, data)
                except UnavailableError:
                    if self._closed:
                        raise

    def close(self) -> None:
        if self._writing.acquire(timeout=60.0):
            self._writing.release()
        super().close()


MUTANTS = by_name(
    Mutant(
        RevokesItsParentsToken,
        "PRC-01",
        "leaves its parent's token alone",
        process=True,
        deviates_from=_PREFORK,
    ),
    Mutant(KeepsALockedLockInAFork, "PRC-01", "each worker reads to its end", process=True),
    Mutant(RenewsOnlyInTheFirstProcess, "PRC-01", "renews its token", process=True),
    Mutant(LogsInAtAQuarterInEachWorker, "PRC-01", "at most 4 logins", process=True),
    Mutant(SharesItsConnection, "PRC-01", "connections of its own", process=True),
    Mutant(ReadsSlowlyInItsWorkers, "PRC-01", "each worker reads to its end", process=True).called(
        "reads-too-slowly-in-its-workers", lasts=0.75
    ),
    Mutant(TreatsAGatewayPageAsARenewal, "PRC-02", "renewed, or replaced"),
    Mutant(StopsRenewingAtAnUnreadableAnswer, "PRC-02", "renewed, or replaced"),
    Mutant(LogsInTwiceForAnUnreadableRenewal, "PRC-02", "at most 1 login"),
    Mutant(
        HandsOutEndedCredentialsAfterASleep, "PRC-03", "is accepted by the database", process=True
    ),
    Mutant(RequestsNoCredentialAfterASleep, "PRC-03", "a credential that works", process=True),
    Mutant(AsksFourTimesAfterASleep, "PRC-03", "requests (all kinds)", process=True).called(
        "asks-six-times-after-a-sleep", times=6
    ),
    Mutant(LogsInFourSecondsAfterASleep, "PRC-03", "a new login within", process=True).called(
        "logs-in-six-seconds-after-a-sleep", after=5.7
    ),
    Mutant(LogsInThreeTimes, "PRC-03", "at most 1 login", process=True).called(
        "logs-in-three-times-after-a-sleep"
    ),
    Mutant(LooksUpItsOldToken, "PRC-03", "known to be dead", process=True),
    Mutant(NeverReportsHealthyAgain, "PRC-05", "health tells the truth"),
    Mutant(ReportsUnhealthyOnlyInItsFirstOutage, "PRC-05", "health tells the truth"),
    Mutant(NeverAnswersAHealthQuestionAfterAnOutage, "PRC-05", "health ends within"),
    # Later than half of its token's life, and than a look of its own.
    Mutant(ReportsUnhealthyLate, "PRC-05", "health tells the truth").called(
        "reports-unhealthy-too-late", after=9.0
    ),
    Mutant(RaisesAtAHealthQuestionWhileUnhealthy, "PRC-05", "answered with yes or no"),
    Mutant(RaisesAtAHealthQuestionAfterAnOutage, "PRC-05", "answered with yes or no"),
    Mutant(HangsAtTheEnd, "PRC-07", "it ends cleanly").called("hangs-with-a-call"),
    Mutant(ExitsOnSigtermInACall, "PRC-07", "its exit code is 0", process=True),
    Mutant(_EndsWithACall, "PRC-07", "seconds until it has ended").called(
        "ends-with-a-call-too-late", lasts=8.6
    ),
    Mutant(EndsAfterItsRead, "PRC-07", "it ends cleanly"),
    Mutant(EndsAfterItsWrite, "PRC-07", "it ends cleanly"),
)


TOLERATED = by_name(
    Tolerated(Prefork, "PRC-01", process=True).called("logs-in-once-in-each-worker"),
    Tolerated(LogsInAtHalfALifeInEachWorker, "PRC-01", process=True),
    Tolerated(ReadsSlowlyInItsWorkers, "PRC-01", process=True),
    Tolerated(LogsInTwiceForAnUnreadableRenewal, "PRC-02").called(
        "logs-in-for-an-unreadable-renewal", times=1
    ),
    Tolerated(AsksFourTimesAfterASleep, "PRC-03", process=True),
    Tolerated(LogsInFourSecondsAfterASleep, "PRC-03", process=True),
    Tolerated(AsksForAnHour, "PRC-03", process=True).called("asks-for-an-hour-before-a-sleep"),
    Tolerated(ReportsUnhealthyBeforeItsFirstLookup, "PRC-05"),
    Tolerated(ReportsUnhealthyLate, "PRC-05"),
    Tolerated(ReportsTheHealthOfItsLastPoll, "PRC-05"),
    Tolerated(AnswersFromMemory, "PRC-07").called("answers-from-memory-while-a-call-hangs"),
    Tolerated(EndsWithACallInTime, "PRC-07"),
)
