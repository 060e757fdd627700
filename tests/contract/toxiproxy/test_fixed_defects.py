"""What the embedded server does instead of upstream's defects: contract section 13."""

from __future__ import annotations

import contextlib
import itertools
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from vault_harness.local.toxiproxy.toxics import (
    Bandwidth,
    Latency,
    Noop,
    ResetPeer,
    Slicer,
)

if TYPE_CHECKING:
    from tests.contract.toxiproxy.conftest import Clock, Lab, Start, Wire

ANSWERS_WITHIN = 1.0
"""Seconds for an answer, whatever the peers do."""


@pytest.mark.parametrize(
    ("kind_name", "attributes", "word"),
    [
        ("bandwidth", {"rate": -1}, "rate"),
        ("slicer", {}, "average_size"),
        ("slicer", {"average_size": 0, "size_variation": 5}, "average_size"),
        ("slicer", {"average_size": -3}, "average_size"),
        ("slicer", {"average_size": 10, "size_variation": 50}, "size_variation"),
        ("slicer", {"average_size": 10, "size_variation": -1}, "size_variation"),
    ],
)
def test_deadly_attributes_are_refused(
    embedded: Lab, kind_name: str, attributes: dict[str, int], word: str
) -> None:
    """This holds for a create and an update."""
    proxy = embedded.proxy("127.0.0.1:9")
    path = f"/proxies/{proxy.name}/toxics"
    reply = embedded.call("POST", path, {"type": kind_name, "attributes": attributes})
    assert reply.status == 400
    assert word in reply.json["error"]
    assert reply.json["status"] == 400
    toxic = proxy.add(Slicer(average_size=10) if kind_name == "slicer" else Bandwidth(rate=5))
    before = embedded.call("GET", f"{path}/{toxic.name}").json
    if attributes:
        assert (
            embedded.call("PATCH", f"{path}/{toxic.name}", {"attributes": attributes}).status == 400
        )
    assert embedded.call("GET", f"{path}/{toxic.name}").json == before


def test_a_failed_update_acts_as_it_is_shown(embedded: Lab, clock: Clock, wire: type[Wire]) -> None:
    """Upstream shows values that it does not use."""
    pair = embedded.pair()
    toxic = pair.proxy.add(Latency(latency=60))
    path = f"/proxies/{pair.proxy.name}/toxics/{toxic.name}"
    body = {"attributes": {"jitter": "x", "latency": 120}}
    assert embedded.call("PATCH", path, body).status == 400
    assert embedded.call("GET", path).json["attributes"] == {"latency": 120, "jitter": 0}

    def action() -> None:
        pair.server.sendall(b"x")
        assert wire.read(pair.client, 1) == b"x"

    clock.takes(120, action)


def _stuff(sock: socket.socket) -> int:
    """Send for at most a second, until no more bytes are taken."""
    sent = 0
    sock.settimeout(0.3)
    deadline = time.monotonic() + 1
    with contextlib.suppress(TimeoutError):
        while time.monotonic() < deadline:
            sent += sock.send(bytes(65536))
    return sent


@pytest.mark.parametrize(
    "attributes",
    [
        Latency(latency=100),
        Latency(latency=60_000),
        Bandwidth(rate=1000),
        Bandwidth(rate=0),
        Slicer(average_size=1000, delay=1000),
        Noop(),
    ],
    ids=lambda attributes: attributes.type,
)
def test_the_api_answers_while_a_peer_does_not_read(embedded: Lab, attributes: Latency) -> None:
    """Upstream hangs for 25 s and answers 503."""
    pair = embedded.pair()
    toxic = pair.proxy.add(attributes)
    assert _stuff(pair.server) > 0

    def quick(*request: object) -> None:
        start = time.monotonic()
        assert embedded.call(*request).status < 300  # type: ignore[arg-type]  # method, path, body
        assert time.monotonic() - start < ANSWERS_WITHIN

    path = f"/proxies/{pair.proxy.name}"
    quick("GET", path)
    quick("PATCH", f"{path}/toxics/{toxic.name}", {"toxicity": 0.5})
    quick("POST", f"{path}/toxics", {"type": "noop", "name": "behind"})
    quick("DELETE", f"{path}/toxics/{toxic.name}")
    quick("GET", "/proxies")
    quick("POST", "/reset")
    quick("PATCH", path, {"enabled": False})
    quick("DELETE", path)


def test_back_pressure_keeps_memory_where_it_is(embedded: Lab) -> None:
    """The rate is 0, or the peer does not read."""
    process = psutil.Process(embedded.server.pid)
    pairs = []
    for rate in (0, 0, None, None):
        pair = embedded.pair()
        if rate is not None:
            pair.proxy.add(Bandwidth(rate=rate))
        pairs.append(pair)
    before = process.memory_info().rss
    taken = [_stuff(pair.server) for pair in pairs]
    assert all(taken)
    # The server holds only a few chunks. All other bytes stay in kernel buffers or with the sender.
    assert process.memory_info().rss - before < 8_000_000


