"""Clients that break NET-01 to 03, 11, 12, 14 to 16, 18 or 19: outages and ended connections."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from resilient_vault_client import Credential, VaultError, VaultUnavailable
from resilient_vault_client._deadline import Deadline, clock
from resilient_vault_client._grant import Grant
from resilient_vault_client._leases import Held, Leases
from tests.mutants.clients import (
    LAZY,
    AsksAgainLater,
    AsksOften,
    GivesUpAtItsStart,
    GivesUpRenewing,
    KeepsFiveInReserve,
    LeavesFiveThreads,
    LogsInLaterAfterAFailure,
    LogsInOnceMoreLater,
    LogsInThreeTimes,
    Mutant,
    PausesBeforeItWritesAgain,
    RenewsTwiceAtOnce,
    Tolerated,
    _CallsItSomethingElse,
    by_name,
)
from tests.mutants.login_clients import (
    AsksForAnHour,
    DropsItsTokenOnError,
    ExitsInAnOutage,
    GivesUpInACallersCall,
    LoadsWhileItIsFirstAsked,
    LogsInAtAThird,
    LogsInInsteadOfRenewing,
    RenewsInACallersCall,
)
from tests.mutants.reference_clients import LeavesItsCredentialsBehind
from tests.subjects.lazy_client import LazyClient, Token, log
from tests.subjects.lazy_wire import (
    FIRST_PAUSE,
    ClientError,
    DeniedError,
    Gate,
    GivenUpError,
    UnavailableError,
    Wire,
    _left,
    is_whole,
)

# NET-01


class ConnectsWithoutAPause(Wire):
    """Tries to connect until it succeeds or the call's time ends."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        while True:
            log.debug("connecting")
            try:
                return super()._exchange(request, deadline)
            except ConnectionRefusedError:
                log.debug("refused; trying again")


# NET-02


class NeverResetsItsLongPauses(LazyClient):
    """Its renewer's pauses double and stay long.

    A login waits a moment, so that none comes in the millisecond in which a token ends.
    """

    most, moment = 60.0, 0.1

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {"deadline": self._deadline}
        self._rests = FIRST_PAUSE

    def _log_in(self, deadline: float) -> Token:
        time.sleep(self.moment)
        return super()._log_in(deadline)

    def _renewed(self, token: Token, deadline: float) -> bool:
        """Renew with pauses of its own."""
        asked, where = time.monotonic(), "auth/token/renew-self"
        reply = self._wire.send("POST", where, deadline=deadline, token=token.value, body={})
        if reply.status != 200:
            return False
        token.since = asked
        self._arm(token.due)
        return True

    def _tick(self) -> None:
        deadline = time.monotonic() + self._deadline
        try:
            with self._held(deadline):
                token = self._token
                if self._timer is not threading.current_thread() or self._closed:
                    return
                if token is None or token.left <= 0 or not self._renewed(token, deadline):
                    self._log_in(deadline)
        except ClientError:
            if self._timer is threading.current_thread():
                self._arm(self._rests)
                self._rests = min(2 * self._rests, self.most)


class LosesALoginAtADeadline(LazyClient):
    """A call ends during its login, and the client forgets that; in practice this is rare."""

    times = 1
    left = 0.05
    _lost = 0
    _logins = 0

    def _log_in(self, deadline: float) -> Token:
        if not self._logins or self._lost >= self.times:
            self._logins += 1
            return super()._log_in(deadline)
        time.sleep(max(0.0, deadline - self.left - time.monotonic()))
        super()._log_in(deadline + 0.15)  # a twentieth of its time is left, and a little is granted
        self._lost += 1
        self._token = None
        raise GivenUpError("the answer to the login came when the call's time was up")


# NET-03


class ConnectsWithoutADeadline(Wire):
    """Has a deadline for a request and its answer, and none for the connection.

    If no host accepts or refuses the connection, the kernel tries for two minutes.
    """

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        received = bytearray()
        with socket.create_connection((self._host, self._port)) as peer:
            peer.settimeout(_left(deadline))
            peer.sendall(request)
            while not is_whole(received):
                peer.settimeout(_left(deadline))
                if not (piece := peer.recv(65536)):
                    break
                received += piece
        return bytes(received)


