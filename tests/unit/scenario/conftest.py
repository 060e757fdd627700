"""A recorder before a server made for one test, and a plain socket before the recorder."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from harness.scenario import Exchange, History, Recorder
from harness.scenario._secrets import Secrets

TIMEOUT = 10.0


class Wire:
    """A socket that is read by condition, not by luck."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(TIMEOUT)
        self.kept = b""

    def send(self, data: bytes) -> None:
        """All of it."""
        self.sock.sendall(data)

    def exactly(self, count: int) -> bytes:
        """The next bytes; fewer only if the other side ends."""
        while len(self.kept) < count and (data := self.sock.recv(65536)):
            self.kept += data
        taken, self.kept = self.kept[:count], self.kept[count:]
        return taken

    def until(self, mark: bytes) -> bytes:
        """Up to and with these bytes; less only if the other side ends."""
        while mark not in self.kept and (data := self.sock.recv(65536)):
            self.kept += data
        end = self.kept.find(mark) + len(mark) if mark in self.kept else len(self.kept)
        return self.exactly(end)

    def rest(self) -> bytes:
        """Everything up to the other side's end."""
        while data := self.sock.recv(65536):
            self.kept += data
        taken, self.kept = self.kept, b""
        return taken

    def close(self) -> None:
        """A polite end."""
        self.sock.close()


Talk = Callable[[Wire], None]


class Server:
    """Listens, and lets `talk` speak on each connection; what it reads is kept."""

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
        """End it and all connections."""
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
    """A recorder, its history, and what talks to it."""

    def __init__(self) -> None:
        self.history = History()
        self.secrets = Secrets()
        self._closing: list[Callable[[], None]] = []

    def serve(self, talk: Talk) -> Recorder:
        """Put a recorder before a server that talks like this."""
        server = Server(talk)
        self._closing.append(server.close)
        return self.relay(server.address)

    def relay(self, upstream: str) -> Recorder:
        """Put a recorder before an address."""
        self.recorder = Recorder(self.history, self.secrets, upstream=upstream)
        self._closing.append(self.recorder.close)
        return self.recorder

    def connect(self) -> Wire:
        """A client's connection."""
        wire = Wire(socket.create_connection(("127.0.0.1", self.recorder.port), TIMEOUT))
        self._closing.append(wire.close)
        return wire

    def ended(self, count: int) -> list[Exchange]:
        """All exchanges, once that many have ended."""
        exchanges = self.history.exchanges
        came = self.history.wait_for(
            lambda: sum(e.ended is not None for e in exchanges) >= count, TIMEOUT
        )
        assert came, f"only these exchanges after {TIMEOUT:g} s: {exchanges}"
        assert len(exchanges) == count
        return exchanges

    def close(self) -> None:
        """End everything, the client first."""
        for close in reversed(self._closing):
            close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A recorder to be put before a server of the test's own."""
    with closing(Bench()) as made:
        yield made
