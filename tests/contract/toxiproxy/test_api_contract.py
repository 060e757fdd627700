"""The HTTP layer and the proxy routes of the API: contract sections 2 to 4."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.contract.toxiproxy.conftest import Lab, Wire

NOWHERE = "127.0.0.1:9"


def _raw(lab: Lab, text: bytes) -> bytes:
    with socket.create_connection(lab.server.host_port, timeout=15) as sock:
        sock.sendall(text)
        answer = bytearray()
        while data := sock.recv(65536):
            answer += data
    return bytes(answer)


def test_a_matched_route_has_a_request_id(lab: Lab) -> None:
    """Every answer of a known path has a request id, errors too; unknown paths have none."""
    assert lab.call("GET", "/version").headers["X-Toxiproxy-Request-Id"]
    assert lab.call("GET", "/proxies/none").headers["X-Toxiproxy-Request-Id"]
    assert lab.call("GET", "/none").headers["X-Toxiproxy-Request-Id"] is None


@pytest.mark.parametrize(
    ("agent", "status"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/130.0", 403),
        ("Mozilla/", 403),
        ("mozilla/5.0", 200),
        ("not Mozilla/5.0", 200),
        ("curl/8.5.0", 200),
        ("", 200),
    ],
)
def test_browsers_are_refused(lab: Lab, agent: str, status: int) -> None:
    """A User-Agent that begins as a browser's, in that case, is refused."""
    reply = lab.call("GET", "/proxies", headers={"User-Agent": agent})
    assert status == reply.status
    if status == 403:
        assert reply.body == b"User agent not allowed\n"


def test_version_is_exact(lab: Lab) -> None:
    """The version has exactly upstream's space and newline."""
    reply = lab.call("GET", "/version")
    assert reply.body.startswith(b'{"version": "')
    assert reply.body.endswith(b'"}\n')
    assert reply.headers["Content-Type"] == "application/json;charset=utf-8"
    if lab.kind != "real":
        assert reply.json == {"version": "2.12.0"}


def test_listing_contains_what_was_created(lab: Lab) -> None:
    """The listing has each proxy by name, with five fields."""
    proxy = lab.proxy(NOWHERE)
    shown = lab.call("GET", "/proxies").json[proxy.name]
    assert shown["listen"] == proxy.listen
    assert (shown["upstream"], shown["enabled"], shown["toxics"]) == (NOWHERE, True, [])


def test_names_are_sorted_in_the_listing(lab: Lab) -> None:
    """Names are sorted, as Go writes a map."""
    for name in ("zebra", "Alpha", "beta"):
        lab.proxy(NOWHERE, name=f"{lab.name()}-{name}")
    names = list(lab.call("GET", "/proxies").json)
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"upstream": NOWHERE}, "missing required field: name"),
        ({"name": "", "upstream": NOWHERE}, "missing required field: name"),
        ({"name": "x"}, "missing required field: upstream"),
        ({}, "missing required field: name"),
    ],
)
def test_name_and_upstream_are_required(lab: Lab, body: object, error: str) -> None:
    """A proxy needs a name and an upstream; the name is checked first."""
    reply = lab.call("POST", "/proxies", body)
    assert (reply.status, reply.json) == (400, {"error": error, "status": 400})


def test_a_taken_port_is_a_500_with_go_s_words(lab: Lab, wire: type[Wire]) -> None:
    """A taken port is a 500, stores no proxy, and is free once its owner is deleted."""
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


def test_a_taken_name_is_a_409(lab: Lab) -> None:
    """A taken name is a 409 before anything listens."""
    proxy = lab.proxy(NOWHERE)
    body = {"name": proxy.name, "upstream": NOWHERE, "listen": "nonsense"}
    reply = lab.call("POST", "/proxies", body)
    assert (reply.status, reply.json["error"]) == (409, "proxy already exists")


@pytest.mark.parametrize(
    ("listen", "error"),
    [
        ("nonsense", "listen tcp: address nonsense: missing port in address"),
        ("127.0.0.1:99999", "listen tcp: address 99999: invalid port"),
        ("::1:80", "listen tcp: address ::1:80: too many colons in address"),
        ("192.0.2.1:0", "listen tcp 192.0.2.1:0: bind: cannot assign requested address"),
    ],
)
def test_an_address_that_makes_no_sense_is_a_500(lab: Lab, listen: str, error: str) -> None:
    """An impossible address is a 500 with Go's words."""
    body = {"name": lab.name(), "upstream": NOWHERE, "listen": listen}
    reply = lab.call("POST", "/proxies", body)
    assert (reply.status, reply.json["error"]) == (500, error)