# NET-11


class _Frank(Gate):
    @contextlib.contextmanager
    def passage(self, deadline: float) -> Iterator[None]:
        del deadline
        yield


class TriesOnce(LazyClient):
    gate_type = _Frank

    def read(self, path: str, key: str) -> str:
        deadline = time.monotonic() + self._deadline
        reply = self._fetch(path, deadline)
        return str(reply.body["data"]["data"][key])


class TriesOnceForAWholeSecret(LazyClient):
    """Retries the read of one key, but not of a whole secret."""

    gate_type = _Frank

    def read(self, path: str, key: str) -> str:
        return super().read_all(path)[key]

    def read_all(self, path: str) -> dict[str, str]:
        reply = self._fetch(path, time.monotonic() + self._deadline * 0.95)
        if reply.status != 200:
            return super().read_all(path)  # a deleted or denied secret has an outcome of its own
        return {key: str(value) for key, value in reply.body["data"]["data"].items()}


# NET-14


class RequestsACredentialAgainAfterALostAnswer(Leases):
    """Retries a request for a credential as if it were a read."""

    def _replace(self, held: Held, deadline: Deadline, reason: str) -> Grant:
        while True:
            try:
                return super()._replace(held, deadline, reason)
            except VaultUnavailable as error:
                if deadline.passed or not error.sent:
                    raise


class AsksForACredentialWithoutADeadline(Leases):
    """Waits for a credential as long as Vault takes to make it."""

    def _ask(self, path: str, token: Any, deadline: Deadline) -> Grant:
        del deadline
        return super()._ask(path, token, Deadline(3600.0))


# NET-16


class KeepsADeadAddressAWhile(Wire):
    """Resolves a name again some seconds after its address failed."""

    lasts = 24.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._name = self._host
        self._host = socket.gethostbyname(self._name)
        self._failed: float | None = None

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        now = time.monotonic()
        if self._failed is not None and now - self._failed >= self.lasts:
            self._host, self._failed = socket.gethostbyname(self._name), None
        try:
            answer = super()._exchange(request, deadline)
        except OSError:
            self._failed = self._failed or now
            raise
        self._failed = None if answer else self._failed or now
        return answer


class TriesEveryOldAddressFirst(Wire):
    """Appends new addresses to a list."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._name = self._host
        self._known: dict[str, None] = {}

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        self._known[socket.gethostbyname(self._name)] = None
        for address in list(self._known):
            self._host = address
            last = address == list(self._known)[-1]
            within = deadline if last else min(deadline, time.monotonic() + 0.2)
            try:
                if (answer := super()._exchange(request, within)) or last:
                    return answer
            except OSError:
                if last:
                    raise
        return b""


class GivesUpWhenANameDoesNotResolve(Wire):
    """Resolves a name for each connection, until that fails once."""

    _nowhere = False

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        if self._nowhere:
            raise ConnectionRefusedError
        try:
            return super()._exchange(request, deadline)
        except socket.gaierror as error:
            self._nowhere = error.errno == socket.EAI_NONAME
            raise


class KeepsAskingItsFirstAddress(LazyClient):
    """Follows Vault's name, and keeps checking whether its first address is back."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first = socket.gethostbyname(self._wire._host)
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._closed:
            time.sleep(0.4)
            with contextlib.suppress(OSError):
                socket.create_connection((self._first, self._wire._port), timeout=0.3).close()


# NET-18


class RetriesItsRenewalWithPauses(LazyClient):
    """Retries every 0.6 s."""

    pause = 0.6

    def _renewed(self, token: Token, deadline: float) -> bool:
        while token.left > 1.0 and not self._closed:
            asked = time.monotonic()
            with contextlib.suppress(UnavailableError):
                reply = self._wire.send(
                    *("POST", "auth/token/renew-self"),
                    deadline=asked + 1.0,
                    token=token.value,
                    body={},
                )
                if reply.status != 200:
                    break
                token.since = asked
                self._arm(token.due)
                return True
            time.sleep(self.pause)
        return super()._renewed(token, deadline)


