"""Clients that break H2: they use a dead connection again."""

from __future__ import annotations

import queue
import ssl
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import httpcore

from tests.mutants.clients import WHOLES, Mutant, Tolerated, by_name
from tests.mutants.login_clients import BreaksItsCircuit
from tests.subjects.http2_client import Http2Client, Http2Wire

# H2-01


GOAWAY, HEAD = 7, 9
"""The type of a GOAWAY frame, and the length of a frame's head."""


WHOLES[Http2Wire] = Http2Client, "wire_type"


class _IgnoresGoaway(httpcore.NetworkStream):
    """Hides GOAWAY frames, since the library would obey them."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._kept = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        while True:
            data = self._stream.read(max_bytes, timeout)
            self._kept += data
            if (heard := self._frames()) or not data:
                return heard

    def _frames(self) -> bytes:
        heard = b""
        while len(self._kept) >= (length := HEAD + int.from_bytes(self._kept[:3])):
            frame, self._kept = self._kept[:length], self._kept[length:]
            heard += b"" if frame[3] == GOAWAY else frame
        return heard

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _IgnoresGoaway(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Unheard(httpcore.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return _IgnoresGoaway(
            super().connect_tcp(host, port, timeout, local_address, socket_options)
        )


class ReusesAConnectionAfterGoaway(Http2Wire):
    """Gets no answer over it."""

    def _new(self) -> httpcore.ConnectionPool:
        return httpcore.ConnectionPool(
            ssl_context=self._context(), http2=True, max_connections=1, network_backend=_Unheard()
        )


HTTP2 = "python:tests.subjects.http2_client:Http2Client"


class UsesADeadConnectionAgain(Http2Wire):
    """Gives up an unanswered request, and keeps its connection."""

    def _exchanged(
        self, connection: httpcore.ConnectionPool, request: httpcore.Request, left: float
    ) -> httpcore.Response:
        answers: queue.SimpleQueue[httpcore.Response | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(Http2Wire._exchanged(self, connection, request, 60.0))
            except Exception as error:  # noqa: BLE001 - raised in the waiting caller
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


class DropsADeadConnectionAfterTwoRequests(UsesADeadConnectionAgain):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._failures: dict[httpcore.ConnectionPool, int] = {}

    def _failed(self, connection: httpcore.ConnectionPool) -> None:
        self._failures[connection] = self._failures.get(connection, 0) + 1
        if self._failures[connection] < 2:
            self._idle.append(connection)


MUTANTS = by_name(
    Mutant(ReusesAConnectionAfterGoaway, "H2-01", "no read fails"),
    Mutant(UsesADeadConnectionAgain, "H2-01", "a good read within"),
    Mutant(DropsADeadConnectionAfterTwoRequests, "H2-01", "at most 1"),
)


TOLERATED = by_name(
    Tolerated(BreaksItsCircuit, "H2-01").called("opens-a-circuit-after-a-failure-over-http2"),
)
