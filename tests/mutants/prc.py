"""Clients that break the promises of PRC: a client's own process, its health and its words."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import ClassVar

from resilient_vault_client import VaultError, VaultUnavailable
from tests.mutants import (
    always,
    blind_spots,
    edges_logins,
    edges_refusals,
    edges_tokens,
    every_day,
    later_on,
    leftovers,
    neglected,
    other_styles,
    own_pace,
    tempers,
    untried,
    waylaid_logins,
    woken_leases,
)
from tests.mutants.clients import (
    LAZY_PROCESS,
    REFERENCE,
    REFERENCE_PROCESS,
    AlwaysSaysWell,
    HangsAtTheEnd,
    IsEndedByASignal,
    LeavesAThreadForEachFailure,
    LogsInTwice,
    Mutant,
    Shaken,
    Tolerated,
    Tweaked,
)
from tests.subjects.lazy_client import LazyClient, Token, log
from tests.subjects.lazy_wire import (
    ClientError,
    DeniedError,
    GivenUpError,
    UnavailableError,
    Wire,
    is_whole,
)


class LogsItsToken(LazyClient):
    """Writes each token into its log, for debugging."""

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        log.debug("got token %s", token.value)
        return token


class _LogsWhatIsCut(Wire):
    def _exchange(self, request: bytes, deadline: float) -> bytes:
        received = super()._exchange(request, deadline)
        if not is_whole(bytearray(received)):
            log.warning("cannot make anything of %r", received)
        return received


class LogsWhatIsCut(LazyClient):
    """Logs an answer that it cannot parse, and half of a secret with it."""

    wire_type = _LogsWhatIsCut


class _LogsWhatIsNoJson(Wire):
    def _exchange(self, request: bytes, deadline: float) -> bytes:
        received = super()._exchange(request, deadline)
        content = received.partition(b"\r\n\r\n")[2]
        if b"/login " in request and is_whole(bytearray(received)):
            try:
                json.loads(content or b"{}")
            except ValueError:
                log.error("the login's answer is no JSON: %s", content.decode(errors="replace"))
        return received


class LogsALoginThatIsNoJson(LazyClient):
    """Logs the answer to its login where it cannot parse that, and a token with it."""

    wire_type = _LogsWhatIsNoJson


class ShowsWhatItCouldNotWrite(Tweaked):
    """Logs what it was to write, where it could not."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultError as error:
            log.error("PUT %s %r failed: %s", path, dict(data), error)
            raise


class ShowsWhatItCouldNotWriteInAnOutage(Tweaked):
    """The same, and only where it is no denial."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultUnavailable as error:
            log.error("PUT %s %r failed: %s", path, dict(data), error)
            raise


class TellsAHelperItsToken(LazyClient):
    """Gives each token to a helper of its own as an argument; the helper ends when it does."""

    _helper: subprocess.Popen[bytes] | None = None

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._end_helper()
        waits = [sys.executable, "-c", "import sys; sys.stdin.read()", f"--token={token.value}"]
        self._helper = subprocess.Popen(waits, stdin=subprocess.PIPE)
        return token

    def _end_helper(self) -> None:
        if self._helper is not None:
            self._helper.communicate(b"")

    def close(self) -> None:
        super().close()
        self._end_helper()


class ShowsItsSecretId(LazyClient):
    """Puts what it sent into the error that it raises."""

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except DeniedError as error:
            raise DeniedError(f"{error}: {self._credentials.current()}") from None


class CatchesUpAfterSleep(LazyClient):
    """Looks at its token by a timetable, and after a sleep does all that it has missed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        threading.Thread(target=self._by_timetable, daemon=True).start()

    def _by_timetable(self) -> None:
        due = time.monotonic()
        while not self._closed:
            due += 0.4
            time.sleep(max(0.0, due - time.monotonic()))
            if self._token is not None:
                with contextlib.suppress(ClientError):
                    self._wire.send(
                        "GET",
                        "auth/token/lookup-self",
                        deadline=time.monotonic() + 1.0,
                        token=self._token.value,
                    )


class NeverSaysWellAgain(Tweaked):
    """Once red, its health stays so."""

    _red = False

    def health(self) -> bool:
        self._red = self._red or not super().health()
        return not self._red


class SaysIllLate(Tweaked):
    """Wants to be sure of an outage before it says that it is not well."""

    after = 4.5
    _since = 0.0

    def health(self) -> bool:
        now = time.monotonic()
        if super().health():
            self._since = 0.0
            return True
        self._since = self._since or now
        return now - self._since < self.after


