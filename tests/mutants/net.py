"""Clients that break the promises of NET: slow, lost and cut connections."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from resilient_vault_client import (
    ServerFailed,
    VaultSealed,
    VaultUnavailable,
    VaultUnreachable,
)
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Grant
from resilient_vault_client._held import Held
from resilient_vault_client._leases import Leases
from tests.mutants import (
    always,
    beside_reads,
    byways,
    companions,
    edges_hangs,
    edges_logins,
    edges_tokens,
    every_day,
    gateways,
    gone_leases,
    leftovers,
    loading,
    loose_ends,
    other_styles,
    outsiders,
    oversights,
    own_pace,
    pauses,
    tempers,
    unasked,
    untried,
    waylaid_writes,
    wholes,
    writing,
)
from tests.mutants.clients import (
    LAZY_PROCESS,
    REFERENCE,
    AsksAgainLater,
    AsksOften,
    AsksTooOften,
    AtShare,
    GivesUpRenewing,
    HasNoTimeout,
    HasNoTimeoutOfTen,
    Leasing,
    LeavesAThreadForEachFailure,
    LeavesFiveThreads,
    LeavesItsCredentialsBehind,
    LeavesNineThreads,
    LogsInLaterAfterAFailure,
    LogsInOnceMoreLater,
    LogsInTwice,
    Mutant,
    NeverComesBack,
    RenewsTwiceAtOnce,
    RetriesWithoutAPause,
    Shaken,
    TakesALotOfTime,
    TakesAMinute,
    Tolerated,
    Tweaked,
)
from tests.mutants.edges_logins import LogsInAtAThird, LogsInInsteadOfRenewing
from tests.mutants.kv import HasItsChangeMerged
from tests.mutants.sea import GivesUpAtItsStart
from tests.mutants.tok import DropsItsTokenOnError
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    Gate,
    Reply,
    UnavailableError,
    Wire,
    is_whole,
)


class _Patient(Wire):
    """A timeout for each piece."""

    def _exchange(self, request: bytes, *_: Any, **__: Any) -> bytes:
        received = []
        with socket.create_connection((self._host, self._port), timeout=1.5) as peer:
            peer.sendall(request)
            while piece := peer.recv(65536):
                received.append(piece)
        return b"".join(received)


class NoTotalDeadline(LazyClient):
    """Gives each piece of an answer a timeout, and the whole none."""

    wire_type = _Patient


class TakesHalfAnAnswer(LazyClient):
    """Finds no value in an answer that is cut short, and hands out the empty string."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except UnavailableError as error:
            if "cut short" in str(error):
                return ""
            raise


class _Keeper(Wire):
    """One connection for each thread, kept whatever becomes of it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept = threading.local()

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        peer: socket.socket | None = getattr(self._kept, "peer", None)
        if peer is None:
            peer = self._kept.peer = socket.create_connection((self._host, self._port))
        peer.settimeout(max(0.01, deadline - time.monotonic()))
        peer.sendall(request.replace(b"Connection: close\r\n", b"", 1))
        received = bytearray()
        while not is_whole(received):
            piece = peer.recv(65536)
            if not piece:
                del self._kept.peer
                break
            received += piece
        if b"\r\nconnection: close" in received.partition(b"\r\n\r\n")[0].lower():
            self._kept.__dict__.clear()  # the server has said that it ends
        return bytes(received)


class KeepsADeadConnection(LazyClient):
    """Keeps its connections, and those that do not answer any more too."""

    wire_type = _Keeper


class KeepsADeadConnectionBehindItsMemory(tempers.AnswersFromMemory):
    """The same of a client whose callers see it only where it has nothing in memory."""

    wire_type = _Keeper


class _Dropper(_Keeper):
    """Kept as long as it answers."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        try:
            return super()._exchange(request, deadline)
        except OSError:
            self._kept.__dict__.clear()
            raise


class DropsADeadConnectionBehindItsMemory(tempers.AnswersFromMemory):
    """Answers from memory, and finds a dead connection out behind its callers' backs."""

    wire_type = _Dropper


