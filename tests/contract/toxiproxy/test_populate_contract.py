"""Populate, beyond the transcript, and when a proxy differs: contract sections 4.6 and 6."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vault_harness.local.toxiproxy.client import Toxiproxy
from vault_harness.local.toxiproxy.toxics import Latency

if TYPE_CHECKING:
    from tests.contract.toxiproxy.conftest import Kind, Lab, Start, Wire

NOWHERE = "127.0.0.1:9"


def _populate(lab: Lab, *entries: Mapping[str, object]) -> tuple[int, dict[str, object]]:
    for entry in entries:
        lab.stack.callback(lab.call, "DELETE", f"/proxies/{entry.get('name')}")
    reply = lab.call("POST", "/populate", list(entries))
    return reply.status, reply.json


def _free() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_populate_keeps_what_is_the_same(lab: Lab, wire: type[Wire]) -> None:
    """It keeps toxics and connections; ``enabled`` is no difference."""
    pair = lab.pair()
    pair.proxy.add(Latency(latency=1))
    port = pair.proxy.listen.partition(":")[2]
    status, answer = _populate(
        lab,
        {
            "name": pair.proxy.name,
            "listen": f"localhost:{port}",
            "upstream": pair.proxy.upstream,
            "enabled": False,
        },
    )
    assert status == 201
    assert answer["proxies"][0]["enabled"] is True  # type: ignore[index]  # JSON of known shape
    assert len(pair.proxy.toxics()) == 1
    pair.client.sendall(b"still here")
    assert wire.read(pair.server, 10) == b"still here"


def test_populate_replaces_what_differs(lab: Lab, wire: type[Wire]) -> None:
    """Toxics go, and the old connections are cut."""
    pair = lab.pair()
    pair.proxy.add(Latency(latency=1))
    entry = {"name": pair.proxy.name, "listen": pair.proxy.listen, "upstream": NOWHERE}
    status, answer = _populate(lab, entry)
    assert (status, answer["proxies"][0]["toxics"]) == (201, [])  # type: ignore[index]  # as above
    assert wire.end(pair.client) == "eof"
    assert wire.end(pair.server) == "eof"


def test_nothing_is_null_not_an_empty_list(lab: Lab) -> None:
    """An empty list and null both answer null."""
    for body in (b"[]", b"null"):
        reply = lab.call("POST", "/populate", body)
        assert (reply.status, reply.body) == (201, b'{"proxies":null}')


def test_naming_the_same_host_otherwise_keeps_connections(lab: Lab, wire: type[Wire]) -> None:
    """``localhost`` is 127.0.0.1."""
    pair = lab.pair()
    port = pair.proxy.listen.partition(":")[2]
    pair.proxy.update(listen=f"localhost:{port}")
    pair.client.sendall(b"kept")
    assert wire.read(pair.server, 4) == b"kept"
    pair.proxy.update(upstream="localhost:9")
    assert wire.end(pair.client) == "eof"
    assert pair.proxy.listen == f"127.0.0.1:{port}"


def test_any_host_differs_from_itself(lab: Lab, wire: type[Wire]) -> None:
    """``0.0.0.0`` is shown as ``[::]``; only ``[::]`` can be repeated without a restart."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    upstream = lab.upstream()
    port = _free().partition(":")[2]
    pair = lab.join(lab.proxy(upstream.address, listen=f"0.0.0.0:{port}"), upstream)
    pair.proxy.update(listen=f"[::]:{port}")
    pair.client.sendall(b"kept")
    assert wire.read(pair.server, 4) == b"kept"
    pair.proxy.update(listen=f"0.0.0.0:{port}")
    assert wire.end(pair.client) == "eof"


def test_a_configuration_file_makes_proxies_before_the_api_answers(
    kind: Kind, start_server: Start, tmp_path: Path
) -> None:
    """A wrong entry keeps the earlier ones."""
    config = tmp_path / "proxies.json"
    entries = [
        {"name": "first", "listen": "127.0.0.1:0", "upstream": NOWHERE},
        {"name": "second", "listen": "bad", "upstream": NOWHERE},
    ]
    config.write_text(json.dumps(entries))
    server = start_server(kind, "-config", str(config))
    assert list(Toxiproxy(server.url).proxies()) == ["first"]