class SaysIllTooLate(SaysIllLate):
    """For longer than half of a token's life, and than a look of its own takes."""

    after = 9.0


class SaysNothingOfItsHealth(Shaken):
    """Well in calm weather; after an outage its health waits for what never comes."""

    capabilities = frozenset({"read", "outcomes", "health"})

    def health(self) -> bool:
        if self._shaken:
            threading.Event().wait(30.0)
        return True


class NeverMissesItsThread(Tweaked):
    """Starts the thread that renews once, and never looks after it again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        renewer = self.client._session().renewer
        start = renewer.ensure_running

        def once() -> None:
            if renewer._thread is None:
                start()

        renewer.ensure_running = once  # type: ignore[method-assign]  # that is its fault


class LogsInWithoutATimer(LazyClient):
    """Takes a timer that is gone for a token that is gone, at every call, and sets no other."""

    _armed = False

    def _arm(self, seconds: float) -> None:
        if not self._armed:
            self._armed = True
            super()._arm(seconds)

    def _valid_token(self, deadline: float) -> Token:
        if self._timer is not None and not self._timer.is_alive():
            self._token = None
        return super()._valid_token(deadline)


class _Hoarder(Wire):
    """Closes a connection only if all went well."""

    _kept: ClassVar[list[socket.socket]] = []

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        peer = socket.create_connection((self._host, self._port), timeout=1.0)
        self._kept.append(peer)
        peer.settimeout(max(0.01, deadline - time.monotonic()))
        peer.sendall(request)
        received = bytearray()
        while not is_whole(received):
            piece = peer.recv(65536)
            if not piece:
                return bytes(received)
            received += piece
        peer.close()
        return bytes(received)


class HoardsDeadConnections(LazyClient):
    """Lets go of a connection that failed without closing it."""

    wire_type = _Hoarder


class Prefork(LazyClient):
    """The client that those of PRC-01 deviate from: correct, also after a fork."""

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
            self._begin_anew()

    def _begin_anew(self) -> None:
        """In a child, which has one thread: no lock, no timer and no token is its own."""
        self._changing, self._timing = threading.RLock(), threading.Lock()
        self._gate = self.gate_type(self._longest)
        self._wire = self.wire_type(self._environ)
        self._timer = self._token = None


class KeepsItsLockInAFork(Prefork):
    """Reads one secret at a time, under a lock that a child forgets to make anew.

    Where a thread of the parent's reads as it is forked the child waits for that for ever.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._one_at_a_time = threading.Lock()

    def read_all(self, path: str) -> dict[str, str]:
        with self._one_at_a_time:
            return super().read_all(path)


class LogsInAtHalfALifeInEachWorker(edges_logins.LogsInAtHalfALife, Prefork):
    """Never renews: each process logs in anew when half of its token's life is over."""


class LogsInAtAQuarterInEachWorker(edges_logins.LogsInAtAQuarter, Prefork):
    """Before that."""


class ReadsSlowlyInItsWorkers(Prefork):
    """A read in a child takes so long that it comes to three fifths of what it should."""

    lasts = 0.4
    _child = False

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._child = True

    def read(self, path: str, key: str) -> str:
        began = time.monotonic()
        value = super().read(path, key)
        if self._child:
            time.sleep(max(0.0, began + self.lasts - time.monotonic()))
        return value


class ReadsTooSlowlyInItsWorkers(ReadsSlowlyInItsWorkers):
    """It comes to a third of them."""

    lasts = 0.75


class RevokesItsParentsToken(Prefork):
    """A child goes on with the token that it has found, and gives it back at its end."""

    def _begin_anew(self) -> None:
        token = self._token
        super()._begin_anew()
        self._token = token


class RenewsInTheFirstProcessAlone(Prefork):
    """Its timers were set before the fork, and nobody sets others in a child."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first = self._process

    def _arm(self, seconds: float) -> None:
        if self._process == self._first:
            super()._arm(seconds)


class _OneConnection(Wire):
    """Keeps a connection, which it never looks after again."""

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
    """A child has a token of its own, and sends it over its parent's connection."""

    wire_type = _OneConnection

    def _begin_anew(self) -> None:
        wire = self._wire
        super()._begin_anew()
        self._wire = wire
        assert isinstance(wire, _OneConnection)
        wire.turn = threading.Lock()


_PREFORK = f"command:{sys.executable} -m vault_harness.subjects python:{__name__}:Prefork"


# At the edges of thresholds