class _RenewsThen(Leases):
    """Renews at a time without an answer."""

    share = 0.58

    def _plan(self, held: Held, grant: Grant) -> None:
        super()._plan(held, grant)
        held.due = grant.granted_at + self.share * grant.life


def _found_nobody(error: VaultError) -> bool:
    """Return whether there was no answer, not even a page."""
    return isinstance(error, VaultUnavailable) and error.status is None


class StopsRenewingLeasesWhenNothingAnswers(_RenewsThen):
    """Any failure without a status ends its renewer silently."""

    _ended = False

    def current(self, path: str, deadline: Deadline) -> Credential:
        held = self._by_path.get(path)
        if self._ended and held is not None and held.grant is not None:
            return held.grant.credential  # as if it were still renewed
        return super().current(path, deadline)

    def _failed(self, held: Held, error: VaultError) -> float:
        wait = super()._failed(held, error)
        self._ended |= _found_nobody(error)
        if self._ended:
            held.due = wait = math.inf
        return wait


class LogsInWhenARenewalTakesHalfASecond(DropsItsTokenOnError):
    def _renewed(self, token: Token, deadline: float) -> bool:
        return super()._renewed(token, min(deadline, time.monotonic() + 0.5))


class RetriesALeaseRenewalJustBeforeItsEnd(_RenewsThen):
    left = 0.6

    def _failed(self, held: Held, error: VaultError) -> float:
        wait = super()._failed(held, error)
        grant = held.grant
        if grant is not None and grant.usable and _found_nobody(error):
            wait = max(wait, grant.remaining - self.left)
            held.due = clock() + wait
        return wait


# NET-19


class WaitsWithoutADeadlineForAnotherCallersLogin(LazyClient):
    """Its deadline begins with its own login."""

    def _valid_token(self, deadline: float) -> Token:
        if (token := self._token) is not None and token.left > 0 and token.uses >= 0:
            return super()._valid_token(deadline)
        with self._changing:
            return super()._valid_token(time.monotonic() + self._deadline * 0.95)


MUTANTS = by_name(
    Mutant(ConnectsWithoutAPause, "NET-01", "no log without a pause"),
    Mutant(PausesBeforeItWritesAgain, "NET-01", "a write is good again").called(
        "pauses-writes-for-too-long-after-an-outage", rests=6.0
    ),
    Mutant(LogsInLaterAfterAFailure, "NET-01", "the token survives").called(
        "logs-in-later-after-an-outage"
    ),
    # Retries four seconds after an outage of four, and declares three.
    Mutant(AsksAgainLater, "NET-01", "a good read within").called("recovers-too-late", pause=8.4),
    Mutant(_CallsItSomethingElse, "NET-01", "a failure then is unavailable").called(
        "treats-a-refused-connection-as-a-missing-secret-always", word="ConnectionRefused"
    ),
    Mutant(ExitsInAnOutage, "NET-02", "the client stays alive", process=True, deviates_from=LAZY),
    Mutant(NeverResetsItsLongPauses, "NET-02", "renewed, or replaced"),
    Mutant(LogsInThreeTimes, "NET-02", "at most 1 login").called(
        "logs-in-three-times-after-an-outage"
    ),
    Mutant(LogsInOnceMoreLater, "NET-02", "at most 1 login").called(
        "logs-in-again-later-after-an-outage"
    ),
    Mutant(ConnectsWithoutADeadline, "NET-03", "every call ends within 2 s"),
    Mutant(_CallsItSomethingElse, "NET-03", "a failure then is unavailable").called(
        "reports-silence-as-a-denial", word="TimeoutError", instead=DeniedError
    ),
    Mutant(TriesOnce, "NET-11", "at most 20 reads fail"),
    Mutant(TriesOnceForAWholeSecret, "NET-11", "at most 20 reads fail"),
    Mutant(GivesUpRenewing, "NET-12", "the next renewal succeeds").called(
        "stops-renewing-after-a-reset"
    ),
    Mutant(GivesUpInACallersCall, "NET-12", "the next renewal succeeds").called(
        "stops-renewing-in-calls-after-one-failure"
    ),
    Mutant(RenewsTwiceAtOnce, "NET-12", "one renewal of a token").called(
        "renews-twice-at-once-over-a-bad-link"
    ),
    Mutant(RequestsACredentialAgainAfterALostAnswer, "NET-14", "users that were made"),
    Mutant(AsksForACredentialWithoutADeadline, "NET-14", "every call ends within"),
    Mutant(LeavesItsCredentialsBehind, "NET-14", "given back at the end").called(
        "revokes-no-lost-credential-at-its-end"
    ),
    Mutant(LeavesFiveThreads, "NET-15", "leaves nothing behind").called(
        "leaves-nine-threads-behind-a-flap", left=9
    ),
    Mutant(KeepsFiveInReserve, "NET-15", "connections: 0 before").called(
        "keeps-nine-connections-behind-a-flap", reserve=9
    ),
    Mutant(KeepsADeadAddressAWhile, "NET-16", "reads go to 127.0.0.2 within", process=True).called(
        "keeps-a-dead-address-too-long", lasts=38.0
    ),
    Mutant(TriesEveryOldAddressFirst, "NET-16", "nobody asks at", process=True),
    Mutant(GivesUpWhenANameDoesNotResolve, "NET-16", "reads go to 127.0.0.3 within", process=True),
    Mutant(KeepsAskingItsFirstAddress, "NET-16", "nobody asks at", process=True),
    Mutant(AsksOften, "NET-18", "no connection storm").called(
        "asks-too-often-of-a-dead-upstream", pace=0.01
    ),
    Mutant(RetriesItsRenewalWithPauses, "NET-18", "no connection storm").called(
        "retries-its-renewal-without-a-pause", pause=0.01
    ),
    Mutant(StopsRenewingLeasesWhenNothingAnswers, "NET-18", "is accepted by the database"),
    Mutant(LogsInWhenARenewalTakesHalfASecond, "NET-18", "the token survives"),
    Mutant(GivesUpAtItsStart, "NET-19", "a good read within").called(
        "never-logs-in-after-a-start-in-a-black-hole"
    ),
    Mutant(LoadsWhileItIsFirstAsked, "NET-19", "every call ends within").called(
        "loads-code-for-too-long-in-a-black-hole", takes=3.2
    ),
    Mutant(WaitsWithoutADeadlineForAnotherCallersLogin, "NET-19", "every call ends within"),
)


