"""Toxics in the API: contract sections 3.2 and 4.8 to 4.11."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vault_harness.local.toxiproxy.toxics import (
    Attributes,
    Bandwidth,
    Latency,
    LimitData,
    Noop,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)

if TYPE_CHECKING:
    from tests.contract.toxiproxy.conftest import Lab

NOWHERE = "127.0.0.1:9"


@pytest.mark.parametrize(
    "attributes",
    [
        Noop(),
        Latency(latency=100, jitter=10),
        Bandwidth(rate=1024),
        SlowClose(delay=5),
        Timeout(timeout=7),
        ResetPeer(timeout=8),
        Slicer(average_size=64, size_variation=32, delay=10),
        LimitData(bytes=9),
    ],
    ids=lambda attributes: attributes.type,
)
def test_each_type_shows_all_its_attributes(lab: Lab, attributes: Attributes) -> None:
    """Each type shows exactly its attributes, as they were given."""
    proxy = lab.proxy(NOWHERE)
    toxic = proxy.add(attributes, stream="upstream", toxicity=0.5)
    (shown,) = proxy.toxics()
    assert shown.attributes == attributes == toxic.attributes
    assert (shown.name, shown.toxicity) == (f"{attributes.type}_upstream", 0.5)
    assert (shown.type, shown.stream) == (attributes.type, "upstream")


def test_defaults(lab: Lab) -> None:
    """A toxic is downstream, always on, zero, named after type and stream; the status is 200."""
    proxy = lab.proxy(NOWHERE)
    reply = lab.call("POST", f"/proxies/{proxy.name}/toxics", {"type": "latency"})
    assert reply.status == 200
    assert reply.body == (
        b'{"attributes":{"latency":0,"jitter":0},"name":"latency_downstream","type":"latency",'
        b'"stream":"downstream","toxicity":1}'
    )


@pytest.mark.parametrize(
    ("sent", "shown"),
    [(0.123456789, 0.12345679), (0.2, 0.2), (1.0, 1), (2, 2), (-1, -1), (0, 0), (1e-7, 1e-7)],
)
def test_toxicity_is_a_float32_without_bounds(lab: Lab, sent: float, shown: float) -> None:
    """Toxicity is shown as the shortest number for its float32."""
    proxy = lab.proxy(NOWHERE)
    body = {"type": "latency", "toxicity": sent}
    assert lab.call("POST", f"/proxies/{proxy.name}/toxics", body).json["toxicity"] == shown


def test_a_stream_is_shown_as_spelt(lab: Lab) -> None:
    """A stream keeps its spelling, in the default name too."""
    proxy = lab.proxy(NOWHERE)
    body = {"type": "latency", "stream": "UpStream"}
    reply = lab.call("POST", f"/proxies/{proxy.name}/toxics", body)
    assert (reply.json["stream"], reply.json["name"]) == ("UpStream", "latency_UpStream")


@pytest.mark.parametrize("stream", ["", "sideways", "up"])
def test_an_invalid_stream_is_a_400(lab: Lab, stream: str) -> None:
    """An invalid stream is a 400 before the type is checked."""
    proxy = lab.proxy(NOWHERE)
    body = {"type": "nonsense", "stream": stream}
    reply = lab.call("POST", f"/proxies/{proxy.name}/toxics", body)
    error = "stream was invalid, can be either upstream or downstream"
    assert (reply.status, reply.json["error"]) == (400, error)


@pytest.mark.parametrize("body", [{}, {"type": ""}, {"type": "Latency"}, {"type": "lag"}])
def test_an_invalid_type_is_a_400(lab: Lab, body: object) -> None:
    """A type in another spelling is a 400."""
    proxy = lab.proxy(NOWHERE)
    reply = lab.call("POST", f"/proxies/{proxy.name}/toxics", body)
    assert (reply.status, reply.json["error"]) == (400, "invalid toxic type")


def test_a_name_is_unique_over_both_streams(lab: Lab) -> None:
    """A name is unique over both streams; default names differ by stream."""
    proxy = lab.proxy(NOWHERE)
    path = f"/proxies/{proxy.name}/toxics"
    for stream in ("upstream", "downstream"):
        assert lab.call("POST", path, {"type": "latency", "stream": stream}).status == 200
    assert lab.call("POST", path, {"type": "noop", "name": "mine"}).status == 200
    reply = lab.call("POST", path, {"type": "noop", "name": "mine", "stream": "upstream"})
    assert (reply.status, reply.json["error"]) == (409, "toxic already exists")


def test_upstream_toxics_come_first(lab: Lab) -> None:
    """Upstream toxics come first, each direction in the order added, in the proxy too."""
    proxy = lab.proxy(NOWHERE)
    proxy.add(Noop(), stream="downstream", name="d1")
    proxy.add(Noop(), stream="upstream", name="u1")
    proxy.add(Noop(), stream="downstream", name="d2")
    proxy.add(Noop(), stream="upstream", name="u2")
    assert [toxic.name for toxic in proxy.toxics()] == ["u1", "u2", "d1", "d2"]
    shown = lab.call("GET", f"/proxies/{proxy.name}").json["toxics"]
    assert [toxic["name"] for toxic in shown] == ["u1", "u2", "d1", "d2"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"latency": "100"},
        {"latency": 100.0},
        {"latency": True},
        {"latency": 2**63},
        {"latency": [1]},
        [],
        "text",
        7,
    ],
)
def test_attributes_of_a_wrong_type_are_a_400(lab: Lab, attributes: object) -> None:
    """An integer attribute must be written as an integer."""
    proxy = lab.proxy(NOWHERE)
    body = {"type": "latency", "attributes": attributes}
    reply = lab.call("POST", f"/proxies/{proxy.name}/toxics", body)
    assert reply.status == 400
    assert reply.json["error"].startswith("bad request body: ")
    assert proxy.toxics() == []


@pytest.mark.parametrize("toxicity", [True, "1", [1], 1e40])
def test_a_toxicity_of_a_wrong_type_is_a_400(lab: Lab, toxicity: object) -> None:
    """A boolean is no toxicity."""
    proxy = lab.proxy(NOWHERE)
    body = {"type": "latency", "toxicity": toxicity}
    assert lab.call("POST", f"/proxies/{proxy.name}/toxics", body).status == 400


def test_exponents_are_not_integers(lab: Lab) -> None:
    """A number with an exponent is no integer; the largest int64 is."""
    proxy = lab.proxy(NOWHERE)
    path = f"/proxies/{proxy.name}/toxics"
    body = b'{"type":"limit_data","attributes":{"bytes":%b}}'
    assert lab.call("POST", path, body % b"1e2").status == 400
    assert lab.call("POST", path, body % b"9223372036854775807").status == 200


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_an_update_keeps_what_it_does_not_say(lab: Lab, method: str) -> None:
    """An update keeps omitted attributes and toxicity, and never changes name, type or stream."""
    proxy = lab.proxy(NOWHERE)
    toxic = proxy.add(Latency(latency=100, jitter=10), toxicity=0.5)
    path = f"/proxies/{proxy.name}/toxics/{toxic.name}"
    body: dict[str, object] = {"attributes": {"latency": 5}}
    reply = lab.call(method, path, body)
    assert (reply.status, reply.json["attributes"]) == (200, {"latency": 5, "jitter": 10})
    assert reply.json["toxicity"] == 0.5
    body = {"toxicity": 0.25, "name": "x", "type": "noop", "stream": "upstream"}
    reply = lab.call(method, path, body)
    assert (reply.json["name"], reply.json["type"]) == (toxic.name, "latency")
    assert (reply.json["stream"], reply.json["toxicity"]) == ("downstream", 0.25)
    for nothing in (b"{}", b"null", b'{"attributes":null,"toxicity":null}'):
        assert lab.call(method, path, nothing).json == reply.json


def test_a_removed_toxic_is_gone(lab: Lab) -> None:
    """Removing a toxic is a 204 without a body, then a 404."""
    proxy = lab.proxy(NOWHERE)
    proxy.add(Latency())
    path = f"/proxies/{proxy.name}/toxics/latency_downstream"
    reply = lab.call("DELETE", path)
    assert (reply.status, reply.body) == (204, b"")
    again = lab.call("DELETE", path)
    assert (again.status, again.json["error"]) == (404, "toxic not found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/proxies/none/toxics"),
        ("POST", "/proxies/none/toxics"),
        ("GET", "/proxies/none/toxics/x"),
        ("PATCH", "/proxies/none/toxics/x"),
        ("DELETE", "/proxies/none/toxics/x"),
        ("PATCH", "/proxies/none"),
    ],
)
def test_the_proxy_is_looked_for_first(lab: Lab, method: str, path: str) -> None:
    """The proxy is looked up before the body is read."""
    reply = lab.call(method, path, b"nonsense" if method in {"POST", "PATCH"} else None)
    assert (reply.status, reply.json["error"]) == (404, "proxy not found")


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_an_unknown_toxic_is_a_404(lab: Lab, method: str) -> None:
    """An unknown toxic is a 404 for every method."""
    proxy = lab.proxy(NOWHERE)
    body: object = None if method == "GET" else {}
    reply = lab.call(method, f"/proxies/{proxy.name}/toxics/none", body)
    assert (reply.status, reply.json["error"]) == (404, "toxic not found")


def test_toxics_survive_disabling_and_moving(lab: Lab) -> None:
    """Toxics survive disabling and moving; reset, delete and replacement remove them."""
    proxy = lab.proxy(NOWHERE)
    proxy.add(Latency(latency=1))
    proxy.disable()
    proxy.enable()
    proxy.update(upstream="127.0.0.1:8")
    assert len(proxy.toxics()) == 1
