"""The recorder over TLS and HTTP/2 does the same as over plain HTTP/1.1."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import h2.connection
import h2.events
import httpcore
import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from tests.unit.scenario.conftest import TIMEOUT, Bench, Talk, Wire
from vault_harness.certificates import Authority
from vault_harness.recorder.fault import Choice, Interference, Stub
from vault_harness.recorder.http1 import Message
from vault_harness.recorder.observations import Exchange

READ = "/v1/ecommerce/data/backend/django"
TOKEN = [("X-Vault-Token", "hvs.token")]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def shown(authority: Authority, directory: Path, *protocols: str) -> ssl.SSLContext:
    files = authority.issue(directory, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.certificate.decode())


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> ssl.SSLContext:
    return shown(authority, tmp_path, "h2", "http/1.1")


@pytest.fixture(params=["http/1.1", "h2"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(authority: Authority, protocol: str) -> Iterator[httpcore.ConnectionPool]:
    with httpcore.ConnectionPool(ssl_context=trusting(authority), http2=protocol == "h2") as made:
        yield made


def url(bench: Bench, path: str = READ) -> str:
    return f"https://127.0.0.1:{bench.recorder.port}{path}"


def saying(body: bytes, heard: list[bytes] | None = None) -> Talk:
    def talk(wire: Wire) -> None:
        while head := wire.until(b"\r\n\r\n"):
            if heard is not None:
                heard.append(head)
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    sent = wire.exactly(int(line.split(b":")[1]))
                    if heard is not None:
                        heard.append(sent)
            said = b"" if head.startswith(b"HEAD") else body
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + said)

    return talk


def saying_nothing_to(mark: bytes) -> Talk:
    """Return a server that does not answer requests with this mark in their head."""

    def talk(wire: Wire) -> None:
        while head := wire.until(b"\r\n\r\n"):
            if mark not in head:
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    return talk


def saying_late_to(mark: bytes, go_on: threading.Event) -> Talk:
    """Return a server whose answers to such requests wait for an event."""

    def talk(wire: Wire) -> None:
        while head := wire.until(b"\r\n\r\n"):
            if mark in head:
                go_on.wait(10)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    return talk


DATA, HEADERS, GOAWAY = 0, 1, 7
"""Types of frames."""

Headers = Sequence[tuple[str | bytes, str | bytes]]


class Http2:
    """A client's connection with several streams at once, which no available library has."""

    def __init__(self, bench: Bench, authority: Authority) -> None:
        context = trusting(authority)
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", bench.recorder.port), 10)
        self._socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self._http = h2.connection.H2Connection()
        self._http.initiate_connection()
        self.told: Headers = []
        self._kept = b""
        self._send()

    def ask(self, stream: int, path: str, *, method: str = "GET", more: Headers = ()) -> None:
        head = {":method": method, ":path": path, ":authority": "v", ":scheme": "https"}
        self._http.send_headers(stream, [*head.items(), *more], end_stream=True)
        self._send()

    def leave(self, error: ErrorCodes) -> None:
        """Say goodbye with a raw frame, since h2 would take no answer after it."""
        self._socket.sendall(GoAwayFrame(0, error_code=error).serialize())

    def reset(self, stream: int) -> None:
        self._http.reset_stream(stream)
        self._send()

    def answered(self) -> int:
        while data := self._socket.recv(65536):
            for event in self._http.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    self.told = list(event.headers or [])
                if isinstance(event, h2.events.StreamEnded):
                    return event.stream_id
            self._send()
        raise AssertionError("the recorder has ended the connection")

    def frames(self, count: int) -> list[tuple[int, int, int]]:
        """Return the next frames except settings, as type, stream and last stream.

        h2 does not see these frames, so for h2 the connection goes on.
        """
        heard: list[tuple[int, int, int]] = []
        while len(heard) < count:
            while len(self._kept) < 9 or len(self._kept) < 9 + int.from_bytes(self._kept[:3]):
                self._kept += self._socket.recv(65536)
            length, kind = 9 + int.from_bytes(self._kept[:3]), self._kept[3]
            stream, last = self._kept[5:9], self._kept[9:13] if kind == GOAWAY else b""
            self._kept = self._kept[length:]
            if kind in (HEADERS, DATA, GOAWAY):
                heard.append((kind, int.from_bytes(stream), int.from_bytes(last)))
        return heard

    def close(self) -> None:
        self._socket.close()

    def _send(self) -> None:
        self._socket.sendall(self._http.data_to_send())


