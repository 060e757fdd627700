"""A running server under arbitrary requests and traffic fits its model and leaks nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

if TYPE_CHECKING:
    from tests.property.toxiproxy.conftest import Running

FIELDS: dict[str, dict[str, st.SearchStrategy[int]]] = {
    "noop": {},
    "latency": {"latency": st.integers(-5, 40), "jitter": st.integers(-5, 20)},
    "bandwidth": {"rate": st.sampled_from([-1, 0, 1, 1000])},
    "slow_close": {"delay": st.integers(0, 40)},
    "timeout": {"timeout": st.integers(-1, 40)},
    "reset_peer": {"timeout": st.integers(0, 40)},
    "slicer": {
        "average_size": st.integers(0, 20),
        "size_variation": st.integers(-1, 20),
        "delay": st.integers(0, 2000),
    },
    "limit_data": {"bytes": st.integers(-1, 200)},
}
NAMES = st.sampled_from(["a", "b", "c d"])
TOXIC_NAMES = st.sampled_from(["one", "two", "three"])
STREAMS = st.sampled_from(["upstream", "downstream", "Downstream"])
TOXICITY = st.sampled_from([0, 0.5, 1, 2])
UPSTREAM_DOWN = "127.0.0.1:1"


def _valid(kind: str, values: dict[str, int]) -> bool:
    if kind == "bandwidth":
        return values["rate"] >= 0
    if kind == "slicer":
        return (
            0 <= values["size_variation"] <= values["average_size"] and values["average_size"] >= 1
        )
    return True


@dataclass
class Model:
    upstream: str
    enabled: bool
    listen: str = ""
    toxics: dict[str, dict[str, Any]] = field(default_factory=dict)

    def shown(self) -> list[dict[str, Any]]:
        order = sorted(
            self.toxics.values(), key=lambda toxic: toxic["stream"].lower() == "downstream"
        )
        return list(order)


class Api(RuleBasedStateMachine):
    """Proxies and toxics come, change and go while connections send and close."""

    server: ClassVar[Running]

    def __init__(self) -> None:
        super().__init__()
        self.http = http.client.HTTPConnection(*self.server.host_port, timeout=15)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.listener.settimeout(5)
        self.upstream = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.proxies: dict[str, Model] = {}
        self.sockets: list[socket.socket] = []

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send a request, which must be answered within a second."""
        start = time.monotonic()
        data = None if body is None else json.dumps(body).encode()
        self.http.request(method, path.replace(" ", "%20"), data)
        response = self.http.getresponse()
        content = response.read()
        assert time.monotonic() - start < 5  # a second on an idle machine
        return response.status, json.loads(content) if content else None

    @rule(name=NAMES, enabled=st.booleans(), down=st.booleans())
    def create(self, name: str, enabled: bool, down: bool) -> None:
        upstream = UPSTREAM_DOWN if down else self.upstream
        entry = {"name": name, "listen": "127.0.0.1:0", "upstream": upstream, "enabled": enabled}
        status, answer = self.call("POST", "/proxies", entry)
        assert status == (409 if name in self.proxies else 201)
        if status == 201:
            self.proxies[name] = Model(upstream, enabled, answer["listen"])

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        status, _ = self.call("DELETE", f"/proxies/{name}")
        assert status == (204 if self.proxies.pop(name, None) else 404)

    @rule(name=NAMES, enabled=st.none() | st.booleans(), upstream=st.none() | st.booleans())
    def update(self, name: str, enabled: bool | None, upstream: bool | None) -> None:
        body: dict[str, object] = {"enabled": enabled}
        if upstream is not None:
            body["upstream"] = self.upstream if upstream else UPSTREAM_DOWN
        status, answer = self.call("PATCH", f"/proxies/{name}", body)
        model = self.proxies.get(name)
        if model is None:
            assert status == 404
            return
        never_started = model.listen.endswith(":0")
        if enabled is not None:
            model.enabled = enabled
        # A change of address stops the proxy first. Port 0 is a change every time.
        model.upstream = str(body.get("upstream", model.upstream))
        assert status == 200
        if model.enabled and never_started:
            model.listen = answer["listen"]

    @rule(name=NAMES, down=st.booleans())
    def populate(self, name: str, down: bool) -> None:
        """Populate: an equal proxy is kept, another one is replaced."""
        model = self.proxies.get(name)
        listen = model.listen if model else "127.0.0.1:0"
        upstream = UPSTREAM_DOWN if down else self.upstream
        entry = {"name": name, "listen": listen, "upstream": upstream}
        status, answer = self.call("POST", "/populate", [entry])
        assert status == 201
        if model is None or model.upstream != upstream:
            self.proxies[name] = Model(upstream, True, answer["proxies"][0]["listen"])
        else:
            assert answer["proxies"][0]["enabled"] == model.enabled

    @rule(
        data=st.data(), name=NAMES, toxic=TOXIC_NAMES, stream=STREAMS, toxicity=TOXICITY,
        kind=st.sampled_from([*FIELDS, "nonsense"]),
    )  # fmt: skip
    def add_toxic(
        self, data: st.DataObject, name: str, toxic: str, stream: str, toxicity: float, kind: str
    ) -> None:
        values = {field: data.draw(value) for field, value in FIELDS.get(kind, {}).items()}
        body = {"name": toxic, "type": kind, "stream": stream, "toxicity": toxicity}
        body["attributes"] = values
        status, answer = self.call("POST", f"/proxies/{name}/toxics", body)
        model = self.proxies.get(name)
        if model is None:
            assert status == 404
        elif kind not in FIELDS:
            assert status == 400
        elif toxic in model.toxics:
            assert status == 409
        elif not _valid(kind, values):
            assert status == 400
        else:
            assert (status, answer) == (200, body)
            model.toxics[toxic] = body

    @rule(data=st.data(), name=NAMES, toxic=TOXIC_NAMES, toxicity=st.none() | TOXICITY)
    def update_toxic(
        self, data: st.DataObject, name: str, toxic: str, toxicity: float | None
    ) -> None:
        model = self.proxies.get(name)
        known = model.toxics.get(toxic) if model else None
        strategies = FIELDS[known["type"]] if known else {}
        picked = data.draw(st.sets(st.sampled_from(sorted(strategies)))) if strategies else set()
        values = {field: data.draw(strategies[field]) for field in picked}
        body = {"attributes": values, "toxicity": toxicity}
        status, _ = self.call("PATCH", f"/proxies/{name}/toxics/{toxic}", body)
        if known is None:
            assert status == 404
        elif not _valid(known["type"], {**known["attributes"], **values}):
            assert status == 400
        else:
            assert status == 200
            known["attributes"] = {**known["attributes"], **values}
            known["toxicity"] = known["toxicity"] if toxicity is None else toxicity

    @rule(name=NAMES, toxic=TOXIC_NAMES)
    def remove_toxic(self, name: str, toxic: str) -> None:
        model = self.proxies.get(name)
        removed = model.toxics.pop(toxic, None) if model else None
        status, _ = self.call("DELETE", f"/proxies/{name}/toxics/{toxic}")
        assert status == (204 if removed else 404)

    @rule()
    def reset(self) -> None:
        status, _ = self.call("POST", "/reset")
        assert status == 204
        _, shown = self.call("GET", "/proxies")
        for name, model in self.proxies.items():
            model.enabled = True
            model.toxics = {}
            model.listen = shown[name]["listen"]

    @rule(name=NAMES)
    def connect(self, name: str) -> None:
        model = self.proxies.get(name)
        if model is None or not model.enabled or len(self.sockets) > 30:
            return
        host, port = model.listen.split(":")
        client = socket.create_connection((host, int(port)), timeout=5)
        client.settimeout(0)
        self.sockets.append(client)
        if model.upstream == self.upstream:
            server, _ = self.listener.accept()
            server.settimeout(0)
            self.sockets.append(server)

    @rule(size=st.sampled_from([1, 300, 300_000]), every=st.integers(1, 3))
    def send(self, size: int, every: int) -> None:
        for sock in self.sockets[::every]:
            with contextlib.suppress(OSError):
                sock.send(bytes(size))

    @rule(every=st.integers(1, 3))
    def receive(self, every: int) -> None:
        for sock in self.sockets[::every]:
            with contextlib.suppress(OSError):
                sock.recv(1_000_000)

    @rule(which=st.integers(0, 30), how=st.sampled_from(["close", "reset", "shutdown"]))
    def hang_up(self, which: int, how: str) -> None:
        """Let a peer hang up, cleanly or not."""
        if which >= len(self.sockets):
            return
        if how == "shutdown":
            with contextlib.suppress(OSError):
                self.sockets[which].shutdown(socket.SHUT_WR)
            return
        sock = self.sockets.pop(which)
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    @invariant()
    def the_view_is_the_model_s(self) -> None:
        status, shown = self.call("GET", "/proxies")
        assert status == 200
        assert shown == {
            name: {
                "name": name,
                "listen": model.listen,
                "upstream": model.upstream,
                "enabled": model.enabled,
                "toxics": model.shown(),
            }
            for name, model in self.proxies.items()
        }

    def teardown(self) -> None:
        for sock in self.sockets:
            sock.close()
        for name in self.proxies:
            assert self.call("DELETE", f"/proxies/{name}")[0] == 204
        self.http.close()
        self.listener.close()
        assert self.server.alive()


