from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing

import pytest

from tests.engine.faults.conftest import PATH, Line
from vault_harness.recorder.fault import Fault
from vault_harness.waiting import wait_until


def open_connection(line: Line) -> http.client.HTTPConnection:
    """Return a connection that has carried one request."""
    connection = http.client.HTTPConnection(line.address.removeprefix("http://"), timeout=10)
    connection.request("GET", f"/v1/{PATH}", headers={"X-Vault-Token": line.token})
    assert connection.getresponse().read()
    return connection


def ask_again(connection: http.client.HTTPConnection, line: Line) -> bytes:
    connection.request("GET", f"/v1/{PATH}", headers={"X-Vault-Token": line.token})
    return connection.getresponse().read()


def touched(line: Line, fault: Fault) -> bool:
    """Return True if Toxiproxy says that the fault's toxic acted on a connection."""
    connections = line.toxiproxy.connections(line.proxy.name) or []
    return any(fault.signature.toxics & set(connection.toxics) for connection in connections)


def test_down(line: Line) -> None:
    with closing(open_connection(line)) as connection:
        with line.network.down():
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                ask_again(connection, line)
            with pytest.raises(ConnectionRefusedError):
                line.read()
        assert line.read().status == 200
    assert line.notes.only("network down").signature.unanswered


def test_black_hole(line: Line) -> None:
    """Open connections get no answer either, and end with the fault."""
    with closing(open_connection(line)) as connection:
        with line.network.black_hole() as fault:
            with pytest.raises(TimeoutError):
                line.read(timeout=0.7)
            assert connection.sock is not None
            connection.sock.settimeout(0.7)
            with pytest.raises(TimeoutError):
                ask_again(connection, line)
            assert touched(line, fault)
        assert connection.sock is not None
        connection.sock.settimeout(10)
        assert connection.sock.recv(1) == b""
    assert line.read().status == 200
    line.notes.only("black hole")


def test_black_hole_that_closes(line: Line) -> None:
    with line.network.black_hole(closes_after=0.3):
        began = time.monotonic()
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            line.read()
        assert time.monotonic() - began >= 0.25
    assert line.read().status == 200


def test_stalled(line: Line) -> None:
    answers: list[bytes] = []
    with closing(open_connection(line)) as connection:
        thread = threading.Thread(target=lambda: answers.append(ask_again(connection, line)))
        with line.network.stalled() as fault:
            thread.start()
            wait_until(lambda: touched(line, fault), "the answer to be held", timeout=10)
            assert answers == []
        thread.join(10)
    assert len(answers) == 1
    assert b"SECRET_KEY" in answers[0]
    line.notes.only("connection stalled")


def test_drip(line: Line) -> None:
    """Bytes arrive one by one, soon each, but never all."""
    with line.network.drip(pause=0.05) as fault:
        with socket.create_connection(line.proxy.address, timeout=5) as sock:
            head = f"GET /v1/{PATH} HTTP/1.1\r\nHost: v\r\nX-Vault-Token: {line.token}\r\n\r\n"
            sock.sendall(head.encode())
            began = time.monotonic()
            pieces = [sock.recv(65536) for _ in range(6)]
        assert time.monotonic() - began >= 0.2
        assert b"".join(pieces).startswith(b"HTTP")
        assert max(map(len, pieces)) <= 3, "a piece may hold two bytes if the reader is slow"
        assert touched(line, fault)
    assert line.read().status == 200
    line.notes.only("answers drip")


def test_slow(line: Line) -> None:
    """An answer counts as late from half of the latency on."""
    with line.network.slow(latency=0.6, jitter=0.1) as fault:
        answer = line.read()
        assert (answer.status, answer.seconds >= 0.45) == (200, True)
        assert touched(line, fault)
    assert fault.signature.late == pytest.approx(0.25)
    assert line.read().status == 200
    line.notes.only("network slow")


def test_narrow(line: Line) -> None:
    with line.network.narrow(rate=1) as fault:
        answer = line.read()
        assert (answer.status, answer.seconds >= 0.3) == (200, True)
        assert touched(line, fault)
    assert line.read().seconds < answer.seconds
    line.notes.only("network narrow")


@pytest.mark.parametrize("after", [100, 400])
def test_truncated(line: Line, after: int) -> None:
    with line.network.truncated(after=after) as fault:
        with socket.create_connection(line.proxy.address, timeout=10) as sock:
            head = f"GET /v1/{PATH} HTTP/1.1\r\nHost: v\r\nX-Vault-Token: {line.token}\r\n\r\n"
            sock.sendall(head.encode())
            received = b""
            while piece := sock.recv(65536):
                received += piece
        assert len(received) == after
        assert touched(line, fault)
    assert line.read().status == 200
    line.notes.only("answers truncated")


def test_resets(line: Line) -> None:
    """The request reaches Vault, and a reset loses its answer."""
    with line.network.resets() as fault:
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
            line.read()
        assert touched(line, fault)
    assert line.read().status == 200
    line.notes.only("connections reset")


def test_resets_of_some_connections(line: Line) -> None:
    """At toxicity 0 no connection is reset or marked as touched."""
    with line.network.resets(toxicity=0.0) as fault:
        assert line.read().status == 200
        assert not touched(line, fault)


def test_upstream_stream(line: Line) -> None:
    """Requests can be held too, so that Vault never sees them."""
    with line.network.black_hole(stream="upstream") as fault, pytest.raises(TimeoutError):
        line.read(timeout=0.7)
    assert fault.detail == {"toxic": "timeout_upstream", "stream": "upstream"}


def test_dropped_connections(line: Line) -> None:
    """Open connections end and new ones work at once; no fault is noted."""
    with closing(open_connection(line)) as connection:
        line.network.drop_connections()
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask_again(connection, line)
    assert line.read().status == 200
    assert line.notes.faults == []


Verb = Callable[[Line], AbstractContextManager[Fault]]
VERBS: dict[str, Verb] = {
    "down": lambda line: line.network.down(),
    "black_hole": lambda line: line.network.black_hole(),
    "stalled": lambda line: line.network.stalled(),
    "drip": lambda line: line.network.drip(pause=0.4),
    "slow": lambda line: line.network.slow(latency=5.0),
    "narrow": lambda line: line.network.narrow(rate=1),
    "truncated": lambda line: line.network.truncated(after=10),
    "resets": lambda line: line.network.resets(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_undone_when_the_block_raises(line: Line, verb: str) -> None:
    with pytest.raises(LookupError, match="in the middle"), VERBS[verb](line):
        raise LookupError("in the middle")
    assert line.proxy.toxics() == []
    answer = line.read()
    assert (answer.status, answer.seconds < 3.0) == (200, True)
    assert [fault.ended is not None for fault in line.notes.faults] == [True]


def test_end_is_noted_when_it_is_gone(line: Line) -> None:
    for _ in range(10):
        with line.network.truncated(after=10) as fault:
            pass
        assert fault.ended is not None
        assert line.read().status == 200
        assert not touched(line, fault)
