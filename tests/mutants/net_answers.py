"""Clients that break NET-04 or 06 to 10: dead connections, and late or cut answers."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from tests.mutants.clients import (
    REFERENCE,
    AtShare,
    HasATenSecondDeadline,
    HasItsChangeMerged,
    HasNoTimeout,
    Mutant,
    Tolerated,
    TreatsAnOutageAsAnEmptySecret,
    by_name,
)
from tests.mutants.login_clients import (
    FIRST,
    AnswersFromMemory,
    BreaksItsCircuit,
    KeepsLongAndLogsInAtAThird,
    LogsInInsteadOfRenewing,
    _Unguarded,
)
from tests.mutants.reference_clients import Tweaked, _WritesByItself
from tests.subjects.lazy_client import LazyClient, _secret
from tests.subjects.lazy_wire import (
    DeniedError,
    GivenUpError,
    Reply,
    UnavailableError,
    Wire,
    _left,
    is_whole,
)


class ObeysConnectionClose(Wire):
    """Keeps its connections; drops all idle ones after a failure."""

    heeds = True

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._idle: deque[socket.socket] = deque()

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        peer = self._taken() or socket.create_connection(
            (self._host, self._port), timeout=_left(deadline)
        )
        received = bytearray()
        try:
            peer.settimeout(_left(deadline))
            peer.sendall(request.replace(b"Connection: close\r\n", b"", 1))
            while not is_whole(received):
                peer.settimeout(_left(deadline))
                piece = peer.recv(65536)
                if not piece:
                    raise ConnectionResetError
                received += piece
        except OSError:
            peer.close()
            self._forget()
            raise
        head = received.partition(b"\r\n\r\n")[0].lower()
        if self.heeds and b"\r\nconnection: close" in head:
            peer.close()
        else:
            self._idle.append(peer)
        return bytes(received)

    def _forget(self) -> None:
        while (idle := self._next()) is not None:
            idle.close()

    def _taken(self) -> socket.socket | None:
        while (peer := self._next()) is not None:
            if not select.select([peer], [], [], 0)[0]:
                return peer
            peer.close()
        return None

    def _next(self) -> socket.socket | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None


class IgnoresConnectionClose(ObeysConnectionClose):
    """Checks whether a connection has closed, but ignores the announcement."""

    heeds = False


# NET-04


class KeepsADeadConnection(Wire):
    """Keeps one connection for each thread."""

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
            self._kept.__dict__.clear()  # the server has announced to close it
        return bytes(received)


class KeepsAllOtherDeadConnectionsOfItsPool(ObeysConnectionClose):
    """Drops a dead connection, and then meets the next one: as many as a busy hour left."""

    def _forget(self) -> None:
        """Keep the other connections."""


class _Dropper(KeepsADeadConnection):
    """Keeps a connection as long as it answers."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        try:
            return super()._exchange(request, deadline)
        except OSError:
            self._kept.__dict__.clear()
            raise


class DropsADeadConnectionBehindACache(AnswersFromMemory):
    """Answers from memory, and notices a dead connection in the background."""

    wire_type = _Dropper


# NET-06


class HasAThirdOfItsDeadlineForEachTry(Wire):
    """Splits a call's time into three tries."""

    def send(self, *args: Any, deadline: float, **how: Any) -> Reply:
        return super().send(*args, deadline=min(deadline, time.monotonic() + 1.0), **how)