def test_requests_of_one_connection(
    bench: Bench, tls: ssl.SSLContext, client: httpcore.ConnectionPool, protocol: str
) -> None:
    """They share a handshake."""
    heard: list[bytes] = []
    bench.serve(saying(b"{}", heard), tls=tls)
    for _ in range(2):
        response = client.request("GET", url(bench), headers=TOKEN)
        assert (response.status, response.content) == (200, b"{}")
    exchanges = bench.ended(2)
    assert [(e.kind, e.connection, e.status, e.token) for e in exchanges] == [
        ("read", 1, 200, "token-1")
    ] * 2
    assert [one.protocol for one in bench.history.handshakes] == [protocol]
    assert all(b"hvs.token" in head for head in heard)


def test_bodies_pass_in_both_directions(
    bench: Bench, tls: ssl.SSLContext, client: httpcore.ConnectionPool
) -> None:
    """They may exceed the window of HTTP/2."""
    heard: list[bytes] = []
    large = b'{"a":"' + b"x" * 300_000 + b'"}'
    bench.serve(saying(large, heard), tls=tls)
    body = b'{"role_id":"r","secret_id":"a-secret-id"}'
    response = client.request("POST", url(bench, "/v1/auth/approle/login"), content=body)
    assert response.content == large
    assert heard[1] == body
    assert bench.ended(1)[0].secret_id == "secret-id-1"


def test_no_body_for_a_head(
    bench: Bench, tls: ssl.SSLContext, client: httpcore.ConnectionPool
) -> None:
    bench.serve(saying(b"12345"), tls=tls)
    for _ in range(2):
        response = client.request("HEAD", url(bench))
        assert (response.status, response.content) == (200, b"")
        assert (b"content-length", b"5") in [(k.lower(), v) for k, v in response.headers]
    assert {e.connection for e in bench.ended(2)} == {1}


def test_answers_in_the_place_of_vault(
    bench: Bench, tls: ssl.SSLContext, client: httpcore.ConnectionPool
) -> None:
    """Vault gets no request."""
    heard: list[bytes] = []
    bench.serve(saying(b"{}", heard), tls=tls)
    with bench.recorder.stub(Stub(status=429, body=b"slow", headers={"Retry-After": "2"})):
        response = client.request("GET", url(bench))
    assert (response.status, response.content) == (429, b"slow")
    exchange = bench.ended(1)[0]
    assert (exchange.by, exchange.status, exchange.retry_after, heard) == ("stub", 429, 2.0, [])


def test_faults_of_single_requests(
    bench: Bench, tls: ssl.SSLContext, client: httpcore.ConnectionPool
) -> None:
    heard: list[bytes] = []
    bench.serve(saying(b"{}", heard), tls=tls)
    lost = Interference("lost", Choice(nth=1), loses=True)
    late = Interference("late", Choice(nth=2), late=0.2)
    with bench.recorder.interfere(lost), bench.recorder.interfere(late):
        with pytest.raises(
            (httpcore.RemoteProtocolError, httpcore.NetworkError, httpcore.ConnectionNotAvailable)
        ):
            client.request("GET", url(bench))
        assert client.request("GET", url(bench)).status == 200
    first, second = bench.ended(2)
    assert (first.closed, first.interference, second.interference) == ("server", "lost", "late")
    assert (second.ended or 0.0) - second.began >= 0.2
    assert (first.connection, second.connection, len(heard)) == (1, 2, 2)


