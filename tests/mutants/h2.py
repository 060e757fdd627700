"""Clients that break the promises of H2: a connection that is dead and is used again."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping

import httpcore

from tests.mutants.clients import Mutant, Tolerated
from tests.mutants.tempers import BreaksItsCircuit
from tests.subjects.http2_client import Http2Client, Http2Wire

HTTP2 = "python:tests.subjects.http2_client:Http2Client"


class _Keeps(Http2Wire):
    """A request that is not answered is given up, and its connection is not."""

    def _exchanged(
        self, connection: httpcore.ConnectionPool, request: httpcore.Request, left: float
    ) -> httpcore.Response:
        answers: queue.SimpleQueue[httpcore.Response | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(Http2Wire._exchanged(self, connection, request, 60.0))
            except Exception as error:  # noqa: BLE001 - raised to whoever waits
                answers.put(error)

        threading.Thread(target=ask, daemon=True).start()
        try:
            answer = answers.get(timeout=left)
        except queue.Empty:
            raise httpcore.ReadTimeout from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _failed(self, connection: httpcore.ConnectionPool) -> None:
        self._idle.append(connection)


class UsesADeadConnectionAgain(Http2Client):
    """Gives requests up one by one, and never the connection."""

    wire_type = _Keeps


class _Patient(_Keeps):
    """Two requests without an answer, and a connection is taken for dead."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._failures: dict[httpcore.ConnectionPool, int] = {}

    def _failed(self, connection: httpcore.ConnectionPool) -> None:
        self._failures[connection] = self._failures.get(connection, 0) + 1
        if self._failures[connection] < 2:
            self._idle.append(connection)


class GivesADeadConnectionASecondTry(Http2Client):
    """Takes a connection for dead after the second request without an answer."""

    wire_type = _Patient


MUTANTS: dict[str, Mutant] = {
    "uses-a-dead-connection-again": Mutant(
        UsesADeadConnectionAgain, "H2-01", "a good read within", HTTP2
    ),
    "gives-a-dead-connection-a-second-try": Mutant(
        GivesADeadConnectionASecondTry, "H2-01", "at most 1", HTTP2
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "breaks-its-circuit-over-http2": Tolerated(BreaksItsCircuit, "H2-01", HTTP2),
}