class SendsOneRequestAtATimeOnASlowNetwork(Wire):
    """Correct while answers come; TOK-22 asks for more."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._turn = threading.Lock()

    def send(self, *args: Any, deadline: float, **how: Any) -> Reply:
        if not self._turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise GivenUpError("another request is under way")
        try:
            return super().send(*args, deadline=deadline, **how)
        finally:
            self._turn.release()


# NET-07


class _TakesWhatComes(Wire):
    """Keeps connections on which an abandoned answer may still arrive."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._idle: list[socket.socket] = []

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        try:
            peer = self._idle.pop()
        except IndexError:
            peer = socket.create_connection((self._host, self._port), timeout=1.0)
        received = bytearray()
        try:
            peer.settimeout(max(0.01, deadline - time.monotonic()))
            peer.sendall(request.replace(b"Connection: close\r\n", b"", 1))
            while not is_whole(received):
                peer.settimeout(max(0.01, deadline - time.monotonic()))
                if not (piece := peer.recv(65536)):
                    raise ConnectionResetError
                received += piece
        except TimeoutError:
            self._idle.append(peer)
            raise
        except OSError:
            peer.close()
            raise
        self._idle.append(peer)
        return bytes(received)


class ReturnsALateAnswerToTheNextRequest(LazyClient):
    wire_type = _TakesWhatComes

    def close(self) -> None:
        super().close()
        for peer in self._wire._idle:  # type: ignore[attr-defined]  # the wire above has them
            peer.close()


# NET-08


class NoTotalDeadline(Wire):
    """Has a timeout for each piece."""

    def _exchange(self, request: bytes, *_: Any, **__: Any) -> bytes:
        received = []
        with socket.create_connection((self._host, self._port), timeout=1.5) as peer:
            peer.sendall(request)
            while piece := peer.recv(65536):
                received.append(piece)
        return b"".join(received)


class RestartsItsDeadlineAfterALogin(LazyClient):
    """A call that finds its token dead starts its deadline again."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        where = f"{self._mount}/data/{path}"
        token = self._valid_token(deadline)
        reply = self._ask("GET", where, deadline, token)
        if reply.status == 403 and self._was_dead(where, token, self._new_deadline()):
            return super()._fetch(path, self._new_deadline())
        if reply.status == 403:
            raise DeniedError(f"the policy denies {path}")
        return reply

    def _new_deadline(self) -> float:
        return time.monotonic() + self._deadline * 0.95


class RestartsItsDeadlineForEachStepOfAChange(Tweaked):
    """Gives the read of a change a call's whole time, and its write the same again."""

    seconds = 0.0

    def update(self, path: str, data: Mapping[str, str]) -> None:
        seconds = self.seconds or self.client.config.timeout
        read = self.client.read(path, timeout=seconds)
        changed = {**read.value, **data}
        self.client.put_secret(path, changed, cas=read.version, timeout=seconds)


SECONDS_A_PIECE = 1.5
"""Seconds, longer than the gaps of an answer that drips."""


# NET-09


PIECE, ROOM = 4096, 65536
"""Bytes: of a piece, and of the largest buffer."""


class DecodesEachPieceByItself(LazyClient):
    """Decodes each piece of an answer by itself: a letter across two pieces is lost."""

    def read_all(self, path: str) -> dict[str, str]:
        def read(value: str) -> str:
            raw = value.encode()
            pieces = (raw[at : at + PIECE] for at in range(0, len(raw), PIECE))
            return "".join(piece.decode(errors="replace") for piece in pieces)

        return {key: read(value) for key, value in super().read_all(path).items()}


class CutsAnswersAt64Kilobytes(Wire):
    """Reads an answer as a line, with its library's default limit."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        if len(raw) > ROOM:
            raise UnavailableError("the answer is longer than its buffer")
        return raw


MOST = 8192


# NET-10


class ReturnsAnEmptyValueForACutAnswer(LazyClient):
    """Finds no value in the part that came."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except UnavailableError as error:
            if "cut short" in str(error):
                return ""
            raise


class AsksForItFourTimes(LazyClient):
    """Asks four times in one call."""

    tries, pause = 4, 0.05

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
            time.sleep(self.pause)
        raise UnavailableError("no answer came whole")