def test_vault_ends_in_the_middle(
    bench: Bench, tls: ssl.SSLContext, client: httpcore.ConnectionPool
) -> None:
    """The server's end is noted."""

    def talk(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")

    bench.serve(talk, tls=tls)
    with pytest.raises(httpcore.RemoteProtocolError):
        client.request("GET", url(bench))
    assert bench.ended(1)[0].closed == "server"


def test_without_a_vault_the_connection_ends(
    bench: Bench, tls: ssl.SSLContext, client: httpcore.ConnectionPool
) -> None:
    """No request is noted."""
    bench.relay("127.0.0.1:1", tls=tls)
    with pytest.raises((httpcore.RemoteProtocolError, httpcore.NetworkError)):
        client.request("GET", url(bench))
    assert bench.history.exchanges == []


def test_deaf_connections(
    bench: Bench, tls: ssl.SSLContext, client: httpcore.ConnectionPool, authority: Authority
) -> None:
    bench.serve(saying(b"{}"), tls=tls)
    client.request("GET", url(bench))
    assert bench.recorder.deafen() == 1
    with pytest.raises(httpcore.ReadTimeout):
        client.request("GET", url(bench), extensions={"timeout": {"read": 0.3}})
    with httpcore.ConnectionPool(ssl_context=trusting(authority)) as other:
        assert other.request("GET", url(bench)).status == 200
    assert len(bench.history.exchanges) == 2
    assert {one.connection for one in bench.history.swallowed} == {1}


def test_goodbye_over_a_deaf_connection(
    bench: Bench, tls: ssl.SSLContext, client: httpcore.ConnectionPool
) -> None:
    """It is no request, so nothing was kept waiting."""
    bench.serve(saying(b"{}"), tls=tls)
    client.request("GET", url(bench))
    assert bench.recorder.deafen() == 1
    client.close()
    assert bench.history.wait_for(lambda: bench.recorder.open_connections() == 0, 10.0)
    assert bench.history.swallowed == []


def test_goodbye_of_the_server(
    bench: Bench, tls: ssl.SSLContext, client: httpcore.ConnectionPool
) -> None:
    """A new connection loses nothing."""
    bench.serve(saying(b"{}"), tls=tls)
    with bench.recorder.interfere(Interference("goodbye", Choice(), closes=True)):
        for _ in range(3):
            assert client.request("GET", url(bench)).content == b"{}"
    assert [e.connection for e in bench.ended(3)] == [1, 2, 3]
    assert bench.history.swallowed == []


def test_goodbye_over_http2_is_said_twice(
    bench: Bench, tls: ssl.SSLContext, authority: Authority
) -> None:
    """Requests before the second goodbye are answered, later ones are not."""
    go_on = threading.Event()
    bench.serve(saying_late_to(b"slow", go_on), tls=tls)
    goodbye = Interference("goodbye", Choice(path="*/django"), closes=True)
    with bench.recorder.interfere(goodbye), closing(Http2(bench, authority)) as client:
        client.ask(1, "/v1/kv/slow")
        client.ask(3, READ)
        assert client.frames(3) == [(HEADERS, 3, 0), (DATA, 3, 0), (GOAWAY, 0, (1 << 31) - 1)]
        client.ask(5, "/v1/kv/on-its-way")
        assert client.frames(3) == [(HEADERS, 5, 0), (DATA, 5, 0), (GOAWAY, 0, 5)]
        client.ask(7, "/v1/kv/too-late")
        assert bench.history.wait_for(lambda: bool(bench.history.swallowed), 10.0)
        go_on.set()
        assert client.frames(2) == [(HEADERS, 1, 0), (DATA, 1, 0)]
    assert len(bench.history.exchanges) == 3


def test_streams_do_not_wait_for_each_other(
    bench: Bench, tls: ssl.SSLContext, authority: Authority
) -> None:
    go_on = threading.Event()
    bench.serve(saying_late_to(b"slow", go_on), tls=tls)
    with closing(Http2(bench, authority)) as client:
        client.ask(1, "/v1/kv/slow")
        client.ask(3, READ)
        assert client.answered() == 3
        go_on.set()
        assert client.answered() == 1
    assert {e.connection for e in bench.ended(2)} == {1}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when data came")
def test_a_stream_came_before_there_was_time_for_it(
    bench: Bench, tls: ssl.SSLContext, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = bench.serve(saying(b"{}"), tls=tls)
    busy, let_go = threading.Event(), threading.Event()
    note = recorder.note_request

    def slow(connection: int, message: Message) -> Exchange:
        busy.set()
        assert let_go.wait(TIMEOUT)
        return note(connection, message)

    with closing(Http2(bench, authority)) as first, closing(Http2(bench, authority)) as second:
        monkeypatch.setattr(recorder, "note_request", slow)
        first.ask(1, READ)
        assert busy.wait(TIMEOUT)
        second.ask(1, READ)
        bench.history.wait_for(lambda: False, 0.2, what="time to pass")
        freed = bench.history.now()
        let_go.set()
        assert (first.answered(), second.answered()) == (1, 1)
    exchanges = bench.ended(2)
    assert [one.began >= freed for one in exchanges] == [True, True]
    assert exchanges[1].came < freed


def test_a_stream_that_is_reset(bench: Bench, tls: ssl.SSLContext, authority: Authority) -> None:
    """Others on the connection are not disturbed."""
    bench.serve(saying_nothing_to(b"slow"), tls=tls)
    with closing(Http2(bench, authority)) as client:
        client.ask(1, "/v1/kv/slow")
        client.reset(1)
        client.ask(3, READ)
        assert client.answered() == 3
    given_up, answered = bench.ended(2)
    assert (given_up.closed, given_up.status) == ("client", None)
    assert answered.status == 200


def test_a_late_answer_that_is_given_up(
    bench: Bench, tls: ssl.SSLContext, authority: Authority
) -> None:
    """The token of the login is registered."""
    auth = b'{"auth":{"client_token":"hvs.made-for-nobody","accessor":"acc","lease_duration":9}}'
    recorder = bench.serve(saying(auth), tls=tls)
    late = Interference("late", Choice(), late=30.0)
    with recorder.interfere(late), closing(Http2(bench, authority)) as client:
        client.ask(1, "/v1/auth/approle/login", method="POST")
        assert bench.history.wait_for(
            lambda: any(e.status is not None for e in bench.history.exchanges), TIMEOUT
        )
        client.reset(1)
        (login,) = bench.ended(1)
    assert (login.closed, login.status, login.accessor) == ("client", 200, "acc")
    assert bench.secrets.label("hvs.made-for-nobody") == login.token


def test_a_client_that_says_goodbye(
    bench: Bench, tls: ssl.SSLContext, authority: Authority
) -> None:
    """Pending answers arrive, and the connection ends."""
    go_on = threading.Event()
    bench.serve(saying_late_to(b"", go_on), tls=tls)
    with closing(Http2(bench, authority)) as client:
        client.ask(1, READ)
        client.ask(3, READ)
        client.leave(ErrorCodes.NO_ERROR)
        assert bench.history.wait_for(lambda: len(bench.history.exchanges) == 2, TIMEOUT)
        go_on.set()
        assert {client.answered(), client.answered()} == {1, 3}
        with pytest.raises(AssertionError, match="has ended the connection"):
            client.answered()
    assert [(e.status, e.closed) for e in bench.ended(2)] == [(200, None)] * 2


def test_a_client_that_goes_for_an_error(
    bench: Bench, tls: ssl.SSLContext, authority: Authority
) -> None:
    """It has given up its pending requests."""
    recorder = bench.serve(saying_nothing_to(b"slow"), tls=tls)
    with closing(Http2(bench, authority)) as client:
        client.ask(1, "/v1/kv/slow")
        assert bench.history.wait_for(lambda: bool(bench.history.exchanges), TIMEOUT)
        client.leave(ErrorCodes.INTERNAL_ERROR)
        (given_up,) = bench.ended(1)
    assert (given_up.closed, given_up.status, recorder.defects) == ("client", None, [])


def test_headers_that_are_no_utf_8(bench: Bench, tls: ssl.SSLContext, authority: Authority) -> None:
    heard: list[bytes] = []

    def talk(wire: Wire) -> None:
        while head := wire.until(b"\r\n\r\n"):
            heard.append(head)
            wire.send(b"HTTP/1.1 200 OK\r\nX-Odd: \xf6\r\nContent-Length: 2\r\n\r\n{}")

    recorder = bench.serve(talk, tls=tls)
    with closing(Http2(bench, authority)) as client:
        client.ask(1, "/v1/kv/größe", more=[("x-odd", b"gr\xf6\xdfe")])
        assert client.answered() == 1
        assert (b"x-odd", b"\xf6") in client.told
    assert b"\r\nx-odd: gr\xf6\xdfe\r\n" in heard[0]
    assert bench.ended(1)[0].path == "kv/größe"
    assert recorder.defects == []


def test_a_refused_handshake_is_noted(bench: Bench, tls: ssl.SSLContext, protocol: str) -> None:
    bench.serve(saying(b"{}"), tls=tls)
    with (
        httpcore.ConnectionPool(
            ssl_context=trusting(Authority()), http2=protocol == "h2"
        ) as client,
        pytest.raises(httpcore.ConnectError),
    ):
        client.request("GET", url(bench), headers=TOKEN)
    assert bench.history.wait_for(lambda: bool(bench.history.handshakes), 10)
    assert bench.history.handshakes[0].refused == "tlsv1 alert unknown ca"
    assert bench.history.exchanges == []


@pytest.mark.parametrize("trusted", [True, False])
def test_vault_is_verified(
    bench: Bench,
    authority: Authority,
    tls: ssl.SSLContext,
    client: httpcore.ConnectionPool,
    tmp_path: Path,
    *,
    trusted: bool,
) -> None:
    """The recorder sends nothing to a Vault that it does not trust."""
    heard: list[bytes] = []
    of_vault = authority if trusted else Authority()
    behind = bench.serve(saying(b"{}", heard), tls=shown(of_vault, tmp_path / "vault"))
    bench.relay(f"127.0.0.1:{behind.port}", tls=tls, upstream_tls=trusting(authority))
    if trusted:
        assert client.request("GET", url(bench), headers=TOKEN).status == 200
    else:
        # The client sees the end while it reads, or while it writes its settings.
        with pytest.raises((httpcore.RemoteProtocolError, httpcore.NetworkError)):
            client.request("GET", url(bench), headers=TOKEN)
    assert bool(heard) is trusted
