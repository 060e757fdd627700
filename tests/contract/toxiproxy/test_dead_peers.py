"""Peers that die in every phase of a connection do not change the embedded server."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil
import pytest

from vault_harness.local.toxiproxy.toxics import (
    Attributes,
    Bandwidth,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)

if TYPE_CHECKING:
    from tests.contract.toxiproxy.conftest import Lab, Pair, ServerProcess, Start, Wait

RESET = b"\1\0\0\0\0\0\0\0"


@pytest.fixture(
    scope="session",
    params=["embedded", pytest.param("embedded by poll", marks=pytest.mark.slow)],
)
def quiet_server(request: pytest.FixtureRequest, start_server: Start) -> ServerProcess:
    """A server that no other test uses, so that its open files can be counted."""
    return start_server(request.param)


@pytest.fixture
def quiet(quiet_server: ServerProcess, embedded: Lab) -> Lab:
    lab = type(embedded)(quiet_server)
    embedded.stack.push(lab.stack)
    return lab


def _nothing(pair: Pair) -> None:
    pass


def _both_send(pair: Pair) -> None:
    pair.client.sendall(bytes(2000))
    pair.server.sendall(bytes(2000))


def _nobody_reads(pair: Pair) -> None:
    for sock in (pair.client, pair.server):
        sock.settimeout(0.05)
        try:
            while True:
                sock.send(bytes(65536))
        except TimeoutError:
            pass


def _one_has_closed(pair: Pair) -> None:
    pair.server.sendall(bytes(2000))
    pair.server.shutdown(socket.SHUT_WR)


PHASES: list[tuple[str, Callable[[Pair], None], list[Attributes]]] = [
    ("idle", _nothing, []),
    ("sending", _both_send, []),
    ("full", _nobody_reads, []),
    ("delayed", _both_send, [Latency(latency=60_000)]),
    ("slowed", _both_send, [Bandwidth(rate=1)]),
    ("stopped and full", _nobody_reads, [Bandwidth(rate=0)]),
    ("sliced", _both_send, [Slicer(average_size=1, delay=500)]),
    ("swallowed", _both_send, [Timeout(timeout=0)]),
    ("closing slowly", _one_has_closed, [SlowClose(delay=60_000)]),
    ("about to be reset", _both_send, [ResetPeer(timeout=60_000)]),
    ("limited behind latency", _both_send, [LimitData(bytes=10), Latency(latency=60_000)]),
    ("full behind several", _nobody_reads, [Slicer(average_size=9), Bandwidth(rate=9)]),
]


@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.parametrize(("phase", "act", "toxics"), PHASES, ids=[phase[0] for phase in PHASES])
def test_a_peer_dies(
    quiet: Lab,
    wait: type[Wait],
    phase: str,
    act: Callable[[Pair], None],
    toxics: list[Attributes],
    who: str,
    how: str,
) -> None:
    """Deleting the proxy leaves nothing open, and waiting costs no CPU."""
    quiet.toxiproxy.version()
    process = psutil.Process(quiet.server.pid)
    upstream = quiet.upstream()
    before = process.num_fds()
    proxy = quiet.proxy(upstream.address)
    for attributes in toxics:
        proxy.add(attributes, stream="downstream")
        proxy.add(attributes, stream="upstream")
    pair = quiet.join(proxy, upstream)
    act(pair)
    for name, sock in (("client", pair.client), ("server", pair.server)):
        if who == name:
            if how == "resets":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.close()
    start = time.monotonic()
    assert quiet.toxiproxy.proxy(proxy.name).enabled
    assert len(proxy.toxics()) == 2 * len(toxics)
    assert time.monotonic() - start < 5
    if phase != "sliced":
        used = sum(process.cpu_times()[:2])
        time.sleep(0.1)  # the server is idle meanwhile
        assert sum(process.cpu_times()[:2]) - used <= 0.06
    proxy.delete()
    wait.until(lambda: process.num_fds() <= before, f"the {before} descriptors it had before")
    assert quiet.server.errors == []


def test_a_killed_upstream_process_is_an_end(quiet: Lab, wait: type[Wait]) -> None:
    """Another process may take over its address."""
    upstream = quiet.upstream()
    proxy = quiet.proxy(upstream.address)
    pair = quiet.join(proxy, upstream)
    address = upstream.listener.getsockname()
    upstream.listener.close()
    pair.server.close()
    assert pair.client.recv(1) == b""
    client = quiet.connect(proxy)
    assert client.recv(1) == b""
    with socket.create_server(address) as again:
        again.settimeout(15)
        client = quiet.connect(proxy)
        client.sendall(b"hello")
        server, _ = again.accept()
        with server:
            assert server.recv(5) == b"hello"
