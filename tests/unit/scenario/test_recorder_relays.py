"""What passes the recorder stays unchanged and is noted."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
import threading

import pytest

from tests.unit.scenario.conftest import Bench, Talk, Wire
from vault_harness.recorder.ends import End
from vault_harness.recorder.http1 import Message
from vault_harness.recorder.observations import Exchange
from vault_harness.recorder.recorder import Recorder

GET = b"GET /v1/ecommerce/data/backend/django HTTP/1.1\r\nHost: v\r\n\r\n"


def answer(body: bytes = b"{}", status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def once(reply: bytes, heard: list[bytes] | None = None) -> Talk:
    """Return a server that answers every request with the same bytes."""

    def talk(wire: Wire) -> None:
        while head := wire.until(b"\r\n\r\n"):
            if heard is not None:
                heard.append(head)
            wire.send(reply)

    return talk


def test_bytes_pass_unchanged_on_one_connection(bench: Bench) -> None:
    heard: list[bytes] = []
    odd = b"HTTP/1.1 200   fine  \r\nx-ODD:   yes \r\ncontent-LENGTH:2\r\n\r\n{}"
    bench.serve(once(odd, heard))
    wire = bench.connect()
    for _ in range(2):
        wire.send(GET)
        assert wire.exactly(len(odd)) == odd
    first, second = bench.ended(2)
    assert heard == [GET, GET]
    assert (first.connection, second.connection) == (1, 1)
    assert [(e.method, e.path, e.kind, e.status) for e in (first, second)] == [
        ("GET", "ecommerce/data/backend/django", "read", 200)
    ] * 2
    assert len(bench.history.connections) == 1


def test_each_connection_has_its_ordinal(bench: Bench) -> None:
    bench.serve(once(answer()))
    one, two = bench.connect(), bench.connect()
    for wire in (one, two):
        wire.send(GET)
        assert wire.exactly(len(answer())) == answer()
    assert {e.connection for e in bench.ended(2)} == {1, 2}


def test_away_ends_what_is_open_and_what_comes(bench: Bench) -> None:
    """Later connections work."""
    bench.serve(once(answer()))
    before = bench.connect()
    before.send(GET)
    assert before.exactly(len(answer())) == answer()
    with bench.recorder.away():
        assert before.rest() == b""
        during = bench.connect()
        with contextlib.suppress(ConnectionResetError):  # also a valid end
            assert during.rest() == b""
    after = bench.connect()
    after.send(GET)
    assert after.exactly(len(answer())) == answer()
    assert len(bench.history.connections) == 3


def test_open_connections_are_counted(bench: Bench) -> None:
    bench.serve(once(answer()))
    count = bench.recorder.open_connections
    idle, used = bench.connect(), bench.connect()
    used.send(GET)
    assert used.exactly(len(answer())) == answer()
    assert bench.history.wait_for(lambda: count() == 2, 10.0)
    used.close()
    assert bench.history.wait_for(lambda: count() == 1, 10.0)
    idle.close()
    assert bench.history.wait_for(lambda: count() == 0, 10.0)


def test_chunked_answer(bench: Bench) -> None:
    parts = [
        b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n",
        b'b\r\n{"errors":[\r\n',
        b'15\r\n"permission denied"]}\r\n',
        b"0\r\n\r\n",
    ]
    go_on = threading.Event()

    def talk(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        for part in parts[:-1]:
            wire.send(part)
        go_on.wait(10)
        wire.send(parts[-1])

    bench.serve(talk)
    wire = bench.connect()
    wire.send(GET)
    before = b"".join(parts[:-1])
    assert wire.exactly(len(before)) == before
    assert bench.history.exchanges[0].status is None
    go_on.set()
    assert wire.exactly(len(parts[-1])) == parts[-1]
    exchange = bench.ended(1)[0]
    assert (exchange.status, exchange.errors) == (403, ("permission denied",))


def test_chunked_request(bench: Bench) -> None:
    heard: list[bytes] = []

    def talk(wire: Wire) -> None:
        heard.append(wire.until(b"0\r\n\r\n"))
        wire.send(answer(b'{"errors":["invalid role or secret ID"]}', "400 Bad Request"))

    bench.serve(talk)
    head = b"POST /v1/auth/approle/login HTTP/1.1\r\nHost: v\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b'{"role_id":"r","secret_id":"12345678-aaaa"}'
    sent = head + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    wire = bench.connect()
    for index in range(0, len(sent), 7):
        wire.send(sent[index : index + 7])
    assert b"400" in wire.until(b"]}")
    exchange = bench.ended(1)[0]
    assert heard == [sent]
    assert (exchange.kind, exchange.secret_id) == ("login", "secret-id-1")


def test_no_content(bench: Bench) -> None:
    """A 204 is complete after its head."""
    reply = b"HTTP/1.1 204 No Content\r\n\r\n"
    bench.serve(once(reply))
    wire = bench.connect()
    for _ in range(2):
        wire.send(
            b"POST /v1/auth/token/revoke-self HTTP/1.1\r\nHost: v\r\nContent-Length: 0\r\n\r\n"
        )
        assert wire.exactly(len(reply)) == reply
    assert [(e.kind, e.status) for e in bench.ended(2)] == [("revoke", 204)] * 2


def test_big_bodies_pass_in_both_directions(bench: Bench) -> None:
    size = 5_000_000
    up, down = b"u" * size, bytes(range(256)) * (size // 256)
    heard: list[bytes] = []

    def talk(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        heard.append(wire.exactly(size))
        wire.send(answer(down))

    bench.serve(talk)
    wire = bench.connect()
    head = f"POST /v1/ecommerce/data/big HTTP/1.1\r\nHost: v\r\nContent-Length: {size}\r\n\r\n"
    wire.send(head.encode() + up)
    assert wire.exactly(len(answer(down))) == answer(down)
    assert heard == [up]
    assert bench.ended(1)[0].kind == "write"


def test_client_that_waits_for_100_continue(bench: Bench) -> None:
    """The head is passed on at once."""

    def talk(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert wire.exactly(2) == b"{}"
        wire.send(answer())

    bench.serve(talk)
    wire = bench.connect()
    wire.send(
        b"POST /v1/ecommerce/data/x HTTP/1.1\r\nHost: v\r\nExpect: 100-continue\r\n"
        b"Content-Length: 2\r\n\r\n"
    )
    assert wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"{}")
    assert wire.exactly(len(answer())) == answer()
    assert bench.ended(1)[0].status == 200


def test_server_that_answers_before_it_has_the_request(bench: Bench) -> None:
    """An early refusal is the answer to its request."""
    early = answer(b'{"errors":["http: request body too large"]}', "413 Too Large")

    def talk(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(early)
        wire.exactly(10)
        wire.until(b"\r\n\r\n")
        wire.send(answer())

    bench.serve(talk)
    wire = bench.connect()
    wire.send(b"POST /v1/ecommerce/data/x HTTP/1.1\r\nHost: v\r\nContent-Length: 10\r\n\r\n")
    assert wire.exactly(len(early)) == early
    wire.send(b"0123456789" + GET)
    assert wire.exactly(len(answer())) == answer()
    assert [(e.kind, e.status) for e in bench.ended(2)] == [("write", 413), ("read", 200)]


def test_requests_sent_without_waiting_are_answered_in_turn(bench: Bench) -> None:
    """They come in one segment."""
    heard: list[bytes] = []
    bench.serve(once(answer(), heard))
    wire = bench.connect()
    other = GET.replace(b"django", b"celery")
    wire.send(GET + other + GET)
    assert wire.exactly(3 * len(answer())) == 3 * answer()
    assert heard == [GET, other, GET]
    assert [e.path.rpartition("/")[2] for e in bench.ended(3)] == ["django", "celery", "django"]


def test_answer_that_ends_with_the_connection(bench: Bench) -> None:
    """It has no length."""
    page = b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<html>nothing here</html>"

    def talk(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(page)

    bench.serve(talk)
    wire = bench.connect()
    wire.send(GET)
    assert wire.rest() == page
    exchange = bench.ended(1)[0]
    assert (exchange.status, exchange.closed) == (502, None)


def test_client_that_leaves_early(bench: Bench) -> None:
    """The server sees the end."""
    server_saw_the_end = threading.Event()

    def talk(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.rest()
        server_saw_the_end.set()

    bench.serve(talk)
    wire = bench.connect()
    wire.send(GET)
    assert bench.history.wait_for(lambda: bool(bench.history.exchanges), 10)
    wire.close()
    exchange = bench.ended(1)[0]
    assert (exchange.status, exchange.closed) == (None, "client")
    assert server_saw_the_end.wait(10)


def test_client_that_leaves_while_its_answer_lies_unread(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is noted as not delivered."""
    say, said, busy, let_go = (threading.Event() for _ in range(4))

    def talk(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        assert say.wait(10)
        wire.send(answer())
        said.set()

    recorder = bench.serve(talk)
    wire = bench.connect()
    wire.send(GET)
    assert bench.history.wait_for(lambda: bool(bench.history.exchanges), 10)
    note = recorder.note_request

    def slow(connection: int, message: Message) -> Exchange:
        busy.set()
        assert let_go.wait(10)
        return note(connection, message)

    monkeypatch.setattr(recorder, "note_request", slow)
    other = bench.connect()
    other.send(GET)
    assert busy.wait(10)
    say.set()
    assert said.wait(10)
    wire.close()
    let_go.set()
    assert bench.history.wait_for(lambda: bool(bench.history.exchanges[0].ended), 10)
    first = bench.history.exchanges[0]
    assert (first.status, first.closed) == (200, "client")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it of what was not read")
def test_end_that_has_gone_before_that_was_read() -> None:
    """The recorder has not read the end."""

    async def look() -> tuple[bool, bool]:
        with socket.create_server(("127.0.0.1", 0)) as door:
            peer = socket.create_connection(door.getsockname())
            ours, _ = door.accept()
        end = End("client", asyncio.Queue(), set())
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: end, ours)
        transport.pause_reading()
        before = end.gone
        peer.close()
        after = end.gone
        transport.abort()
        await asyncio.sleep(0)  # the transport is closed here
        return before, after

    assert asyncio.run(look()) == (False, True)