def test_the_api_and_its_model(running: Running) -> None:
    """After any order of rules the server has as many descriptors as before."""
    running.toxiproxy.version()
    before = running.descriptors()
    machine = type("Machine", (Api,), {"server": running})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=settings().max_examples // 2,
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
        ),
    )
    deadline = time.monotonic() + 10
    while running.descriptors() > before:
        assert time.monotonic() < deadline, f"{running.descriptors()} descriptors, {before} before"
        time.sleep(0.02)
    assert running.alive()


def _ask(running: Running, data: bytes) -> None:
    """Send bytes, and read until the server closes or waits."""
    sock = socket.create_connection(running.host_port, timeout=5)
    with sock, contextlib.suppress(OSError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    assert running.toxiproxy.version() == "2.12.0"
    assert running.alive()


HEAD = st.sampled_from(
    [
        b"GET /version HTTP/1.1\r\n",
        b"POST /proxies HTTP/1.1\r\nHost: x\r\n",
        b"POST /populate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /reset HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n",
        b"GET /proxies/%ff%2f%zz?x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[/x HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /version HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=HEAD, rest=st.binary(max_size=200))
def test_malformed_requests(running: Running, head: bytes, rest: bytes) -> None:
    """They are answered or cut, and the next request is served."""
    _ask(running, head + rest)


BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "listen", "upstream", "enabled", "type", "stream", "toxicity"])
            | st.sampled_from(["attributes", "latency", "rate", "average_size", "Name"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=10,
)
PATHS = st.sampled_from(
    ["/proxies", "/populate", "/reset", "/proxies/p", "/proxies/p/toxics", "/proxies/p/toxics/t"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(["POST", "PATCH", "DELETE"]), path=PATHS, body=BODIES)
def test_arbitrary_json(running: Running, method: str, path: str, body: object) -> None:
    """On every route only an address that cannot be bound is a 500."""
    connection = http.client.HTTPConnection(*running.host_port, timeout=15)
    with contextlib.closing(connection):

        def call(method: str, path: str, body: object) -> tuple[int, bytes]:
            connection.request(method, path, json.dumps(body).encode())
            response = connection.getresponse()
            return response.status, response.read()

        call("POST", "/proxies", {"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"})
        call("POST", "/proxies/p/toxics", {"name": "t", "type": "latency"})
        status, content = call(method, path, body)
        assert status in {200, 201, 204, 400, 404, 405, 409, 500}
        if status == 500:
            assert b"internal error" not in content
        connection.request("GET", "/proxies")
        for name in json.loads(connection.getresponse().read()):
            # By upstream's design a name with a slash can be made but not addressed.
            if "/" not in name and name not in {".", ".."}:
                assert call("DELETE", f"/proxies/{quote(name, safe='')}", None)[0] == 204
    assert running.alive()


@pytest.mark.slow
def test_ten_thousand_connections_leave_nothing(running: Running) -> None:
    """Descriptors and memory are as before."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.settimeout(10)
    toxiproxy = running.toxiproxy
    proxy = toxiproxy.create("many", upstream=f"127.0.0.1:{listener.getsockname()[1]}")
    call = toxiproxy._consumer.request
    for stream in ("upstream", "downstream"):
        for kind, attributes in (
            ("latency", {"latency": 1, "jitter": 1}),
            ("bandwidth", {"rate": 100_000}),
            ("slicer", {"average_size": 8, "size_variation": 4, "delay": 10}),
            ("slow_close", {"delay": 1}),
            ("timeout", {"timeout": 20}),
            ("reset_peer", {"timeout": 1}),
            ("limit_data", {"bytes": 50}),
        ):
            toxicity = 0.3 if kind in {"timeout", "reset_peer"} else 0.7
            body = {"type": kind, "stream": stream, "attributes": attributes, "toxicity": toxicity}
            call("post", f"/proxies/{proxy.name}/toxics", body)

    def run(count: int) -> None:
        for _ in range(count // 50):
            clients = [socket.create_connection(proxy.address, timeout=10) for _ in range(50)]
            servers = [listener.accept()[0] for _ in range(50)]
            for number, sock in enumerate(clients + servers):
                with contextlib.suppress(OSError):
                    sock.sendall(bytes(number * 3))
            for number, sock in enumerate(clients + servers):
                if number % 3 == 0:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.close()

    def settled() -> int:
        deadline = time.monotonic() + 20
        while any(connection.closed is None for connection in toxiproxy.connections("many") or []):
            assert time.monotonic() < deadline, "connections live on although both peers are gone"
            time.sleep(0.05)
        return running.descriptors()

    # The first ten thousand fill the record of ended connections and the allocator's reserve.
    # Memory is level from there (measured: 50.0 MB, and 50.8 MB after 40,000 more). On a busy
    # machine more connections live at once, and the reserve is larger. A leak grows each time.
    run(10_000)
    descriptors, memory = settled(), running.memory()
    grown: list[int] = []
    while len(grown) < 2 or (grown[-1] >= 1_000_000 and len(grown) < 5):
        run(10_000)
        assert settled() <= descriptors + 2
        grown.append(running.memory() - memory)
        memory += grown[-1]
    assert grown[-1] < 1_000_000, f"each 10,000 connections left more, in bytes: {grown}"
    proxy.delete()
    listener.close()
    assert running.alive()