class AsksFourTimesAfterASleep(LazyClient):
    """Notices by its clock that it stood still, and asks a few times whether Vault is well."""

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


class AsksSixTimesAfterASleep(AsksFourTimesAfterASleep):
    """Asks a little too often."""

    times = 6


class LogsInFourSecondsAfterASleep(LazyClient):
    """Waits for its network before it logs in again."""

    after = 4.2
    _first = True
    _since = 0.0

    def _log_in(self, deadline: float) -> Token:
        if not self._first:
            self._since = self._since or time.monotonic()
            left = self._since + self.after - time.monotonic()
            if time.monotonic() + left >= deadline:
                time.sleep(max(0.0, deadline - time.monotonic() - 0.05))
                raise GivenUpError("the network may not be there yet")
            time.sleep(max(0.0, left))
        self._first = False
        return super()._log_in(deadline)


class LogsInSixSecondsAfterASleep(LogsInFourSecondsAfterASleep):
    """Waits for too long."""

    after = 5.7


class _EndsWithACall(LazyClient):
    """Gives its token back, and itself some time."""

    lasts = 6.6

    def close(self) -> None:
        began = time.monotonic()
        super().close()
        threading.Event().wait(began + self.lasts - time.monotonic())


class EndsWithACallInTime(_EndsWithACall):
    """Ends within the deadline of its last call, and the five seconds that it has."""


class EndsWithACallTooLate(_EndsWithACall):
    """Ends a second and a half later than it may, which no busy machine explains."""

    lasts = 8.6


class EndsAfterItsRead(tempers.AnswersFromMemory):
    """Asks for what it has not in memory until it has it, under a lock that its end needs."""

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


class LeavesFiveThreadsOnce(LazyClient):
    """Starts a few threads with its third token, and ends none."""

    left = 5
    _tokens = 0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._tokens += 1
        for _ in range(self.left if self._tokens == 3 else 0):
            threading.Thread(target=threading.Event().wait, args=(600.0,), daemon=True).start()
        return token


class LeavesNineThreadsOnce(LeavesFiveThreadsOnce):
    """Starts nine."""

    left = 9