class RetriesWrites(Tweaked):
    """Takes a write whose answer did not come for one that did not happen."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultUnavailable:
            super().write(path, data)


class RetriesWritesLater(Tweaked):
    """The same, after a while."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultUnavailable:
            time.sleep(1.2)
            super().write(path, data)


class TakesAWriteThatNobodyHeardForDone(Tweaked):
    """Finds nobody to write to, and says nothing of it."""

    swallows: tuple[type[VaultUnavailable], ...] = (VaultUnreachable,)

    def write(self, path: str, data: Mapping[str, str]) -> None:
        with contextlib.suppress(*self.swallows):
            super().write(path, data)


class TakesAWriteThatFailedForDone(TakesAWriteThatNobodyHeardForDone):
    """Is told that the server cannot, and says nothing of it."""

    swallows = (VaultSealed, ServerFailed)


class GivesUpWriting(Tweaked):
    """After a write that failed it takes no other; it reads on."""

    _failed: VaultUnavailable | None = None

    def write(self, path: str, data: Mapping[str, str]) -> None:
        if self._failed is not None:
            raise self._failed
        try:
            super().write(path, data)
        except VaultUnavailable as error:
            self._failed = error
            raise


class _Impatient(Wire):
    """Half a second is long enough."""

    def send(self, *args: Any, deadline: float, **how: Any) -> Reply:
        return super().send(*args, deadline=min(deadline, time.monotonic() + 0.5), **how)


class IsImpatient(LazyClient):
    """Has a timeout for each try that only a quick network can keep."""

    wire_type = _Impatient


class _HasAThird(Wire):
    """Makes three tries of a call's time, whether Vault is about to answer or not."""

    def send(self, *args: Any, deadline: float, **how: Any) -> Reply:
        return super().send(*args, deadline=min(deadline, time.monotonic() + 1.0), **how)


class HasAThirdOfItsTime(LazyClient):
    """Gives a request a third of its call's deadline, which is three seconds there."""

    wire_type = _HasAThird


class _Frank(Gate):
    """Keeps no count of failures."""

    @contextlib.contextmanager
    def passage(self, deadline: float) -> Iterator[None]:
        del deadline
        yield


class TriesOnce(LazyClient):
    """Surfaces the first failure."""

    gate_type = _Frank

    def read(self, path: str, key: str) -> str:
        deadline = time.monotonic() + self._deadline
        reply = self._fetch(path, deadline)
        return str(reply.body["data"]["data"][key])


class TriesOnceForAWhole(LazyClient):
    """Tries a read of one key again, and has other code for all of a secret, which does not."""

    gate_type = _Frank

    def read(self, path: str, key: str) -> str:
        return super().read_all(path)[key]

    def read_all(self, path: str) -> dict[str, str]:
        reply = self._fetch(path, time.monotonic() + self._deadline * 0.95)
        if reply.status != 200:
            return super().read_all(path)  # what is gone, or denied, has its word
        return {key: str(value) for key, value in reply.body["data"]["data"].items()}


class LeavesItsTokenAfterAnOutage(Shaken):
    """Gives its token back in calm weather; after an outage it forgets to."""

    def close(self) -> None:
        if self._shaken:
            self._token = None
        super().close()


# At the edges of thresholds


class _SixSeconds(AsksAgainLater):
    pause = 6.2


class _EightSeconds(AsksAgainLater):
    pause = 8.4


class ComesBackLate(LazyClient):
    """Looks again two seconds after an outage of four, and has promised three."""

    gate_type = _SixSeconds


class ComesBackTooLate(LazyClient):
    """Looks again four seconds after an outage of four, and has promised three."""

    gate_type = _EightSeconds


class AsksForItFourTimes(LazyClient):
    """Asks four times in one call for what comes cut off."""

    tries = 4

    def read(self, path: str, key: str) -> str:
        deadline = time.monotonic() + self._deadline * 0.95
        for _ in range(self.tries):
            token = self._valid_token(deadline)
            where = f"{self._mount}/data/{path}"
            with contextlib.suppress(UnavailableError):
                reply = self._wire.send("GET", where, deadline=deadline, token=token.value)
                if reply.status != 200:
                    return super().read(path, key)
                return str(reply.body["data"]["data"][key])
            time.sleep(0.05)
        raise UnavailableError("no answer came whole")


