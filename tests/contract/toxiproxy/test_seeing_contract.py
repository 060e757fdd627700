"""Metrics, which toxic acted on which connection, and repeats by seed: contract section 10."""

from __future__ import annotations

import functools
import socket
import time
from collections.abc import Callable

import pytest

from tests.contract.toxiproxy.conftest import Kind, Lab, Start, Wait, Wire
from vault_harness.local.toxiproxy.client import ConnectionStatus, Toxiproxy
from vault_harness.local.toxiproxy.toxics import (
    Bandwidth,
    Latency,
    LimitData,
    Noop,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)


def _equal(seen: Callable[[], list[str]], expected: list[str]) -> bool:
    return seen() == expected


def _line(lab: Lab, kind: str, direction: str, proxy: str) -> list[str]:
    text = lab.call("GET", "/metrics").body.decode()
    start = f'toxiproxy_proxy_{kind}_bytes_total{{direction="{direction}",'
    return [line for line in text.splitlines() if line.startswith(start) and f'"{proxy}"' in line]


def test_bytes_are_counted_by_proxy_and_direction(
    lab: Lab, wire: type[Wire], wait: type[Wait]
) -> None:
    """Names, labels and order are upstream's."""
    pair = lab.pair()
    pair.client.sendall(b"hello")
    assert wire.read(pair.server, 5) == b"hello"
    pair.server.sendall(b"hi")
    assert wire.read(pair.client, 2) == b"hi"
    pair.client.close()
    pair.server.close()
    proxy = pair.proxy

    def labels(direction: str) -> str:
        return (
            f'{{direction="{direction}",listener="{proxy.listen}",proxy="{proxy.name}",'
            f'upstream="{proxy.upstream}"}}'
        )

    for direction, count in (("upstream", 5), ("downstream", 2)):
        for kind in ("received", "sent"):
            expected = f"toxiproxy_proxy_{kind}_bytes_total{labels(direction)} {count}"
            seen = functools.partial(_line, lab, kind, direction, proxy.name)
            wait.until(functools.partial(_equal, seen, [expected]), expected)
    traffic = lab.toxiproxy.traffic(proxy.name)
    assert traffic is not None
    assert (traffic.received_upstream, traffic.sent_downstream) == (5, 2)


def test_large_counts_are_written_as_go_writes_them(
    lab: Lab, wire: type[Wire], wait: type[Wait]
) -> None:
    """They have an exponent from a million on."""
    pair = lab.pair()
    pair.client.sendall(bytes(1_234_500))
    assert len(wire.read(pair.server, 1_234_500)) == 1_234_500
    pair.client.close()
    pair.server.close()
    wait.until(
        lambda: (
            [line.split()[-1] for line in _line(lab, "sent", "upstream", pair.proxy.name)]
            == ["1.2345e+06"]
        ),
        "a count with an exponent",
    )


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_endpoint_takes_any_method_but_no_browser(lab: Lab, method: str) -> None:
    reply = lab.call(method, "/metrics")
    assert reply.status == 200
    expected = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    assert reply.headers["Content-Type"] == expected
    assert b'promhttp_metric_handler_errors_total{cause="encoding"} 0' in reply.body
    assert lab.call(method, "/metrics", headers={"User-Agent": "Mozilla/5.0"}).status == 403


def test_there_is_none_without_a_flag(kind: Kind, start_server: Start) -> None:
    """It is a 404, which the typed client accepts as an answer."""
    from vault_harness.local.toxiproxy.client import Toxiproxy

    toxiproxy = Toxiproxy(start_server(kind).url)
    assert toxiproxy.traffic("any") is None


def test_the_embedded_server_counts_live_connections(embedded: Lab, wire: type[Wire]) -> None:
    """Upstream counts only when a connection ends."""
    pair = embedded.pair()
    pair.client.sendall(b"hello")
    assert wire.read(pair.server, 5) == b"hello"
    traffic = embedded.toxiproxy.traffic(pair.proxy.name)
    assert traffic is not None
    assert (traffic.received_upstream, traffic.sent_upstream) == (5, 5)


def _only(lab: Lab, proxy: str) -> ConnectionStatus:
    (connection,) = lab.toxiproxy.connections(proxy) or []
    return connection


def _ended(lab: Lab, wait: type[Wait], proxy: str) -> ConnectionStatus:
    wait.until(lambda: _only(lab, proxy).closed is not None, "the connection's record to end")
    return _only(lab, proxy)


def test_a_real_server_answers_none(lab: Lab) -> None:
    answer = lab.toxiproxy.connections()
    assert (answer is None) == (lab.kind == "real")


def test_a_live_connection_is_shown(embedded: Lab, wire: type[Wire]) -> None:
    """It has its client, its bytes each way, and no end."""
    before = time.time()
    pair = embedded.pair()
    pair.client.sendall(b"hello")
    assert wire.read(pair.server, 5) == b"hello"
    seen = _only(embedded, pair.proxy.name)
    host, port = pair.client.getsockname()
    assert (seen.proxy, seen.client) == (pair.proxy.name, f"{host}:{port}")
    assert before - 1 <= seen.opened <= time.time() + 1
    assert (seen.closed, seen.end, seen.toxics) == (None, None, ())
    assert (seen.bytes_upstream, seen.bytes_downstream) == (5, 0)