MUTANTS: dict[str, Mutant] = {
    "revokes-its-parents-token": Mutant(
        RevokesItsParentsToken, "PRC-01", "leaves its parent's token alone", _PREFORK, process=True
    ),
    "keeps-its-lock-in-a-fork": Mutant(
        KeepsItsLockInAFork, "PRC-01", "each worker reads to its end", _PREFORK, process=True
    ),
    "renews-in-the-first-process-alone": Mutant(
        RenewsInTheFirstProcessAlone, "PRC-01", "at most 4 logins", _PREFORK, process=True
    ),
    "logs-in-at-a-quarter-in-each-worker": Mutant(
        LogsInAtAQuarterInEachWorker, "PRC-01", "at most 4 logins", _PREFORK, process=True
    ),
    "shares-its-connection": Mutant(
        SharesItsConnection, "PRC-01", "connections of its own", _PREFORK, process=True
    ),
    "catches-up-after-sleep": Mutant(
        CatchesUpAfterSleep, "PRC-03", "requests (all kinds)", LAZY_PROCESS, process=True
    ),
    "trusts-its-leases-after-a-sleep": Mutant(
        woken_leases.TrustsItsLeasesAfterASleep,
        "PRC-03",
        "is accepted by the database",
        REFERENCE_PROCESS,
        process=True,
    ),
    "leases-nothing-after-a-sleep": Mutant(
        woken_leases.LeasesNothingAfterASleep,
        "PRC-03",
        "a credential that works",
        REFERENCE_PROCESS,
        process=True,
    ),
    "logs-its-token": Mutant(LogsItsToken, "PRC-04", "token"),
    "logs-what-is-cut": Mutant(LogsWhatIsCut, "PRC-04", "half of v1"),
    "logs-a-login-that-is-no-json": Mutant(
        LogsALoginThatIsNoJson, "PRC-04", "token of a login that is cut"
    ),
    "shows-what-it-could-not-write": Mutant(
        ShowsWhatItCouldNotWrite, "PRC-04", "its log has written-", REFERENCE
    ),
    "shows-what-it-could-not-write-in-an-outage": Mutant(
        ShowsWhatItCouldNotWriteInAnOutage, "PRC-04", "its log has written-", REFERENCE
    ),
    "shows-its-secret-id": Mutant(ShowsItsSecretId, "PRC-04", "secret-id"),
    "tells-a-helper-its-token": Mutant(
        TellsAHelperItsToken, "PRC-04", "a command line has token-", LAZY_PROCESS, process=True
    ),
    "says-well-under-a-seal": Mutant(AlwaysSaysWell, "PRC-05", "health tells the truth", REFERENCE),
    "never-says-well-again": Mutant(
        NeverSaysWellAgain, "PRC-05", "health tells the truth", REFERENCE
    ),
    "tells-of-its-first-outage-alone": Mutant(
        later_on.TellsOfItsFirstOutageAlone, "PRC-05", "health tells the truth", REFERENCE
    ),
    "says-nothing-of-its-health": Mutant(SaysNothingOfItsHealth, "PRC-05", "health ends within"),
    "hangs-with-a-call": Mutant(HangsAtTheEnd, "PRC-07", "it ends cleanly"),
    "is-torn-out-of-a-call": Mutant(
        IsEndedByASignal, "PRC-07", "its exit code is 0", LAZY_PROCESS, process=True
    ),
    "never-misses-its-thread": Mutant(
        NeverMissesItsThread, "PRC-02", "a renewal or a login between", REFERENCE
    ),
    "logs-in-without-a-timer": Mutant(
        LogsInWithoutATimer, "PRC-02", "before 0.3 of a token's life"
    ),
    "leaves-a-thread-for-each-fault": Mutant(
        LeavesAThreadForEachFailure, "PRC-06", "leave nothing behind"
    ),
    "leaves-a-thread-for-each-lost-token": Mutant(
        leftovers.LeavesAThreadForEachLostToken, "PRC-06", "leave nothing behind"
    ),
    "leaves-a-thread-for-each-failed-login": Mutant(
        neglected.LeavesAThreadForEachFailedLogin, "PRC-06", "leave nothing behind"
    ),
    "leaves-a-connection-for-what-is-missing": Mutant(
        untried.LeavesAConnectionForWhatIsMissing, "PRC-06", "connections: "
    ),
    "leaves-a-connection-for-each-write": Mutant(
        every_day.LeavesAConnectionForEachWrite, "PRC-06", "connections: "
    ),
    "hoards-dead-connections": Mutant(HoardsDeadConnections, "PRC-06", "leave nothing behind"),
    "takes-a-page-for-a-refused-secret-id": Mutant(
        waylaid_logins.TakesAPageForARefusal, "PRC-06", "a good read within"
    ),
    "takes-a-quota-for-a-refused-secret-id": Mutant(
        waylaid_logins.TakesAQuotaForARefusal, "PRC-06", "a good read within"
    ),
    "gives-its-login-up-at-a-gateway": Mutant(
        waylaid_logins.GivesUpAtAGateway, "PRC-06", "a good read within"
    ),
    "asks-six-times-after-a-sleep": Mutant(
        AsksSixTimesAfterASleep, "PRC-03", "requests (all kinds)", LAZY_PROCESS, process=True
    ),
    "logs-in-six-seconds-after-a-sleep": Mutant(
        LogsInSixSecondsAfterASleep, "PRC-03", "a new login within", LAZY_PROCESS, process=True
    ),
    "ends-with-a-call-too-late": Mutant(
        EndsWithACallTooLate, "PRC-07", "seconds until it has ended"
    ),
    "ends-after-its-read": Mutant(EndsAfterItsRead, "PRC-07", "it ends cleanly"),
    "leaves-nine-threads-once": Mutant(LeavesNineThreadsOnce, "PRC-06", "leave nothing behind"),
    "replaces-its-thread-too-late": Mutant(
        edges_tokens.RenewsTooLateWithoutItsThread, "PRC-02", "a renewal or a login between"
    ),
    "logs-in-twice-for-a-lost-thread": Mutant(
        edges_logins.LogsInTwiceForALostTimer, "PRC-02", "before 0.3 of a token's life"
    ),
    "logs-in-twice-after-a-sleep": Mutant(
        LogsInTwice, "PRC-03", "at most 1 login", LAZY_PROCESS, process=True
    ),
    "tries-a-wrong-secret-id-five-times": Mutant(
        edges_refusals.TriesFiveTimesInOneCall, "PRC-04", "the same secret-id"
    ),
    "says-ill-too-late": Mutant(SaysIllTooLate, "PRC-05", "health tells the truth", REFERENCE),
    "raises-while-it-is-ill": Mutant(
        always.RaisesWhileItIsIll, "PRC-05", "answered with yes or no", REFERENCE
    ),
    "raises-once-it-was-ill": Mutant(
        always.RaisesOnceItWasIll, "PRC-05", "answered with yes or no", REFERENCE
    ),
    "looks-after-its-old-token": Mutant(
        always.LooksAfterItsOldToken, "PRC-03", "known to be dead", LAZY_PROCESS, process=True
    ),
    "looks-after-its-old-token-through-a-cut": Mutant(
        always.LooksAfterItsOldToken, "PRC-04", "known to be dead"
    ),
    "looks-after-its-old-token-through-all-faults": Mutant(
        always.LooksAfterItsOldToken, "PRC-06", "known to be dead"
    ),
    "reads-too-slowly-in-its-workers": Mutant(
        ReadsTooSlowlyInItsWorkers, "PRC-01", "each worker reads to its end", _PREFORK, process=True
    ),
    "shows-what-it-could-not-change": Mutant(
        blind_spots.ShowsWhatItCouldNotChange, "PRC-04", "its log has written-", REFERENCE
    ),
    "takes-a-dead-token-for-missing": Mutant(
        blind_spots.TakesADeadTokenForMissing, "PRC-04", "never called missing or deleted"
    ),
    "keeps-its-token-for-all": Mutant(
        every_day.KeepsItsTokenForAll, "PRC-04", "nobody else can read a secret"
    ),
    "logs-its-wholes": Mutant(blind_spots.LogsItsWholes, "PRC-04", "its log has v1"),
    "leaves-a-connection-for-each-probe": Mutant(
        blind_spots.LeavesAConnectionForEachProbe, "PRC-06", "leave nothing behind", REFERENCE
    ),
    "leaves-a-thread-for-each-whole": Mutant(
        blind_spots.LeavesAThreadForEachWhole, "PRC-06", "leave nothing behind"
    ),
    "ends-after-its-write": Mutant(every_day.EndsAfterItsWrite, "PRC-07", "it ends cleanly"),
    "ends-after-its-whole": Mutant(blind_spots.EndsAfterItsWhole, "PRC-07", "it ends cleanly"),
}