TOLERATED = by_name(
    Tolerated(PausesBeforeItWritesAgain, "NET-01").called(
        "pauses-writes-for-a-while-after-an-outage", rests=2.0
    ),
    Tolerated(AsksAgainLater, "NET-01").called("recovers-late", pause=6.2),
    Tolerated(LogsInAtAThird, "NET-01").called("logs-in-at-a-third-after-an-outage"),
    Tolerated(AsksForAnHour, "NET-02").called("asks-for-an-hour-before-an-outage"),
    Tolerated(NeverResetsItsLongPauses, "NET-02").called("never-resets-its-short-pauses", most=2.0),
    Tolerated(LogsInInsteadOfRenewing, "NET-02").called(
        "logs-in-instead-of-renewing-after-an-outage"
    ),
    Tolerated(RenewsInACallersCall, "NET-02").called("renews-in-a-callers-call-after-an-outage"),
    Tolerated(LosesALoginAtADeadline, "NET-02").called("loses-a-login-after-an-outage"),
    Tolerated(RenewsInACallersCall, "NET-12").called("retries-a-lost-renewal-in-a-callers-call"),
    Tolerated(LeavesFiveThreads, "NET-15").called("leaves-five-threads-behind-a-flap"),
    Tolerated(KeepsFiveInReserve, "NET-15").called("keeps-five-connections-behind-a-flap"),
    Tolerated(KeepsADeadAddressAWhile, "NET-16", process=True),
    Tolerated(AsksOften, "NET-18").called("asks-often-of-a-dead-upstream"),
    Tolerated(RetriesItsRenewalWithPauses, "NET-18"),
    Tolerated(RetriesALeaseRenewalJustBeforeItsEnd, "NET-18"),
    Tolerated(LogsInInsteadOfRenewing, "NET-18").called("logs-in-instead-while-vault-is-gone"),
    Tolerated(LoadsWhileItIsFirstAsked, "NET-19").called("loads-code-in-a-black-hole"),
)