class AsksForItFiveTimes(AsksForItFourTimes):
    """Once too often."""

    tries = 5


class RenewsInTimeOnASlowNetwork(AtShare):
    """Its tokens are late themselves, so it plans ahead."""

    share = 0.78


class RenewsTooLateOnASlowNetwork(AtShare):
    """In time, if answers did not take a tenth of its token's life."""

    share = 0.92


class _OneAddress(Wire):
    """Resolves its server's name when it is made."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._host = socket.gethostbyname(self._host)


class ResolvesOnce(LazyClient):
    """Keeps the address that Vault's name had at the start."""

    wire_type = _OneAddress


class _KeepsItAWhile(Wire):
    """Resolves its server's name anew so many seconds after the address has failed first."""

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


class _KeepsItTooLong(_KeepsItAWhile):
    lasts = 38.0


class KeepsADeadAddressAWhile(LazyClient):
    """Asks for the address of Vault's name 24 s after the one that it has has died."""

    wire_type = _KeepsItAWhile


class KeepsADeadAddressTooLong(LazyClient):
    """Asks for it 38 s after that."""

    wire_type = _KeepsItTooLong


class _LooksBack(Wire):
    """Has a list of addresses, which grows at its end."""

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


class TriesEachAddressThatItKnew(LazyClient):
    """Begins with the oldest of the addresses that Vault's name had, at each request."""

    wire_type = _LooksBack


class LooksWhetherItIsBack(LazyClient):
    """Follows Vault's name, and looks again and again whether its first address is back."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first = socket.gethostbyname(self._wire._host)
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._closed:
            time.sleep(0.4)
            with contextlib.suppress(OSError):
                socket.create_connection((self._first, self._wire._port), timeout=0.3).close()


class _AsksAgain(Leases):
    def _replace(self, held: Held, deadline: Deadline, patience: float, reason: str) -> Grant:
        while True:
            try:
                return super()._replace(held, deadline, patience, reason)
            except VaultUnavailable as error:
                if deadline.passed or not error.sent:
                    raise


class RetriesALostLease(Leasing):
    """Asks for a credential again and again, as if it were a read."""

    leases_type = _AsksAgain


class _HasAllTheTime(Leases):
    def _ask(self, path: str, token: Any, deadline: Deadline) -> Grant:
        del deadline
        return super()._ask(path, token, Deadline(3600.0))


class AsksForACredentialWithoutADeadline(Leasing):
    """Waits for a credential for as long as Vault takes to make it."""

    leases_type = _HasAllTheTime


class TriesItsRenewalNowAndThen(LazyClient):
    """A renewal that finds nobody is made again every 0.6 s, whatever the callers' reads meet."""

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


class HammersItsRenewal(TriesItsRenewalNowAndThen):
    """Ten times a second, until there is somebody or the token is at its end."""

    pause = 0.1


