"""Prometheus metrics: contract section 10."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.contract.toxiproxy.conftest import Kind, Lab, Start, Wait, Wire


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