def test_an_ended_connection_is_remembered(
    embedded: Lab, wire: type[Wire], wait: type[Wait]
) -> None:
    """Its proxy may be gone."""
    pair = embedded.pair()
    pair.server.sendall(b"bye")
    assert wire.read(pair.client, 3) == b"bye"
    pair.client.close()
    seen = _ended(embedded, wait, pair.proxy.name)
    assert seen.end == "client closed"
    assert seen.closed is not None
    assert seen.opened <= seen.closed
    pair.proxy.delete()
    assert _only(embedded, pair.proxy.name) == seen


def test_how_connections_end(embedded: Lab, wire: type[Wire], wait: type[Wait]) -> None:
    """Either side, the proxy, or an unreachable upstream ends them."""
    pair = embedded.pair()
    pair.server.close()
    assert _ended(embedded, wait, pair.proxy.name).end == "upstream closed"
    pair = embedded.pair()
    pair.proxy.disable()
    assert _ended(embedded, wait, pair.proxy.name).end == "proxy disabled"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound, so that nothing else listens there
        port = silent.getsockname()[1]
        proxy = embedded.proxy(f"127.0.0.1:{port}")
        wire.end(embedded.connect(proxy))
    seen = _ended(embedded, wait, proxy.name)
    assert seen.end == "upstream unreachable: connection refused"


@pytest.mark.parametrize(
    ("attributes", "end"),
    [
        (Latency(latency=5), None),
        (Bandwidth(rate=10_000), None),
        (Slicer(average_size=1), None),
        (SlowClose(delay=5), None),
        (LimitData(bytes=2), "closed by toxic it"),
        (Timeout(timeout=50), "closed by toxic it"),
        (ResetPeer(timeout=0), "reset by toxic it"),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
def test_a_toxic_that_acted_is_named(
    embedded: Lab, wait: type[Wait], attributes: Latency, end: str | None
) -> None:
    """So is the toxic that closed the connection."""
    pair = embedded.pair()
    pair.proxy.add(attributes, name="it")
    pair.server.sendall(b"data")
    if end is None:
        pair.server.close()
    seen = _ended(embedded, wait, pair.proxy.name)
    assert seen.toxics == ("it",)
    assert seen.end == (end or "upstream closed")


def test_a_toxic_without_effect_is_not_named(embedded: Lab, wire: type[Wire]) -> None:
    """It lost its roll, saw no data or does nothing."""
    pair = embedded.pair()
    pair.proxy.add(Timeout(timeout=0), toxicity=0.0, name="lost")
    pair.proxy.add(Latency(latency=50), stream="upstream", name="other direction")
    pair.proxy.add(Latency(latency=0), name="none")
    pair.proxy.add(Noop(), name="noop")
    pair.proxy.add(LimitData(bytes=1000), name="far")
    pair.server.sendall(b"data")
    assert wire.read(pair.client, 4) == b"data"
    assert _only(embedded, pair.proxy.name).toxics == ()


def test_dropped_bytes_are_received_but_not_delivered(embedded: Lab, wait: type[Wait]) -> None:
    pair = embedded.pair()
    pair.proxy.add(Timeout(timeout=0), stream="upstream")
    pair.client.sendall(b"swallowed")
    wait.until(
        lambda: _only(embedded, pair.proxy.name).received_upstream == 9, "the bytes to be read"
    )
    assert _only(embedded, pair.proxy.name).bytes_upstream == 0


def _draws(toxiproxy: Toxiproxy, lab: Lab, wire: type[Wire]) -> list[tuple[bytes, list[int]]]:
    """Return the toxicity rolls and slice sizes of twelve connections."""
    upstream = lab.upstream()
    proxy = toxiproxy.create("repeatable", upstream=upstream.address)
    proxy.add(LimitData(bytes=3), stream="upstream", toxicity=0.5)
    proxy.add(Slicer(average_size=8, size_variation=7, delay=8000))
    seen = []
    for _ in range(12):
        with socket.create_connection(proxy.address, timeout=15) as client:
            server = upstream.accept()
            server.sendall(bytes(32))
            sizes: list[int] = []
            while sum(sizes) < 32:
                sizes.append(len(client.recv(100)))
            client.sendall(b"abcdef")
            client.shutdown(socket.SHUT_WR)
            seen.append((wire.read_all(server), sizes))
            server.close()
    proxy.delete()
    return seen


@pytest.mark.slow
def test_the_same_seed_repeats_a_run(start_server: Start, embedded: Lab, wire: type[Wire]) -> None:
    """The server is another one, and the proxy is made again."""
    first = Toxiproxy(start_server("embedded", "-seed", "42").url)
    second = Toxiproxy(start_server("embedded", "-seed", "42").url)
    other = Toxiproxy(start_server("embedded", "-seed", "43").url)
    runs = [_draws(server, embedded, wire) for server in (first, second, first, other)]
    assert [cut for cut, _ in runs[0]] == [cut for cut, _ in runs[1]] == [cut for cut, _ in runs[2]]
    assert {cut for cut, _ in runs[0]} == {b"abc", b"abcdef"}
    assert [cut for cut, _ in runs[3]] != [cut for cut, _ in runs[0]]
    # A busy machine may deliver two pieces at once. Compare sizes only where it did not.
    alike = [a == b for (_, a), (_, b) in zip(runs[0], runs[1], strict=True)]
    assert sum(alike) >= 6


def test_the_endpoint_is_read_only(embedded: Lab) -> None:
    """It filters by proxy."""
    for method in ("POST", "DELETE", "PATCH"):
        assert embedded.call(method, "/harness/connections").status == 405
    assert embedded.call("GET", "/harness/connections?proxy=none").json == {"connections": []}