class TriesUntilItsDeadline(LazyClient):
    """Retries within a call as long as it has time, with pauses that double from 0.1 s."""

    gate_type = _Unguarded

    def read_all(self, path: str) -> dict[str, str]:
        deadline = time.monotonic() + self._deadline * 0.95
        pause = FIRST
        while True:
            try:
                return _secret(self._fetch(path, deadline), path)
            except UnavailableError:
                if time.monotonic() + pause >= deadline:
                    raise
            time.sleep(pause)
            pause *= 2


MUTANTS = by_name(
    Mutant(KeepsADeadConnection, "NET-04", "1 read of each caller", deviates_from=REFERENCE),
    Mutant(KeepsAllOtherDeadConnectionsOfItsPool, "NET-04", "1 read of each caller"),
    Mutant(IgnoresConnectionClose, "NET-04", "no read fails"),
    Mutant(HasAThirdOfItsDeadlineForEachTry, "NET-06", "no read fails"),
    # It would be in time on a fast network.
    Mutant(AtShare, "NET-06", "between 0.3 and 0.95").called(
        "renews-too-late-on-a-slow-network", share=0.92
    ),
    Mutant(HasNoTimeout, "NET-07", "every call ends within").called("waits-for-late-answers"),
    Mutant(ReturnsALateAnswerToTheNextRequest, "NET-07", "no wrong value"),
    Mutant(NoTotalDeadline, "NET-08", "every call ends within"),
    Mutant(RestartsItsDeadlineAfterALogin, "NET-08", "every call ends within"),
    Mutant(RestartsItsDeadlineForEachStepOfAChange, "NET-08", "update of backend/ledger"),
    Mutant(_WritesByItself, "NET-08", "write of backend/ledger").called(
        "has-a-timeout-for-each-piece-of-an-answer-to-a-write", patience=SECONDS_A_PIECE
    ),
    Mutant(HasNoTimeout, "NET-09", "every call ends within").called(
        "waits-forever-for-a-large-answer"
    ),
    Mutant(DecodesEachPieceByItself, "NET-09", "no wrong value is ever handed out"),
    Mutant(CutsAnswersAt64Kilobytes, "NET-09", "a secret of 300 kB is read"),
    Mutant(ReturnsAnEmptyValueForACutAnswer, "NET-10", "no wrong value"),
    Mutant(TreatsAnOutageAsAnEmptySecret, "NET-10", "none of its keys").called(
        "treats-a-cut-answer-as-an-empty-secret"
    ),
    Mutant(AsksForItFourTimes, "NET-10", "no request storm").called(
        "retries-a-cut-answer-a-hundred-times", tries=100, pause=0.005
    ),
)


TOLERATED = by_name(
    Tolerated(ObeysConnectionClose, "NET-04"),
    Tolerated(BreaksItsCircuit, "NET-04").called("opens-a-circuit-after-a-failure"),
    Tolerated(DropsADeadConnectionBehindACache, "NET-04"),
    Tolerated(AtShare, "NET-06").called("renews-in-time-on-a-slow-network", share=0.78),
    Tolerated(HasATenSecondDeadline, "NET-06").called(
        "has-a-one-minute-deadline-on-a-slow-network", within=60.0
    ),
    Tolerated(SendsOneRequestAtATimeOnASlowNetwork, "NET-06"),
    Tolerated(LogsInInsteadOfRenewing, "NET-06").called(
        "logs-in-on-a-slow-network-instead-of-renewing"
    ),
    Tolerated(HasATenSecondDeadline, "NET-07").called(
        "has-a-long-deadline-for-late-answers", within=30.0
    ),
    Tolerated(KeepsLongAndLogsInAtAThird, "NET-08").called(
        "notices-a-lost-token-late-with-late-answers"
    ),
    Tolerated(HasItsChangeMerged, "NET-08").called("changes-a-key-by-patch-with-late-answers"),
    Tolerated(AsksForItFourTimes, "NET-10").called("retries-a-cut-answer-three-times"),
    Tolerated(TriesUntilItsDeadline, "NET-10"),
    Tolerated(AnswersFromMemory, "NET-10"),
)