TOLERATED: dict[str, Tolerated] = {
    "asks-four-times-after-a-sleep": Tolerated(
        AsksFourTimesAfterASleep, "PRC-03", LAZY_PROCESS, process=True
    ),
    "logs-in-four-seconds-after-a-sleep": Tolerated(
        LogsInFourSecondsAfterASleep, "PRC-03", LAZY_PROCESS, process=True
    ),
    "asks-for-an-hour-before-a-sleep": Tolerated(
        edges_tokens.AsksForAnHour, "PRC-03", LAZY_PROCESS, process=True
    ),
    "answers-from-memory-while-a-call-hangs": Tolerated(tempers.AnswersFromMemory, "PRC-07"),
    "ends-with-a-call-in-time": Tolerated(EndsWithACallInTime, "PRC-07"),
    "leaves-five-threads-once": Tolerated(LeavesFiveThreadsOnce, "PRC-06"),
    "logs-in-once-in-each-worker": Tolerated(Prefork, "PRC-01", _PREFORK, process=True),
    "renews-late-without-its-thread": Tolerated(edges_tokens.RenewsLateWithoutItsThread, "PRC-02"),
    "logs-in-for-a-lost-thread": Tolerated(edges_logins.LogsInForALostTimer, "PRC-02"),
    "logs-in-at-half-a-life-without-its-thread": Tolerated(
        edges_logins.LogsInTwiceWithoutItsThread, "PRC-02"
    ),
    "logs-in-at-half-a-life-in-each-worker": Tolerated(
        LogsInAtHalfALifeInEachWorker, "PRC-01", _PREFORK, process=True
    ),
    "keeps-its-token-for-itself": Tolerated(every_day.KeepsItsTokenForItself, "PRC-04"),
    "tries-a-wrong-secret-id-four-times": Tolerated(
        edges_refusals.TriesFourTimesInOneCall, "PRC-04"
    ),
    "knows-nothing-before-its-first-look": Tolerated(
        other_styles.KnowsNothingBeforeItsFirstLook, "PRC-05"
    ),
    "says-ill-late": Tolerated(SaysIllLate, "PRC-05", REFERENCE),
    "says-how-its-last-poll-was": Tolerated(own_pace.SaysHowItsLastPollWas, "PRC-05"),
    "reads-slowly-in-its-workers": Tolerated(
        ReadsSlowlyInItsWorkers, "PRC-01", _PREFORK, process=True
    ),
}