class DropsItsTokenSoon(DropsItsTokenOnError):
    """Gives a renewal half a second, so that it fails though Vault is there again a while later."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        return super()._renewed(token, min(deadline, time.monotonic() + 0.5))


MUTANTS: dict[str, Mutant] = {
    "connects-without-a-pause": Mutant(
        every_day.ConnectsWithoutAPause, "NET-01", "no log without a pause"
    ),
    "leaves-its-token-after-an-outage": Mutant(LeavesItsTokenAfterAnOutage, "NET-01", "alive"),
    "rests-for-long-before-it-writes-again": Mutant(
        unasked.RestsForLongBeforeItWritesAgain, "NET-01", "a write is good again"
    ),
    "logs-in-later-after-an-outage": Mutant(
        LogsInLaterAfterAFailure, "NET-01", "the token survives"
    ),
    "never-comes-back": Mutant(NeverComesBack, "NET-01", "a good read within"),
    "dies-in-an-outage": Mutant(
        always.DiesInAnOutage, "NET-02", "the client stays alive", process=True
    ),
    "waits-in-a-black-hole": Mutant(HasNoTimeout, "NET-03", "every call ends within"),
    "keeps-a-dead-connection": Mutant(
        KeepsADeadConnection, "NET-04", "1 read of each caller", REFERENCE
    ),
    "keeps-a-dead-connection-behind-its-memory": Mutant(
        KeepsADeadConnectionBehindItsMemory, "NET-04", "1 read of each caller"
    ),
    "retries-a-stalled-write": Mutant(
        RetriesWritesLater, "NET-05", "applied at most once", REFERENCE
    ),
    "gives-up-writing-after-a-stall": Mutant(
        GivesUpWriting, "NET-05", "a good write within", REFERENCE
    ),
    "gives-up-writing-after-a-lost-answer": Mutant(
        GivesUpWriting, "NET-13", "a good write within", REFERENCE
    ),
    "is-impatient": Mutant(IsImpatient, "NET-06", "no read fails"),
    "has-a-third-of-its-time-for-each-try": Mutant(HasAThirdOfItsTime, "NET-06", "no read fails"),
    "waits-for-late-answers": Mutant(HasNoTimeout, "NET-07", "every call ends within"),
    "no-total-deadline": Mutant(NoTotalDeadline, "NET-08", "every call ends within"),
    "waits-for-a-big-answer": Mutant(HasNoTimeout, "NET-09", "every call ends within"),
    "waits-for-a-bigger-answer": Mutant(HasNoTimeoutOfTen, "NET-09", "every call ends within"),
    "takes-half-an-answer": Mutant(TakesHalfAnAnswer, "NET-10", "no wrong value"),
    "tries-once": Mutant(TriesOnce, "NET-11", "at most 20 reads fail"),
    "tries-once-for-a-whole": Mutant(TriesOnceForAWhole, "NET-11", "at most 20 reads fail"),
    "loses-a-reset-renewal": Mutant(GivesUpRenewing, "NET-12", "the next renewal succeeds"),
    "loses-heart-in-a-callers-call": Mutant(
        edges_hangs.GivesUpInACallersCall, "NET-12", "the next renewal succeeds"
    ),
    "merges-what-it-writes": Mutant(
        beside_reads.MergesWhatItWrites, "NET-13", "left what it does not name: retired", REFERENCE
    ),
    "strips-what-it-writes": Mutant(
        beside_reads.StripsWhatItWrites, "NET-13", "and is not there: password", REFERENCE
    ),
    "writes-json-by-hand": Mutant(
        outsiders.WritesJsonByHand, "NET-13", "whatever is text can be written", REFERENCE
    ),
    "counts-letters-for-bytes": Mutant(
        outsiders.CountsLettersForBytes, "NET-13", "whatever is text can be written", REFERENCE
    ),
    "writes-ascii-alone": Mutant(
        outsiders.WritesAsciiAlone, "NET-13", "and is not there: password", REFERENCE
    ),
    "decodes-piece-by-piece": Mutant(
        outsiders.DecodesPieceByPiece, "NET-09", "no wrong value is ever handed out"
    ),
    "has-room-for-64-kilobytes": Mutant(
        outsiders.HasRoomFor64Kilobytes, "NET-09", "a secret of 300 kB is read"
    ),
    "retries-a-lost-write": Mutant(RetriesWrites, "NET-13", "applied at most once", REFERENCE),
    "retries-a-write-that-a-gateway-failed": Mutant(
        oversights.RetriesAWriteThatAGatewayFailed, "NET-13", "applied at most once", REFERENCE
    ),
    "takes-a-write-that-nobody-heard-for-done": Mutant(
        TakesAWriteThatNobodyHeardForDone, "NET-13", "made no version", REFERENCE
    ),
    "takes-a-write-that-failed-for-done": Mutant(
        TakesAWriteThatFailedForDone, "NET-13", "made no version", REFERENCE
    ),
    "takes-any-page-for-a-write": Mutant(
        writing.TakesAnyPageForAWrite, "NET-13", "made no version", REFERENCE
    ),
    "takes-a-refused-write-for-done": Mutant(
        writing.TakesARefusedWriteForDone, "NET-13", "made no version", REFERENCE
    ),
    "writes-key-by-key": Mutant(
        writing.WritesKeyByKey, "NET-13", "and is not there: user", REFERENCE
    ),
    "keeps-what-it-could-not-write": Mutant(
        writing.KeepsWhatItCouldNotWrite,
        "NET-13",
        "read_cached of backend/ledger (password) gave",
        REFERENCE,
    ),
    "holds-up-its-readers-while-it-writes": Mutant(
        untried.HoldsUpItsReadersWhileItWrites,
        "NET-13",
        "no reader of another secret waits",
        REFERENCE,
    ),
    "joins-writes-by-their-path": Mutant(
        writing.JoinsWritesByTheirPath, "NET-13", "of two writes at once", REFERENCE
    ),
    "writes-again-what-was-cut": Mutant(
        writing.WritesAgainWhatWasCut, "NET-13", "applied at most once", REFERENCE
    ),
    "takes-a-cut-answer-for-an-empty-whole": Mutant(
        wholes.TakesAnOutageForAnEmptyWhole, "NET-10", "none of its keys"
    ),
    "retries-a-lost-lease": Mutant(RetriesALostLease, "NET-14", "users that were made", REFERENCE),
    "asks-for-a-credential-without-a-deadline": Mutant(
        AsksForACredentialWithoutADeadline, "NET-14", "every call ends within", REFERENCE
    ),
    "leaves-a-lost-credential-behind": Mutant(
        LeavesItsCredentialsBehind, "NET-14", "given back at the end", REFERENCE
    ),
    "resolves-once": Mutant(
        ResolvesOnce, "NET-16", "reads go to 127.0.0.2 within", LAZY_PROCESS, process=True
    ),
    "keeps-a-dead-address-too-long": Mutant(
        KeepsADeadAddressTooLong,
        "NET-16",
        "reads go to 127.0.0.2 within",
        LAZY_PROCESS,
        process=True,
    ),
    "tries-each-address-that-it-knew": Mutant(
        TriesEachAddressThatItKnew, "NET-16", "nobody asks at", LAZY_PROCESS, process=True
    ),
    "takes-an-unknown-name-for-the-end": Mutant(
        oversights.TakesAnUnknownNameForTheEnd,
        "NET-16",
        "reads go to 127.0.0.3 within",
        LAZY_PROCESS,
        process=True,
    ),
    "looks-whether-it-is-back": Mutant(
        LooksWhetherItIsBack, "NET-16", "nobody asks at", LAZY_PROCESS, process=True
    ),
    "leaves-a-thread-for-each-flap": Mutant(
        LeavesAThreadForEachFailure, "NET-15", "leaves nothing behind"
    ),
    "storms-a-dead-upstream": Mutant(RetriesWithoutAPause, "NET-18", "no connection storm"),
    "waits-in-a-black-hole-from-its-start": Mutant(
        HasNoTimeout, "NET-19", "every call ends within"
    ),
    "gives-up-in-a-black-hole": Mutant(GivesUpAtItsStart, "NET-19", "a good read within"),
    "loads-for-too-long-in-a-black-hole": Mutant(
        loading.LoadsForTooLong, "NET-19", "every call ends within"
    ),
    "comes-back-too-late": Mutant(ComesBackTooLate, "NET-01", "a good read within"),
    "asks-five-times-for-a-cut-answer": Mutant(AsksForItFiveTimes, "NET-10", "requests (read)"),
    "renews-too-late-on-a-slow-network": Mutant(
        RenewsTooLateOnASlowNetwork, "NET-06", "between 0.3 and 0.95"
    ),
    "leaves-nine-threads-behind-a-flap": Mutant(
        LeavesNineThreads, "NET-15", "leaves nothing behind"
    ),
    "keeps-nine-connections-behind-a-flap": Mutant(
        leftovers.KeepsNineInReserve, "NET-15", "connections: 0 before"
    ),
    "asks-too-often-of-a-dead-upstream": Mutant(AsksTooOften, "NET-18", "no connection storm"),
    "hammers-its-renewal": Mutant(HammersItsRenewal, "NET-18", "no connection storm"),
    "ends-its-renewals-of-leases-where-nobody-answers": Mutant(
        gone_leases.EndsItsRenewalsWhereNobodyAnswers,
        "NET-18",
        "is accepted by the database",
        REFERENCE,
    ),
    "takes-a-lease-for-renewed-where-nobody-answers": Mutant(
        gone_leases.TakesALeaseForRenewedWhereNobodyAnswers,
        "NET-18",
        "is accepted by the database",
        REFERENCE,
    ),
    "takes-a-due-renewal-for-a-dead-token": Mutant(DropsItsTokenSoon, "NET-18", "at most 0 logins"),
    "keeps-the-rest-of-its-pool": Mutant(
        gateways.KeepsTheRestOfItsPool, "NET-04", "1 read of each caller"
    ),
    "keeps-what-was-said-to-end": Mutant(gateways.KeepsWhatWasSaidToEnd, "NET-04", "no read fails"),
    "writes-over-what-was-said-to-end": Mutant(
        gateways.WritesOverWhatWasSaidToEnd, "NET-13", "no connection that was said to end"
    ),
    "rests-as-long-as-before": Mutant(pauses.RestsAsLongAsBefore, "NET-02", "renewed, or replaced"),
    "logs-in-twice-after-an-outage": Mutant(LogsInTwice, "NET-02", "at most 1 login"),
    "loses-two-logins-after-an-outage": Mutant(
        edges_logins.LosesTwoLoginsAtADeadline, "NET-02", "at most 1 login"
    ),
    "drops-a-login-with-time-left": Mutant(
        edges_logins.DropsALoginWithTimeLeft, "NET-02", "at most 1 login"
    ),
    "logs-in-once-more-later-after-an-outage": Mutant(
        LogsInOnceMoreLater, "NET-02", "at most 1 login"
    ),
    "renews-twice-at-once-over-a-bad-link": Mutant(
        RenewsTwiceAtOnce, "NET-12", "one renewal of a token"
    ),
    "waits-for-anothers-login": Mutant(
        companions.WaitsForAnothersLogin, "NET-19", "every call ends within"
    ),
    "takes-a-quota-for-a-write-that-is-done": Mutant(
        waylaid_writes.TakesAQuotaForDone, "NET-13", "made no version", REFERENCE
    ),
    "calls-a-page-a-denied-write": Mutant(
        waylaid_writes.CallsAPageADeniedWrite, "NET-13", "a failure then is unavailable", REFERENCE
    ),
    "drops-its-token-at-a-page-for-a-write": Mutant(
        waylaid_writes.DropsItsTokenAtAPageForAWrite, "NET-13", "the token survives", REFERENCE
    ),
    "writes-with-a-dead-token": Mutant(
        byways.WritesWithADeadToken, "NET-13", "a good write within", REFERENCE
    ),
    "takes-a-late-answer-for-the-next": Mutant(
        byways.TakesALateAnswerForTheNext, "NET-07", "no wrong value"
    ),
    "begins-its-time-anew": Mutant(byways.BeginsItsTimeAnew, "NET-08", "every call ends within"),
    "begins-its-time-anew-at-last": Mutant(
        byways.BeginsItsTimeAnewAtLast, "NET-08", "every call ends within"
    ),
    "takes-nobody-for-missing": Mutant(
        loose_ends.TakesNobodyForMissing, "NET-01", "a failure then is unavailable"
    ),
    "connects-at-leisure": Mutant(
        untried.ConnectsAtLeisure, "NET-03", "every call ends within 2 s"
    ),
    "takes-silence-for-a-denial": Mutant(
        loose_ends.TakesSilenceForADenial, "NET-03", "a failure then is unavailable"
    ),
    "changes-with-time-for-each-step": Mutant(
        beside_reads.ChangesWithTimeForEachStep, "NET-08", "update of backend/ledger", REFERENCE
    ),
    "changes-without-a-deadline": Mutant(
        beside_reads.ChangesWithoutADeadline, "NET-08", "update of backend/ledger", REFERENCE
    ),
    "writes-piece-by-piece": Mutant(
        loose_ends.WritesPieceByPiece, "NET-08", "write of backend/ledger", REFERENCE
    ),
    "reads-wholes-piece-by-piece": Mutant(
        loose_ends.ReadsWholesPieceByPiece, "NET-08", "read_all of shared/email"
    ),
    "takes-eight-kilobytes-for-the-most": Mutant(
        loose_ends.TakesEightKilobytesForTheMost, "NET-09", "a good read within"
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "rests-for-a-while-before-it-writes-again": Tolerated(
        unasked.RestsForAWhileBeforeItWritesAgain, "NET-01"
    ),
    "comes-back-late": Tolerated(ComesBackLate, "NET-01"),
    "loads-in-a-black-hole": Tolerated(loading.LoadsWhileItIsFirstAsked, "NET-19"),
    "renews-in-time-on-a-slow-network": Tolerated(RenewsInTimeOnASlowNetwork, "NET-06"),
    "takes-a-minute-on-a-slow-network": Tolerated(TakesAMinute, "NET-06"),
    "takes-a-lot-of-time-for-late-answers": Tolerated(TakesALotOfTime, "NET-07"),
    "asks-one-thing-at-a-time": Tolerated(other_styles.AsksOneThingAtATime, "NET-06"),
    "logs-in-on-a-slow-network-instead-of-renewing": Tolerated(LogsInInsteadOfRenewing, "NET-06"),
    "logs-in-at-a-third-after-an-outage": Tolerated(LogsInAtAThird, "NET-01"),
    "asks-for-an-hour-before-an-outage": Tolerated(edges_tokens.AsksForAnHour, "NET-02"),
    "heeds-a-goodbye": Tolerated(gateways.HeedsAGoodbye, "NET-04"),
    "heeds-a-goodbye-at-a-write": Tolerated(gateways.HeedsAGoodbyeAtAWrite, "NET-13"),
    "rests-for-two-seconds-at-most": Tolerated(pauses.RestsForTwoSecondsAtMost, "NET-02"),
    "logs-in-instead-of-renewing-after-an-outage": Tolerated(LogsInInsteadOfRenewing, "NET-02"),
    "renews-in-a-callers-call-after-an-outage": Tolerated(
        edges_hangs.RenewsInACallersCall, "NET-02"
    ),
    "loses-a-login-after-an-outage": Tolerated(edges_logins.LosesALoginAtADeadline, "NET-02"),
    "asks-for-an-hour-again": Tolerated(edges_tokens.AsksForAnHour, "NET-12"),
    "loses-a-renewal-in-a-callers-call": Tolerated(edges_hangs.RenewsInACallersCall, "NET-12"),
    "leaves-five-threads-behind-a-flap": Tolerated(LeavesFiveThreads, "NET-15"),
    "keeps-five-connections-behind-a-flap": Tolerated(leftovers.KeepsFiveInReserve, "NET-15"),
    "meets-its-second-loss-by-late-answers": Tolerated(
        own_pace.KeepsLongAndLogsInAtAThird, "NET-08"
    ),
    "has-its-late-change-merged": Tolerated(HasItsChangeMerged, "NET-08"),
    "asks-four-times-for-a-cut-answer": Tolerated(AsksForItFourTimes, "NET-10"),
    "writes-by-the-version": Tolerated(writing.WritesByTheVersion, "NET-13", REFERENCE),
    "takes-half-an-answer-for-a-write": Tolerated(
        writing.TakesHalfAnAnswerForAWrite, "NET-13", REFERENCE
    ),
    "tries-until-its-deadline": Tolerated(tempers.TriesUntilItsDeadline, "NET-10"),
    "answers-from-memory": Tolerated(tempers.AnswersFromMemory, "NET-10"),
    "breaks-its-circuit": Tolerated(tempers.BreaksItsCircuit, "NET-04"),
    "drops-a-dead-connection-behind-its-memory": Tolerated(
        DropsADeadConnectionBehindItsMemory, "NET-04"
    ),
    "asks-often-of-a-dead-upstream": Tolerated(AsksOften, "NET-18"),
    "tries-its-renewal-now-and-then": Tolerated(TriesItsRenewalNowAndThen, "NET-18"),
    "renews-a-lease-at-its-end-where-nobody-answers": Tolerated(
        gone_leases.RenewsALeaseAtItsEndWhereNobodyAnswers, "NET-18", REFERENCE
    ),
    "logs-in-instead-while-vault-is-gone": Tolerated(LogsInInsteadOfRenewing, "NET-18"),
    "keeps-a-dead-address-a-while": Tolerated(
        KeepsADeadAddressAWhile, "NET-16", LAZY_PROCESS, process=True
    ),
}
