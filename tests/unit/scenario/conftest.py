"""Histories written by hand, and a recorder before a test's own server."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Literal, TypedDict, Unpack

import pytest

from vault_harness.judge.oracles import Oracle
from vault_harness.recorder.fault import Fault, RequestKind, Signature
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Exchange, Operation, Outcome
from vault_harness.recorder.recorder import Recorder, Tls
from vault_harness.recorder.secrets import Secrets

TIMEOUT = 10.0


class Wire:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(TIMEOUT)
        self.kept = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def exactly(self, count: int) -> bytes:
        """Return the next bytes; fewer only if the other side ends."""
        while len(self.kept) < count and (data := self.sock.recv(65536)):
            self.kept += data
        taken, self.kept = self.kept[:count], self.kept[count:]
        return taken

    def until(self, mark: bytes) -> bytes:
        """Return all bytes up to this mark; less only if the other side ends."""
        while mark not in self.kept and (data := self.sock.recv(65536)):
            self.kept += data
        end = self.kept.find(mark) + len(mark) if mark in self.kept else len(self.kept)
        return self.exactly(end)

    def rest(self) -> bytes:
        """Return everything up to the other side's end."""
        while data := self.sock.recv(65536):
            self.kept += data
        taken, self.kept = self.kept, b""
        return taken

    def close(self) -> None:
        self.sock.close()


Talk = Callable[[Wire], None]


class Server:
    """A server that lets `talk` speak on each connection."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._wires: list[Wire] = []
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                wire = Wire(self._socket.accept()[0])
                self._wires.append(wire)
                thread = threading.Thread(target=self._one, args=(wire,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _one(self, wire: Wire) -> None:
        with suppress(OSError), closing(wire.sock):
            self._talk(wire)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for wire in self._wires:
            with suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)
            wire.close()
        for thread in self._threads:
            thread.join(TIMEOUT)


class Bench:
    """A recorder, its history, and both sides of it."""

    def __init__(self) -> None:
        self.history = History()
        self.secrets = Secrets()
        self._closing: list[Callable[[], None]] = []

    def serve(self, talk: Talk, *, tls: ssl.SSLContext | None = None) -> Recorder:
        server = Server(talk)
        self._closing.append(server.close)
        return self.relay(server.address, tls=tls)

    def relay(
        self,
        upstream: str,
        *,
        tls: ssl.SSLContext | None = None,
        upstream_tls: ssl.SSLContext | None = None,
    ) -> Recorder:
        self.recorder = Recorder(
            self.history, self.secrets, upstream=upstream, tls=Tls(tls, upstream_tls)
        )
        self._closing.append(self.recorder.close)
        return self.recorder

    def connect(self) -> Wire:
        wire = Wire(socket.create_connection(("127.0.0.1", self.recorder.port), TIMEOUT))
        self._closing.append(wire.close)
        return wire

    def ended(self, count: int) -> list[Exchange]:
        """Return all exchanges, once that many have ended."""
        exchanges = self.history.exchanges
        came = self.history.wait_for(
            lambda: sum(e.ended is not None for e in exchanges) >= count, TIMEOUT
        )
        assert came, f"only these exchanges after {TIMEOUT:g} s: {exchanges}"
        assert len(exchanges) == count
        return exchanges

    def close(self) -> None:
        """Close the client first."""
        for close in reversed(self._closing):
            close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    with closing(Bench()) as made:
        yield made


class Story:
    def __init__(self) -> None:
        # The history began long ago, so that no time in a test lies in the future.
        self.history = History(started=time.monotonic() - 1000.0)

    def call(
        self,
        began: float,
        ended: float | None = None,
        outcome: Outcome | None = "ok",
        *,
        value: str | None = None,
        verb: str = "read",
        path: str = "backend/django",
        message: str = "",
    ) -> Operation:
        """Add a call of the subject; a good one returns `v1` by default."""
        operation = self.history.begin_operation(verb, path)
        operation.began = began
        operation.ended = began + 0.01 if ended is None and outcome is not None else ended
        operation.outcome, operation.message = outcome, message
        operation.value = "v1" if value is None and outcome in ("ok", "stale") else value
        return operation

    def calls(self, *began: float, outcome: Outcome = "ok") -> None:
        for at in began:
            self.call(at, outcome=outcome)

    def sent(
        self, kind: RequestKind, began: float, status: int | None = 200, **said: Unpack[Said]
    ) -> Exchange:
        """Add a request that reached the recorder, and its answer."""
        exchange = self.history.begin_exchange(1, "GET", said.pop("path", "p"), kind)
        exchange.began, exchange.status = began, status
        exchange.ended = said.pop("ended", began + 0.01)
        for name, value in said.items():
            setattr(exchange, name, value)
        return exchange

    def several(self, kind: RequestKind, *began: float, status: int | None = 200) -> None:
        for at in began:
            self.sent(kind, at, status)

    def put(self, at: float, value: str, *, path: str = "backend/django") -> None:
        """Add a new value, written in ten milliseconds."""
        rotation = self.history.note_rotation(path, value)
        rotation.at, rotation.done = at, at + 0.01

    def used(self, *began: float, accepted: bool = True, credential: str = "credential-1") -> None:
        for at in began:
            use = self.history.note_use(at, credential, accepted=accepted)
            use.ended = at + 0.01

    def fault(self, signature: Signature, began: float = 10.0, ended: float | None = 20.0) -> Fault:
        fault = self.history.begin_fault("the fault", signature)
        fault.began, fault.ended = began, ended
        return fault

    def finds(self, oracle: Oracle) -> list[str]:
        """Return what an oracle sees, in words."""
        return [finding.seen for finding in oracle(self.history)]


class Said(TypedDict, total=False):
    """What an answer may say beyond its status."""

    path: str
    ended: float | None
    token: str
    secret_id: str
    credential: str
    accessor: str
    ttl: float
    retry_after: float
    closed: Literal["client", "server"]
    connection: int
    waited: float
    by: Literal["vault", "stub"]


@pytest.fixture
def story() -> Story:
    return Story()
