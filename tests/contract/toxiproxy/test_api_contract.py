"""The HTTP API beyond the transcript: contract sections 2 to 4 and 6."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.contract.toxiproxy.conftest import Kind, Lab, Start, Wire
from vault_harness.local.toxiproxy.client import Toxiproxy
from vault_harness.local.toxiproxy.toxics import (
    Latency,
)

NOWHERE = "127.0.0.1:9"


def _raw(lab: Lab, text: bytes) -> bytes:
    with socket.create_connection(lab.server.host_port, timeout=15) as sock:
        sock.sendall(text)
        answer = bytearray()
        while data := sock.recv(65536):
            answer += data
    return bytes(answer)


def test_version_is_exact(lab: Lab) -> None:
    """Upstream has this space and newline."""
    reply = lab.call("GET", "/version")
    assert reply.body.startswith(b'{"version": "')
    assert reply.body.endswith(b'"}\n')
    assert reply.headers["Content-Type"] == "application/json;charset=utf-8"
    if lab.kind != "real":
        assert reply.json == {"version": "2.12.0"}


def test_a_taken_port_is_a_500_with_go_s_words(lab: Lab, wire: type[Wire]) -> None:
    """No proxy is stored, and the port is free once its owner is deleted."""
    first = lab.proxy(NOWHERE)
    name = lab.name()
    body = {"name": name, "upstream": NOWHERE, "listen": first.listen}
    reply = lab.call("POST", "/proxies", body)
    assert reply.status == 500
    assert reply.json["error"] == f"listen tcp {first.listen}: bind: address already in use"
    assert lab.call("GET", f"/proxies/{name}").status == 404
    first.delete()
    assert lab.call("POST", "/proxies", body).status == 201
    assert lab.call("DELETE", f"/proxies/{name}").status == 204
    assert wire.refused(first)


def test_no_host_is_every_host(lab: Lab) -> None:
    """It is shown as ``[::]``, and accepts connections over IPv4."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    proxy = lab.proxy(NOWHERE, listen=f"0.0.0.0:{port}")
    assert proxy.listen == f"[::]:{port}"
    socket.create_connection(("127.0.0.1", port), timeout=15).close()


