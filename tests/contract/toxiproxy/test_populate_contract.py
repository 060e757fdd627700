"""Populate, and when a proxy differs: contract sections 4.6 and 6."""

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


def _names(answer: dict[str, object]) -> list[str]:
    proxies = answer["proxies"]
    assert isinstance(proxies, list)
    return [proxy["name"] for proxy in proxies]


def _free() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_populate_makes_proxies(lab: Lab) -> None:
    """Proxies are made in the given order, enabled unless the entry says otherwise."""
    one, two, three = lab.name(), lab.name(), lab.name()
    status, answer = _populate(
        lab,
        {"name": one, "upstream": NOWHERE, "listen": "127.0.0.1:0"},
        {"name": two, "upstream": NOWHERE, "listen": "127.0.0.1:0", "enabled": False},
        {"name": three, "upstream": NOWHERE, "listen": "127.0.0.1:0", "enabled": None},
    )
    assert status == 201
    proxies = answer["proxies"]
    assert isinstance(proxies, list)
    assert [(p["name"], p["enabled"]) for p in proxies] == [
        (one, True),
        (two, False),
        (three, True),
    ]


def test_populate_keeps_what_is_the_same(lab: Lab, wire: type[Wire]) -> None:
    """An equal proxy keeps toxics and connections; ``enabled`` does not count as a difference."""
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
    """A replaced proxy has no toxics, and the old connections are cut."""
    pair = lab.pair()
    pair.proxy.add(Latency(latency=1))
    entry = {"name": pair.proxy.name, "listen": pair.proxy.listen, "upstream": NOWHERE}
    status, answer = _populate(lab, entry)
    assert (status, answer["proxies"][0]["toxics"]) == (201, [])  # type: ignore[index]  # as above
    assert wire.end(pair.client) == "eof"
    assert wire.end(pair.server) == "eof"


def test_a_toxic_can_be_added_to_a_populated_proxy(lab: Lab) -> None:
    """A toxic on a populated proxy survives the same populate again."""
    name = lab.name()
    entry: dict[str, object] = {"name": name, "listen": _free(), "upstream": NOWHERE}
    _populate(lab, entry)
    assert lab.call("POST", f"/proxies/{name}/toxics", {"type": "latency"}).status == 200
    _populate(lab, entry)
    toxics = lab.call("GET", f"/proxies/{name}/toxics").json
    assert [toxic["name"] for toxic in toxics] == ["latency_downstream"]


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({"upstream": "x:1"}, "missing required field: name at proxy 2"),
        ({"name": "x"}, "missing required field: upstream at proxy 2"),
    ],
)
def test_nothing_is_made_if_an_entry_lacks_a_field(
    lab: Lab, entry: dict[str, object], error: str
) -> None:
    """All entries are checked before any proxy is made."""
    name = lab.name()
    status, answer = _populate(lab, {"name": name, "upstream": NOWHERE}, entry)
    assert (status, answer) == (400, {"error": error, "status": 400, "proxies": None})
    assert lab.call("GET", f"/proxies/{name}").status == 404


def test_a_failure_keeps_what_was_done_before(lab: Lab) -> None:
    """A failure keeps the earlier entries, which the answer lists, and skips the later ones."""
    one, two, three = lab.name(), lab.name(), lab.name()
    status, answer = _populate(
        lab,
        {"name": one, "upstream": NOWHERE, "listen": "127.0.0.1:0"},
        {"name": two, "upstream": NOWHERE, "listen": "bad"},
        {"name": three, "upstream": NOWHERE, "listen": "127.0.0.1:0"},
    )
    assert (status, answer["error"]) == (500, "listen tcp: address bad: missing port in address")
    assert _names(answer) == [one]
    assert lab.call("GET", f"/proxies/{three}").status == 404


def test_a_failed_replacement_leaves_the_old_one_stopped(lab: Lab) -> None:
    """A failed replacement leaves the old proxy stopped, with its old addresses."""
    taken, proxy = lab.proxy(NOWHERE), lab.proxy(NOWHERE)
    entry = {"name": proxy.name, "upstream": NOWHERE, "listen": taken.listen}
    status, answer = _populate(lab, entry)
    assert (status, answer["proxies"]) == (500, None)
    shown = lab.toxiproxy.proxy(proxy.name)
    assert (shown.listen, shown.enabled) == (proxy.listen, False)


def test_nothing_is_null_not_an_empty_list(lab: Lab) -> None:
    """An empty list and null both answer null."""
    for body in (b"[]", b"null"):
        reply = lab.call("POST", "/populate", body)
        assert (reply.status, reply.body) == (201, b'{"proxies":null}')


def test_the_same_name_twice_shows_both(lab: Lab) -> None:
    """A name that occurs twice is listed twice, the first time as stopped."""
    name, listen = lab.name(), _free()
    status, answer = _populate(
        lab,
        {"name": name, "upstream": NOWHERE, "listen": listen},
        {"name": name, "upstream": "127.0.0.1:8", "listen": listen},
    )
    proxies = answer["proxies"]
    assert isinstance(proxies, list)
    assert (status, [proxy["enabled"] for proxy in proxies]) == (201, [False, True])


def test_naming_the_same_host_otherwise_keeps_connections(lab: Lab, wire: type[Wire]) -> None:
    """``localhost`` for 127.0.0.1 keeps connections; another upstream does not."""
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
    """Proxies of the file exist before the API answers; a wrong entry keeps the earlier ones."""
    config = tmp_path / "proxies.json"
    entries = [
        {"name": "first", "listen": "127.0.0.1:0", "upstream": NOWHERE},
        {"name": "second", "listen": "bad", "upstream": NOWHERE},
    ]
    config.write_text(json.dumps(entries))
    server = start_server(kind, "-config", str(config))
    assert list(Toxiproxy(server.url).proxies()) == ["first"]