def test_localhost_is_shown_as_the_address_it_is(lab: Lab) -> None:
    """``localhost`` is shown as an address, IPv4 first; a disabled proxy shows what was given."""
    proxy = lab.proxy(NOWHERE, listen="localhost:0")
    assert proxy.listen.startswith("127.0.0.1:")
    disabled = lab.proxy(NOWHERE, listen="localhost:3310", enabled=False)
    assert disabled.listen == "localhost:3310"


def test_no_host_is_every_host(lab: Lab) -> None:
    """An address without a host is shown as ``[::]``, and accepts connections over IPv4."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    proxy = lab.proxy(NOWHERE, listen=f"0.0.0.0:{port}")
    assert proxy.listen == f"[::]:{port}"
    socket.create_connection(("127.0.0.1", port), timeout=15).close()


def test_a_disabled_proxy_can_be_enabled_and_disabled(lab: Lab, wire: type[Wire]) -> None:
    """A disabled proxy refuses connections; enabling or disabling twice is no error."""
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
    """A deleted proxy is gone from the list and the network; a second delete is a 404."""
    proxy = lab.proxy(NOWHERE)
    reply = lab.call("DELETE", f"/proxies/{proxy.name}")
    assert (reply.status, reply.body) == (204, b"")
    assert wire.refused(proxy)
    again = lab.call("DELETE", f"/proxies/{proxy.name}")
    assert (again.status, again.json["error"]) == (404, "proxy not found")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_post_and_patch_update_alike(lab: Lab, method: str) -> None:
    """POST and PATCH keep fields that the body omits, and never change the name."""
    proxy = lab.proxy(NOWHERE)
    reply = lab.call(method, f"/proxies/{proxy.name}", {"upstream": "127.0.0.1:8", "name": "other"})
    assert reply.status == 200
    assert reply.json["name"] == proxy.name
    assert (reply.json["upstream"], reply.json["listen"]) == ("127.0.0.1:8", proxy.listen)


def test_an_update_to_an_address_without_a_port_changes_nothing(lab: Lab) -> None:
    """An address without a port is an error without ``listen tcp``, and changes nothing."""
    proxy = lab.proxy(NOWHERE)
    reply = lab.call("PATCH", f"/proxies/{proxy.name}", {"listen": "bad"})
    assert (reply.status, reply.json["error"]) == (500, "address bad: missing port in address")
    assert lab.toxiproxy.proxy(proxy.name).enabled


def test_a_failed_move_leaves_the_proxy_disabled_at_the_new_address(lab: Lab) -> None:
    """A failed move leaves the proxy disabled at the new address; it can be moved again."""
    taken, proxy = lab.proxy(NOWHERE), lab.proxy(NOWHERE)
    assert lab.call("PATCH", f"/proxies/{proxy.name}", {"listen": taken.listen}).status == 500
    shown = lab.toxiproxy.proxy(proxy.name)
    assert (shown.listen, shown.enabled) == (taken.listen, False)
    shown.update(listen="127.0.0.1:0", enabled=True)
    assert shown.enabled


def test_go_s_json_rules(lab: Lab) -> None:
    """Keys have any case, the last of a repeated key wins, null is the default."""
    name = lab.name()
    lab.stack.callback(lambda: lab.call("DELETE", f"/proxies/{name}"))
    fields = f'"NAME":"x","Name":"{name}","upstream":"{NOWHERE}","listen":null,"enabled":null'
    body = f'{{{fields},"y":[{{}}]}} and more'
    reply = lab.call("POST", "/proxies", body.encode())
    assert (reply.status, reply.json["name"], reply.json["enabled"]) == (201, name, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b'{"name":1,"upstream":"x:1"}',
        b'{"name":"a","upstream":"x:1","enabled":"yes"}',
        b"[]",
        b'"text"',
        b"nul",
        b"NaN",
        b"\xff",
        b"{'name':'a'}",
        b"[" * 3000,
    ],
)
def test_a_body_that_is_not_a_proxy_is_a_400(lab: Lab, body: bytes) -> None:
    """A body that is no proxy is a 400 with JSON, whatever the content type says."""
    reply = lab.call("POST", "/proxies", body)
    assert reply.status == 400
    assert reply.json["error"].startswith("bad request body: ")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_invalid_utf8_becomes_a_replacement_character(lab: Lab) -> None:
    """Invalid UTF-8 becomes a replacement character, in names too."""
    name = lab.name()
    lab.stack.callback(lambda: lab.call("DELETE", f"/proxies/{name}%EF%BF%BD"))
    body = b'{"name":"' + name.encode() + b'\xff","upstream":"x:1"}'
    assert lab.call("POST", "/proxies", body).json["name"] == f"{name}\ufffd"


def test_html_characters_are_escaped(lab: Lab) -> None:
    """HTML characters are escaped as Go does, so that an answer is safe in a page."""
    name = f"{lab.name()}<&>"
    proxy = lab.proxy(NOWHERE, name=name)
    reply = lab.call("GET", "/proxies/" + name.replace("&", "%26").replace("<", "%3C"))
    assert reply.json["name"] == proxy.name
    assert b"\\u003c\\u0026\\u003e" in reply.body


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/none", 404),
        ("/version/", 404),
        ("/Proxies", 404),
        ("/proxies/", 404),
        ("/proxies/a%2Fb", 404),
        ("/", 404),
        ("//proxies", 301),
        ("/./version", 301),
        ("/proxies/../version", 301),
    ],
)
def test_paths_are_taken_literally(lab: Lab, path: str, status: int) -> None:
    """A path with a trailing slash or another case is unknown; a reducible path is redirected."""
    reply = lab.call("GET", path)
    assert reply.status == status
    if status == 404:
        assert reply.body == b"404 page not found\n"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
    else:
        assert reply.headers["Location"] in {"/proxies", "/version"}


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/proxies"), ("HEAD", "/version"), ("OPTIONS", "/proxies"), ("GET", "/reset")],
)
def test_a_wrong_method_is_a_405_without_a_body(lab: Lab, method: str, path: str) -> None:
    """A wrong method is a 405 without a body and without a request id."""
    reply = lab.call(method, path)
    assert (reply.status, reply.body) == (405, b"")
    assert reply.headers["X-Toxiproxy-Request-Id"] is None


def test_names_are_percent_decoded(lab: Lab) -> None:
    """Names are percent-decoded, a plus stays a plus, and a query string is ignored."""
    proxy = lab.proxy(NOWHERE, name=f"{lab.name()} a+b")
    path = "/proxies/" + proxy.name.replace(" ", "%20")
    assert lab.call("GET", f"{path}?x=y").json["name"] == proxy.name
    assert lab.call("GET", path.replace("+", "%2B")).json["name"] == proxy.name
    assert lab.call("GET", path.replace("%20", "+")).status == 404


def test_names_may_be_sent_in_utf8_as_they_are(lab: Lab) -> None:
    """A name in raw UTF-8 is read, and so is the next request on the connection."""
    proxy = lab.proxy(NOWHERE, name=f"{lab.name()}-é-漢")
    request = f"GET /proxies/{proxy.name} HTTP/1.1\r\nHost: x\r\n".encode()
    answers = _raw(lab, request + b"\r\n" + request + b"Connection: close\r\n\r\n")
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.count(f'"name":"{proxy.name}"'.encode()) == 2


def test_a_redirect_keeps_its_query(lab: Lab) -> None:
    """A redirect keeps its query string."""
    assert lab.call("GET", "//proxies?a=b%20c&d=").headers["Location"] == "/proxies?a=b%20c&d="


def test_a_request_without_a_host_is_refused(lab: Lab) -> None:
    """A request without a host is refused, and the connection is closed."""
    answer = _raw(lab, b"GET /version HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request")
    assert answer.endswith(b"missing required Host header")


def test_http_1_0_and_pipelines_work(lab: Lab) -> None:
    """With HTTP/1.0 and pipelining each request gets its answer, in order."""
    assert b" 200 OK" in _raw(lab, b"GET /version HTTP/1.0\r\n\r\n").splitlines()[0]
    one = b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: %b\r\n\r\n"
    pipeline = [(b"/version", b"keep-alive"), (b"/none", b"keep-alive"), (b"/version", b"close")]
    answers = _raw(lab, b"".join(one % request for request in pipeline))
    assert answers.index(b"200 OK") < answers.index(b"404 Not Found")
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.count(b"HTTP/1.1 404 Not Found") == 1


def test_chunked_bodies_work(lab: Lab) -> None:
    """A chunked body is one JSON value, however it is cut."""
    name = lab.name()
    lab.stack.callback(lambda: lab.call("DELETE", f"/proxies/{name}"))
    body = f'{{"name":"{name}","upstream":"{NOWHERE}"}}'.encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (1, bytes([byte])) for byte in body) + b"0\r\n\r\n"
    head = b"POST /proxies HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    assert b"201 Created" in _raw(lab, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)


def test_reset_enables_and_clears(lab: Lab, wire: type[Wire]) -> None:
    """A reset enables every proxy and removes all toxics."""
    pair = lab.pair()
    pair.proxy.disable()
    lab.call("POST", f"/proxies/{pair.proxy.name}/toxics", {"type": "latency"})
    reply = lab.call("POST", "/reset")
    assert (reply.status, reply.body) == (204, b"")
    assert lab.toxiproxy.proxy(pair.proxy.name).enabled
    assert pair.proxy.toxics() == []
    assert not wire.refused(pair.proxy)