def test_a_disabled_proxy_can_be_enabled_and_disabled(lab: Lab, wire: type[Wire]) -> None:
    """Twice is no error."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"localhost:{free.getsockname()[1]}"
    proxy = lab.proxy(NOWHERE, listen=listen, enabled=False)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(listen.partition(":")[2])))
    for _ in range(2):
        proxy.enable()
        assert not wire.refused(proxy)
    for _ in range(3):
        proxy.disable()
        assert wire.refused(proxy)


def test_a_deleted_proxy_is_gone(lab: Lab, wire: type[Wire]) -> None:
    """A second delete is a 404."""
    proxy = lab.proxy(NOWHERE)
    reply = lab.call("DELETE", f"/proxies/{proxy.name}")
    assert (reply.status, reply.body) == (204, b"")
    assert wire.refused(proxy)
    again = lab.call("DELETE", f"/proxies/{proxy.name}")
    assert (again.status, again.json["error"]) == (404, "proxy not found")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/none", 404),
        ("/proxies/a%2Fb", 404),
        ("/", 404),
        ("/./version", 301),
        ("/proxies/../version", 301),
    ],
)
def test_paths_are_taken_literally(lab: Lab, path: str, status: int) -> None:
    """An unknown path is a 404; a reducible path is redirected."""
    reply = lab.call("GET", path)
    assert reply.status == status
    if status == 404:
        assert reply.body == b"404 page not found\n"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
    else:
        assert reply.headers["Location"] == "/version"


def test_names_are_percent_decoded(lab: Lab) -> None:
    """A plus stays a plus, and a query string is ignored."""
    proxy = lab.proxy(NOWHERE, name=f"{lab.name()} a+b")
    path = "/proxies/" + proxy.name.replace(" ", "%20")
    assert lab.call("GET", f"{path}?x=y").json["name"] == proxy.name
    assert lab.call("GET", path.replace("+", "%2B")).json["name"] == proxy.name
    assert lab.call("GET", path.replace("%20", "+")).status == 404


def test_names_may_be_sent_in_utf8_as_they_are(lab: Lab) -> None:
    """The next request on the connection is read, too."""
    proxy = lab.proxy(NOWHERE, name=f"{lab.name()}-é-漢")
    request = f"GET /proxies/{proxy.name} HTTP/1.1\r\nHost: x\r\n".encode()
    answers = _raw(lab, request + b"\r\n" + request + b"Connection: close\r\n\r\n")
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.count(f'"name":"{proxy.name}"'.encode()) == 2


def test_a_redirect_keeps_its_query(lab: Lab) -> None:
    assert lab.call("GET", "//proxies?a=b%20c&d=").headers["Location"] == "/proxies?a=b%20c&d="


def test_a_request_without_a_host_is_refused(lab: Lab) -> None:
    """The connection is closed."""
    answer = _raw(lab, b"GET /version HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request")
    assert answer.endswith(b"missing required Host header")


def test_http_1_0_and_pipelines_work(lab: Lab) -> None:
    assert b" 200 OK" in _raw(lab, b"GET /version HTTP/1.0\r\n\r\n").splitlines()[0]
    one = b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: %b\r\n\r\n"
    pipeline = [(b"/version", b"keep-alive"), (b"/none", b"keep-alive"), (b"/version", b"close")]
    answers = _raw(lab, b"".join(one % request for request in pipeline))
    assert answers.index(b"200 OK") < answers.index(b"404 Not Found")
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.count(b"HTTP/1.1 404 Not Found") == 1


def test_chunked_bodies_work(lab: Lab) -> None:
    name = lab.name()
    lab.stack.callback(lambda: lab.call("DELETE", f"/proxies/{name}"))
    body = f'{{"name":"{name}","upstream":"{NOWHERE}"}}'.encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (1, bytes([byte])) for byte in body) + b"0\r\n\r\n"
    head = b"POST /proxies HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    assert b"201 Created" in _raw(lab, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)


def test_reset_enables_and_clears(lab: Lab, wire: type[Wire]) -> None:
    pair = lab.pair()
    pair.proxy.disable()
    lab.call("POST", f"/proxies/{pair.proxy.name}/toxics", {"type": "latency"})
    reply = lab.call("POST", "/reset")
    assert (reply.status, reply.body) == (204, b"")
    assert lab.toxiproxy.proxy(pair.proxy.name).enabled
    assert pair.proxy.toxics() == []
    assert not wire.refused(pair.proxy)


def test_defaults(lab: Lab) -> None:
    """It is downstream, always on, zero, named after type and stream; the status is 200."""
    proxy = lab.proxy(NOWHERE)
    reply = lab.call("POST", f"/proxies/{proxy.name}/toxics", {"type": "latency"})
    assert reply.status == 200
    assert reply.body == (
        b'{"attributes":{"latency":0,"jitter":0},"name":"latency_downstream","type":"latency",'
        b'"stream":"downstream","toxicity":1}'
    )


def test_a_stream_is_shown_as_spelt(lab: Lab) -> None:
    """The default name has that spelling too."""
    proxy = lab.proxy(NOWHERE)
    body = {"type": "latency", "stream": "UpStream"}
    reply = lab.call("POST", f"/proxies/{proxy.name}/toxics", body)
    assert (reply.json["stream"], reply.json["name"]) == ("UpStream", "latency_UpStream")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/proxies/none/toxics"),
        ("PATCH", "/proxies/none/toxics/x"),
        ("PATCH", "/proxies/none"),
    ],
)
def test_the_proxy_is_looked_for_first(lab: Lab, method: str, path: str) -> None:
    """The body is not read yet."""
    reply = lab.call(method, path, b"nonsense")
    assert (reply.status, reply.json["error"]) == (404, "proxy not found")


def test_toxics_survive_disabling_and_moving(lab: Lab) -> None:
    """Reset, delete and replacement remove them."""
    proxy = lab.proxy(NOWHERE)
    proxy.add(Latency(latency=1))
    proxy.disable()
    proxy.enable()
    proxy.update(upstream="127.0.0.1:8")
    assert len(proxy.toxics()) == 1


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