def test_server_that_dies_in_the_middle(bench: Bench) -> None:
    """There is no status."""
    half = answer(b"x" * 100)[:60]

    def talk(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(half)

    bench.serve(talk)
    wire = bench.connect()
    wire.send(GET)
    assert wire.rest() == half
    exchange = bench.ended(1)[0]
    assert (exchange.status, exchange.closed) == (None, "server")


def test_dead_upstream(bench: Bench) -> None:
    """The connection is accepted, counted and closed."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    bench.relay(f"127.0.0.1:{port}")
    assert bench.connect().rest() == b""
    assert len(bench.history.connections) == 1
    assert bench.history.exchanges == []


def test_client_that_does_not_speak_http(bench: Bench) -> None:
    bench.serve(once(answer()))
    stranger = bench.connect()
    stranger.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert stranger.rest() == b""
    wire = bench.connect()
    wire.send(GET)
    assert wire.exactly(len(answer())) == answer()


def test_close_with_open_connections(bench: Bench) -> None:
    def talk(wire: Wire) -> None:
        wire.until(b"\r\n\r\n")
        wire.send(answer(b"x" * 50_000_000))

    recorder = bench.serve(talk)
    idle, asking, deaf = bench.connect(), bench.connect(), bench.connect()
    asking.send(GET[:20])
    deaf.send(GET)
    assert bench.history.wait_for(lambda: len(bench.history.exchanges) == 1, 10)
    began = bench.history.now()
    recorder.close()
    assert bench.history.now() - began < 5.0
    assert idle.rest() == b""
    assert _is_closed(asking)
    assert bench.history.exchanges[0].ended is not None
    recorder.close()


def test_close_while_clients_come(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """No task is left."""
    recorder = bench.serve(once(answer()))
    coming = [bench.connect() for _ in range(30)]
    recorder.close()
    assert all(_is_closed(one) for one in coming)
    gc.collect()  # asyncio logs a forgotten task at this point
    assert [record.getMessage() for record in caplog.records] == []


def _is_closed(wire: Wire) -> bool:
    try:
        return wire.rest() == b""
    except ConnectionResetError:
        return True


def test_listens_on_loopback_only(bench: Bench) -> None:
    recorder: Recorder = bench.serve(once(answer()))
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        probe.settimeout(5)
        assert probe.connect_ex(("127.0.0.2", recorder.port)) != 0


def test_json_of_an_answer_that_is_no_object(bench: Bench) -> None:
    """It has no errors."""
    bench.serve(once(answer(b"<html>", "403 Forbidden")))
    wire = bench.connect()
    wire.send(GET)
    wire.until(b"<html>")
    assert bench.ended(1)[0].errors == ()


def test_another_address_can_be_shut_for_itself(bench: Bench) -> None:
    recorder = bench.serve(once(answer()))
    try:
        door = recorder.listen_too("127.0.0.2", recorder.port)
    except OSError as error:
        pytest.skip(f"127.0.0.2 is no address here: {error}")
    first = bench.connect()
    second = Wire(socket.create_connection(("127.0.0.2", recorder.port), 10.0))
    for wire in (first, second):
        wire.send(GET)
        assert wire.exactly(len(answer())) == answer()
    one, two = bench.ended(2)
    assert bench.history.address_of(one.connection) == ""
    assert bench.history.address_of(two.connection) == "127.0.0.2"
    door.shut()
    assert second.rest() == b""
    second.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", recorder.port), 10.0)
    first.send(GET)
    assert first.exactly(len(answer())) == answer()


def test_vault_at_an_ipv6_address(bench: Bench) -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"::1 is no address here: {error}")
    with listener:
        bench.relay(f"[::1]:{listener.getsockname()[1]}")
        wire = bench.connect()
        listener.settimeout(10)
        vault = Wire(listener.accept()[0])
        wire.send(GET)
        assert vault.until(b"\r\n\r\n") == GET
        vault.send(answer())
        assert wire.exactly(len(answer())) == answer()
        vault.close()


def test_a_path_beyond_ascii(bench: Bench) -> None:
    raw = "GET /v1/ecommerce/data/größe?x=ö HTTP/1.1\r\nHost: v\r\n\r\n".encode()
    heard: list[bytes] = []
    bench.serve(once(answer(), heard))
    wire = bench.connect()
    wire.send(raw)
    assert wire.exactly(len(answer())) == answer()
    assert heard == [raw]
    (exchange,) = bench.ended(1)
    assert (exchange.path, exchange.kind) == ("ecommerce/data/größe", "read")
