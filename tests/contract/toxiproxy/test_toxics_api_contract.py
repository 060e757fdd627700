"""Toxics in the API, beyond the recorded transcript: contract sections 3.2 and 4.8 to 4.11."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vault_harness.local.toxiproxy.toxics import (
    Latency,
)

if TYPE_CHECKING:
    from tests.contract.toxiproxy.conftest import Lab

NOWHERE = "127.0.0.1:9"


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


def test_a_type_in_another_spelling_is_a_400(lab: Lab) -> None:
    proxy = lab.proxy(NOWHERE)
    reply = lab.call("POST", f"/proxies/{proxy.name}/toxics", {"type": "Latency"})
    assert (reply.status, reply.json["error"]) == (400, "invalid toxic type")


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
