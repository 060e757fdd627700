"""Two servers for the same tests: the embedded Toxiproxy, and the real one if it is installed.

The real server is ``toxiproxy-server`` on PATH, or the program that ``TOXIPROXY_SERVER_BINARY``
names. Its command line is ``toxiproxy-cli`` or ``TOXIPROXY_CLI_BINARY``.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import urlsplit

import pytest

from vault_harness.local.engine.process.spawn import die_with_parent
from vault_harness.local.toxiproxy.client import Proxy, Toxiproxy
from vault_harness.local.toxiproxy.toxics import Stream

Kind = Literal["embedded", "embedded by poll", "real"]

DEADLINE = 15.0
"""Seconds after which a test gives up waiting, even on a busy machine."""


@dataclass
class ServerProcess:
    kind: Kind
    process: subprocess.Popen[str]
    url: str
    errors: list[str] = field(default_factory=list)
    reader: threading.Thread | None = None
    """Reads what the embedded server logs."""

    @property
    def host_port(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    @property
    def pid(self) -> int:
        return self.process.pid


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """Decode the body, whatever its content type."""
        return json.loads(self.body)


@dataclass
class Upstream:
    """A listener on which the test plays the server."""

    listener: socket.socket

    @property
    def address(self) -> str:
        """``host:port``."""
        host, port = self.listener.getsockname()[:2]
        return f"{host}:{port}"

    def accept(self) -> socket.socket:
        sock, _ = self.listener.accept()
        sock.settimeout(DEADLINE)
        return sock


@dataclass
class Pair:
    proxy: Proxy
    client: socket.socket
    server: socket.socket
    upstream: Upstream

    def ends(self, stream: Stream) -> tuple[socket.socket, socket.socket]:
        there = (self.client, self.server)
        return there if stream == "upstream" else (self.server, self.client)


@dataclass
class Lab:
    """The tools of a contract test. Everything that it makes is undone after the test."""

    server: ServerProcess
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def kind(self) -> Kind:
        return self.server.kind

    @functools.cached_property
    def toxiproxy(self) -> Toxiproxy:
        """The typed client of the server. Its connection uses one of the server's descriptors."""
        return Toxiproxy(self.server.url, timeout=DEADLINE)

    def name(self) -> str:
        """Return a proxy name that no other test uses."""
        return f"proxy-{uuid.uuid4().hex[:12]}"

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Send a raw request. A body that is neither bytes nor None is sent as JSON."""
        connection = http.client.HTTPConnection(*self.server.host_port, timeout=DEADLINE)
        with contextlib.closing(connection):
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"User-Agent": "contract", **(headers or {})})
            response = connection.getresponse()
            return Reply(response.status, response.msg, response.read())

    def upstream(self) -> Upstream:
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        listener.settimeout(DEADLINE)
        self.stack.callback(listener.close)
        return Upstream(listener)

    def proxy(self, upstream: str, **options: Any) -> Proxy:
        proxy = self.toxiproxy.create(
            options.pop("name", self.name()), upstream=upstream, **options
        )

        def delete() -> None:
            with contextlib.suppress(Exception):
                proxy.delete()

        self.stack.callback(delete)
        return proxy

    def connect(self, proxy: Proxy) -> socket.socket:
        sock = socket.create_connection(proxy.address, timeout=DEADLINE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stack.callback(sock.close)
        return sock

    def join(self, proxy: Proxy, upstream: Upstream) -> Pair:
        """Connect a client to a proxy, and accept its other end."""
        client = self.connect(proxy)
        server = upstream.accept()
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stack.callback(server.close)
        return Pair(proxy, client, server, upstream)

    def pair(self) -> Pair:
        """Connect a client through a new proxy, and accept its other end."""
        upstream = self.upstream()
        return self.join(self.proxy(upstream.address), upstream)


BY_POLL = """
import selectors, sys
selectors.DefaultSelector = selectors.PollSelector
from vault_harness.local.toxiproxy.server.main import main
sys.exit(main())
"""
"""Runs without epoll, as on systems other than Linux. Unlike epoll, poll reports closed sockets."""


def _note_errors(log: IO[str], errors: list[str]) -> None:
    errors.extend(line for line in log if json.loads(line)["level"] == "error")


def _embedded(log: IO[str], kind: Kind, *flags: str) -> ServerProcess:
    code = (
        ["-c", BY_POLL] if kind == "embedded by poll" else ["-m", "vault_harness.local.toxiproxy"]
    )
    process = subprocess.Popen(
        [sys.executable, *code, "-port", "0", *flags],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, "LOG_LEVEL": "info"},
        preexec_fn=die_with_parent,
    )
    assert process.stdout is not None
    stdout = process.stdout
    for line in stdout:
        entry = json.loads(line)
        if entry["message"] == "Starting Toxiproxy HTTP server":
            server = ServerProcess(kind, process, f"http://{entry['address']}")
            server.reader = threading.Thread(
                target=_note_errors, args=(stdout, server.errors), daemon=True
            )
            server.reader.start()
            return server
    raise AssertionError(f"the embedded server ended with {process.wait()} before it was ready")


def _real(log: IO[str], *flags: str) -> ServerProcess:
    program = os.environ.get("TOXIPROXY_SERVER_BINARY") or shutil.which("toxiproxy-server")
    if program is None:
        pytest.skip("no toxiproxy-server on PATH, and TOXIPROXY_SERVER_BINARY is not set")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [program, "-port", str(port), *flags],
        stdout=subprocess.DEVNULL,
        stderr=log,
        text=True,
        preexec_fn=die_with_parent,
    )
    server = ServerProcess("real", process, f"http://127.0.0.1:{port}")
    Toxiproxy(server.url).wait_ready(DEADLINE)
    return server


Start = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a server with flags. It ends with the session."""
    started: list[ServerProcess] = []
    with (tmp_path_factory.mktemp("servers") / "stderr").open("w") as log:

        def start(kind: Kind, *flags: str) -> ServerProcess:
            server = _real(log, *flags) if kind == "real" else _embedded(log, kind, *flags)
            started.append(server)
            return server

        yield start
        for server in started:
            server.process.terminate()
        for server in started:
            server.process.wait(DEADLINE)
            if server.process.stdout is not None:
                if server.reader is not None:
                    server.reader.join(DEADLINE)  # read up to the last line
                server.process.stdout.close()
            assert server.errors == []


