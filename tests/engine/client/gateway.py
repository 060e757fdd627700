"""A relay between client and Vault that counts requests and breaks connections on purpose."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_REQUEST = re.compile(rb"^(GET|POST|PUT|DELETE|LIST|HEAD) (\S+) HTTP/1.1\r\n")

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

Stub = Callable[[str, str], bytes | None]


@dataclass(frozen=True)
class Request:
    """A request that passed, or was answered here."""

    at: float
    method: str
    path: str


class Gateway:
    """Listens on loopback and passes on to Vault, until told otherwise.

    Args:
        upstream: ``http://host:port`` of Vault.
    """

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.removeprefix("http://").partition(":")
        self._upstream = (host, int(port))
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._closed = False
        self.requests: list[Request] = []
        self.connections = 0
        self.silent = False
        self.drip: float | None = None
        self.cut: int | None = None
        self.stub: Stub | None = None
        self.delay = 0.0
        self._listener: socket.socket | None = None
        self._port = 0
        self._listen()

    @property
    def address(self) -> str:
        """What the client connects to."""
        return f"http://127.0.0.1:{self._port}"

    def count(self, part: str, since: float = 0.0) -> int:
        """How many requests with ``part`` in their path came since."""
        return len(self.matching(part, since))

    def matching(self, part: str, since: float = 0.0) -> list[Request]:
        """Those requests."""
        return [r for r in list(self.requests) if part in r.path and r.at >= since]

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody listens, and open connections break."""
        self._stop_listening()
        self.break_connections()
        try:
            yield
        finally:
            self._listen()

    @contextlib.contextmanager
    def black_hole(self) -> Iterator[None]:
        """Everything is accepted and nothing is answered."""
        self.silent = True
        try:
            yield
        finally:
            self.silent = False
            self.break_connections()

    @contextlib.contextmanager
    def dripping(self, seconds: float) -> Iterator[None]:
        """Answers come byte by byte."""
        self.drip = seconds
        try:
            yield
        finally:
            self.drip = None

    @contextlib.contextmanager
    def cutting(self, size: int) -> Iterator[None]:
        """Connections end after that many bytes of answers."""
        self.cut = size
        self.break_connections()
        try:
            yield
        finally:
            self.cut = None
            self.break_connections()

    @contextlib.contextmanager
    def answering(self, stub: Stub) -> Iterator[None]:
        """Answer in Vault's place where ``stub`` gives a whole HTTP answer."""
        self.stub = stub
        try:
            yield
        finally:
            self.stub = None

    def break_connections(self) -> None:
        """End every open connection."""
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything."""
        self._closed = True
        self._stop_listening()
        self.break_connections()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(256)
        self._listener = listener
        self._port = listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            # Closing alone would let the thread in accept() take one more.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._upstream)
        except OSError:
            client.close()
            return
        with self._lock:
            self._sockets |= {client, server}
        back = threading.Thread(target=self._answers, args=(server, client), daemon=True)
        back.start()
        with contextlib.suppress(OSError):
            self._questions(client, server)
        for sock in (client, server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        back.join()
        with self._lock:
            self._sockets -= {client, server}
        client.close()
        server.close()

    def _questions(self, client: socket.socket, server: socket.socket) -> None:
        while data := client.recv(65536):
            match = _REQUEST.match(data)
            if match is not None:
                data += self._rest(client, data)
                method, path = match[1].decode(), match[2].decode()
                self.requests.append(Request(time.monotonic(), method, path))
                answer = self.stub(method, path) if self.stub is not None else None
                if answer is not None:
                    client.sendall(answer)
                    continue
            server.sendall(data)

    def _rest(self, client: socket.socket, data: bytes) -> bytes:
        """The body of a request, which comes after its head in a packet of its own."""
        head, _, body = data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        missing = int(length[1]) - len(body) if length is not None else 0
        rest = b""
        while len(rest) < missing:
            more = client.recv(65536)
            if not more:
                break
            rest += more
        return rest

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if self.silent:
                    continue
                if self.cut is not None and passed + len(data) > self.cut:
                    client.sendall(data[: max(0, self.cut - passed)])
                    break
                passed += len(data)
                if self.delay:
                    time.sleep(self.delay)  # the latency of the line is what is tested
                if self.drip is None:
                    client.sendall(data)
                    continue
                for byte in data:
                    client.sendall(bytes([byte]))
                    time.sleep(self.drip or 0)  # the drip itself; it may be over by now
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


def http(status: int, body: str = "", **headers: str) -> bytes:
    """A whole HTTP answer, for a stub."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