def test_latency_holds_no_more_than_its_queue(embedded: Lab) -> None:
    """It holds 1024 chunks of 32 KiB; then the sender waits."""
    pair = embedded.pair()
    pair.proxy.add(Latency(latency=60_000))
    _stuff(pair.server)
    (seen,) = embedded.toxiproxy.connections(pair.proxy.name) or []
    assert seen.received_downstream <= 1026 * 32 * 1024


def test_the_sleep_of_reset_peer_can_be_interrupted(
    embedded: Lab, clock: Clock, wire: type[Wire]
) -> None:
    """Removal keeps the connection; a shorter timeout counts from now."""
    upstream = embedded.upstream()
    proxy = embedded.proxy(upstream.address)
    toxic = proxy.add(ResetPeer(timeout=60_000))
    pair, other = embedded.join(proxy, upstream), embedded.join(proxy, upstream)
    pair.server.sendall(b"dropped")
    other.server.sendall(b"dropped")
    assert wire.silent(pair.client)
    toxic.update(timeout=100)
    clock.takes(100, lambda: wire.end(pair.client), tolerance=500, early=60)
    toxic.update(timeout=60_000)
    third = embedded.join(proxy, upstream)
    third.server.sendall(b"dropped")
    assert wire.silent(third.client)
    start = time.monotonic()
    toxic.remove()
    assert time.monotonic() - start < ANSWERS_WITHIN
    third.server.sendall(b"alive")
    assert wire.read(third.client, 5) == b"alive"


def test_a_dial_that_hangs_delays_no_other_client(embedded: Lab, wire: type[Wire]) -> None:
    """Upstream delays them."""
    upstream = embedded.upstream()
    proxy = embedded.proxy("192.0.2.1:80")  # reserved for documentation: no host answers
    hanging = embedded.connect(proxy)
    proxy_two = embedded.proxy(upstream.address)
    pair = embedded.join(proxy_two, upstream)
    pair.client.sendall(b"hello")
    assert wire.read(pair.server, 5) == b"hello"
    start = time.monotonic()
    proxy.disable()
    assert time.monotonic() - start < ANSWERS_WITHIN
    assert wire.end(hanging) in {"eof", "reset"}


def test_many_clients_dial_at_once(embedded: Lab, wire: type[Wire]) -> None:
    """Toxics come and go meanwhile."""
    upstream = embedded.upstream()
    proxy = embedded.proxy(upstream.address)
    errors: list[BaseException] = []

    def serve() -> None:
        for _ in range(100):
            wire.echo(upstream.accept())

    def talk(number: int) -> None:
        try:
            with socket.create_connection(proxy.address, timeout=15) as client:
                client.sendall(b"%03d" % number)
                assert wire.read(client, 3) == b"%03d" % number
        except BaseException as error:  # noqa: BLE001 - reported in the main thread
            errors.append(error)

    threads = [threading.Thread(target=serve)]
    threads += [threading.Thread(target=talk, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        with proxy.toxic(Latency(latency=1)), proxy.toxic(Noop(), stream="upstream"):
            pass
    for thread in threads:
        thread.join(30)
    assert errors == []


def test_a_body_that_says_it_is_huge_is_refused_at_once(embedded: Lab) -> None:
    """Upstream waits for it."""
    with socket.create_connection(embedded.server.host_port, timeout=ANSWERS_WITHIN * 5) as sock:
        sock.sendall(b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{")
        assert sock.recv(100).startswith(b"HTTP/1.1 413 ")


LOAD = Path(__file__).parents[2] / "bench" / "toxiproxy" / "load.py"


@contextlib.contextmanager
def _load(*arguments: object) -> Iterator[str]:
    """Start a process of the benchmark's load, and return it with its first line."""
    with subprocess.Popen(
        [sys.executable, LOAD, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline()
        process.kill()


def test_bulk_traffic_leaves_room_for_the_api(start_server: Start, embedded: Lab) -> None:
    """The room is counted in bytes between two answers."""
    lab = type(embedded)(start_server("embedded"))
    with lab.stack, _load("upstream") as port:
        proxy = lab.proxy(f"127.0.0.1:{port.strip()}")

        def passed() -> int:
            seen = lab.toxiproxy.connections(proxy.name) or []
            return sum(connection.received_upstream for connection in seen)

        with _load("streams", proxy.address[1], 64):
            counts = [passed() for _ in range(16)]
    costs = [after - before for before, after in itertools.pairwise(counts)]
    assert 0 < statistics.median(costs) < 60_000_000