@pytest.fixture(
    scope="session",
    params=[
        "embedded",
        pytest.param("embedded by poll", marks=pytest.mark.slow),
        pytest.param("real", marks=pytest.mark.real_toxiproxy),
    ],
)
def kind(request: pytest.FixtureRequest) -> Kind:
    value: Kind = request.param
    return value


@pytest.fixture(scope="session")
def servers() -> dict[Kind, ServerProcess]:
    """The shared servers of a worker, started when a test needs them."""
    return {}


@pytest.fixture
def shared_server(
    kind: Kind, servers: dict[Kind, ServerProcess], start_server: Start
) -> ServerProcess:
    """Return one server of each kind for all tests of a worker.

    The real server (2.12.0) panics (slice bounds out of range) if a rate rises in the microsecond
    in which its bandwidth toxic cuts a chunk. That test fails, and later tests get a new server.
    """
    if kind not in servers or (kind == "real" and servers[kind].process.poll() is not None):
        servers[kind] = start_server(kind, "-proxy-metrics")
    return servers[kind]


@pytest.fixture
def lab(shared_server: ServerProcess) -> Iterator[Lab]:
    lab = Lab(shared_server)
    with lab.stack:
        yield lab


@pytest.fixture(scope="session")
def embedded_server(start_server: Start) -> ServerProcess:
    return start_server("embedded", "-proxy-metrics", "-seed", "7")


@pytest.fixture
def embedded(embedded_server: ServerProcess) -> Iterator[Lab]:
    lab = Lab(embedded_server)
    with lab.stack:
        yield lab


@pytest.fixture
def cli() -> Path:
    program = os.environ.get("TOXIPROXY_CLI_BINARY") or shutil.which("toxiproxy-cli")
    if program is None:
        pytest.skip("no toxiproxy-cli on PATH, and TOXIPROXY_CLI_BINARY is not set")
    return Path(program)


class Clock:
    """Checks durations with upstream's tolerances, on a busy machine too.

    An action that is too slow by accident takes the right time in another try. An action that is
    too fast is wrong at once.
    """

    TRIES = 12

    def takes(
        self,
        milliseconds: float,
        action: Callable[[], object],
        *,
        tolerance: float = 10.0,
        early: float = 2.0,
    ) -> None:
        """Check that the action takes that long (plus the tolerance) in one of several tries."""
        seen = []
        for _ in range(self.TRIES):
            start = time.perf_counter()
            action()
            seen.append((time.perf_counter() - start) * 1000)
            assert seen[-1] >= milliseconds - max(early, 0), f"too early: {seen[-1]:.1f} ms"
            if seen[-1] <= milliseconds + tolerance:
                return
        shown = ", ".join(f"{value:.1f}" for value in seen)
        raise AssertionError(f"wanted {milliseconds:g} (+{tolerance:g}) ms, took {shown} ms")


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Wire:
    RESET = "reset"
    EOF = "eof"

    @staticmethod
    def read(sock: socket.socket, count: int) -> bytes:
        """Return exactly that many bytes, or fewer if the connection ends."""
        data = bytearray()
        while len(data) < count:
            piece = sock.recv(count - len(data))
            if not piece:
                break
            data += piece
        return bytes(data)

    @staticmethod
    def read_all(sock: socket.socket) -> bytes:
        data = bytearray()
        while piece := sock.recv(65536):
            data += piece
        return bytes(data)

    @classmethod
    def end(cls, sock: socket.socket) -> str:
        """Return how the connection ends: ``eof`` or ``reset``. Skip the bytes before that."""
        try:
            while sock.recv(65536):
                pass
        except ConnectionResetError:
            return cls.RESET
        return cls.EOF

    @staticmethod
    def silent(sock: socket.socket, seconds: float = 0.15) -> bool:
        old = sock.gettimeout()
        sock.settimeout(seconds)
        try:
            sock.recv(1)
        except TimeoutError:
            return True
        finally:
            sock.settimeout(old)
        return False

    @staticmethod
    def echo(server: socket.socket) -> None:
        """Send back what arrives, in another thread, until the connection ends."""

        def run() -> None:
            with contextlib.suppress(OSError):
                while data := server.recv(65536):
                    server.sendall(data)
                server.close()

        server.settimeout(None)
        threading.Thread(target=run, daemon=True).start()

    @staticmethod
    def refused(proxy: Proxy) -> bool:
        try:
            socket.create_connection(proxy.address, timeout=DEADLINE).close()
        except ConnectionRefusedError:
            return True
        return False


@pytest.fixture
def wire() -> type[Wire]:
    return Wire


class Wait:
    @staticmethod
    def until(condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
        """Check the condition until it holds. The error names what was awaited."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds:g} s for: {what}"
            time.sleep(0.005)


@pytest.fixture
def wait() -> type[Wait]:
    return Wait
