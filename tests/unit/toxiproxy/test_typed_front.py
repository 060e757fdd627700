"""The typed client of Toxiproxy, against servers that behave in every way."""

from __future__ import annotations

import http.server
import json
import multiprocessing
import os
import socket
import sys
from collections.abc import Iterator
from typing import ClassVar

import pytest
from toxiproxy.api import APIConsumer

from tests.running import Handler, ran, serving
from vault_harness.errors import ToxiproxyError
from vault_harness.local.toxiproxy import consumer
from vault_harness.local.toxiproxy.client import Toxiproxy, traffic
from vault_harness.local.toxiproxy.consumer import Refused, Unreachable
from vault_harness.local.toxiproxy.toxics import Bandwidth, Latency, Noop, Slicer

Script = list[tuple[int, bytes]]


class _Scripted(Handler):
    script: ClassVar[Script]
    seen: ClassVar[list[tuple[str, str, object]]]
    opened: ClassVar[list[socket.socket]]
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.opened.append(self.connection)

    def answer(self) -> None:
        body = self.sent()
        self.seen.append((self.command, self.path, json.loads(body) if body else None))
        status, content = self.script.pop(0)
        self.say(content.decode(), status, {"Location": "/elsewhere"} if status == 301 else {})


class Fake:
    """A server that gives scripted answers."""

    def __init__(self) -> None:
        self.script: Script = []
        self.seen: list[tuple[str, str, object]] = []
        self.opened: list[socket.socket] = []
        own = {"script": self.script, "seen": self.seen, "opened": self.opened}
        handler = type("Handler", (_Scripted,), own)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.toxiproxy = Toxiproxy(f"http://127.0.0.1:{self.server.server_port}")

    @property
    def connections(self) -> int:
        return len(self.opened)

    def cut(self) -> None:
        for connection in self.opened:
            connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def fake() -> Iterator[Fake]:
    fake = Fake()
    with serving(fake.server):
        yield fake


STATE = {"name": "p", "listen": "127.0.0.1:1", "upstream": "u:1", "enabled": True, "toxics": []}


@pytest.mark.parametrize("status", [301, 400, 403, 404, 409, 500, 503])
def test_every_answer_that_is_no_success_is_an_error(fake: Fake, status: int) -> None:
    """It has status, words, request and remedy."""
    content = b'{"error":"its own words","status":0}\n'
    fake.script.append((status, content))
    with pytest.raises(Refused) as caught:
        fake.toxiproxy.create("p", upstream="u:1")
    assert (caught.value.status, caught.value.text) == (status, "its own words")
    assert "POST" in caught.value.looked_at
    assert caught.value.remedy
    assert isinstance(caught.value, ToxiproxyError)


def test_an_error_that_is_no_json_is_shown_as_it_is(fake: Fake) -> None:
    """The browser block answers so."""
    fake.script.append((403, b"User agent not allowed\n"))
    with pytest.raises(Refused, match="403: User agent not allowed"):
        fake.toxiproxy.version()


def test_what_is_no_toxiproxy_is_not_taken_for_one(fake: Fake) -> None:
    """Another web server may have the port."""
    fake.script.append((200, b"<html>"))
    with pytest.raises(Unreachable, match="not a Toxiproxy"):
        fake.toxiproxy.version()


def test_a_server_that_is_silent_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        toxiproxy = Toxiproxy(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)
        with pytest.raises(Unreachable, match=r"no answer within 0\.2 s"):
            toxiproxy.version()


def test_a_server_that_is_not_there() -> None:
    """The cause is the operating system's."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # held, so that no other program listens there
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match="connection refused"):
            Toxiproxy(url).proxies()
        with pytest.raises(Unreachable, match=r"waited 0\.05 s"):
            Toxiproxy(url).wait_ready(0.05)


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:1", "http://", "ftp://x", "http://x:port", "http://x:1/path"]
)
def test_a_url_that_cannot_be(url: str) -> None:
    with pytest.raises(ToxiproxyError, match="not the address"):
        Toxiproxy(url)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1", "http://127.0.0.1:8474"),
        ("localhost:1234/", "http://localhost:1234"),
        ("http://[::1]:5", "http://[::1]:5"),
    ],
)
def test_a_url_that_can_be(given: str, url: str) -> None:
    """Toxiproxy's own port is the default."""
    assert Toxiproxy(given).url == url


def test_two_servers_at_once(fake: Fake) -> None:
    """toxiproxy-python's default address is not used."""
    other = Toxiproxy("http://127.0.0.1:1")
    fake.script.append((200, b'{"version": "2.12.0"}'))
    assert fake.toxiproxy.version() == "2.12.0"
    with pytest.raises(Unreachable):
        other.version()
    assert (APIConsumer.host, APIConsumer.port) == ("127.0.0.1", 8474)


def test_names_are_quoted(fake: Fake) -> None:
    fake.script.append((200, json.dumps({**STATE, "name": "a b?%ü"}).encode()))
    fake.toxiproxy.proxy("a b?%ü")
    assert fake.seen[0][1] == "/proxies/a%20b%3F%25%C3%BC"


@pytest.mark.parametrize("name", ["", "a/b", ".", ".."])
def test_names_that_no_path_can_hold(fake: Fake, name: str) -> None:
    """The server would not find them again."""
    with pytest.raises(ToxiproxyError, match="cannot name"):
        fake.toxiproxy.create(name, upstream="u:1")
    assert fake.seen == []


def test_a_toxic_is_removed_after_its_block(fake: Fake) -> None:
    """The block may fail, or the toxic be gone."""
    shown = {
        "name": "latency_upstream",
        "type": "latency",
        "stream": "upstream",
        "toxicity": 1,
        "attributes": {"latency": 5, "jitter": 0},
    }
    gone = b'{"error":"toxic not found","status":404}'
    fake.script += [
        (200, json.dumps(STATE).encode()),
        (200, json.dumps(shown).encode()),
        (404, gone),
    ]
    proxy = fake.toxiproxy.proxy("p")

    def fail() -> None:
        with proxy.toxic(Latency(latency=5), stream="upstream") as toxic:
            assert toxic.attributes == Latency(latency=5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [(method, path) for method, path, _ in fake.seen[1:]] == [
        ("POST", "/proxies/p/toxics"),
        ("DELETE", "/proxies/p/toxics/latency_upstream"),
    ]
    assert fake.seen[1][2] == {**shown, "toxicity": 1.0}


def test_a_disabled_proxy_is_enabled_after_its_block(fake: Fake) -> None:
    answers = [STATE, {**STATE, "enabled": False}, STATE]
    fake.script += [(200, json.dumps(answer).encode()) for answer in answers]
    proxy = fake.toxiproxy.proxy("p")
    with proxy.disabled() as same:
        assert not same.enabled
    assert proxy.enabled
    assert [body for _, _, body in fake.seen[1:]] == [{"enabled": False}, {"enabled": True}]


def test_updates_are_checked_before_they_are_sent(fake: Fake) -> None:
    """Toxiproxy ignores unknown attributes."""
    shown = {"name": "t", "type": "latency", "stream": "downstream", "toxicity": 1}
    shown["attributes"] = {"latency": 5, "jitter": 0}
    fake.script += [(200, json.dumps(STATE).encode()), (200, json.dumps([shown]).encode())]
    (toxic,) = fake.toxiproxy.proxy("p").toxics()
    with pytest.raises(ToxiproxyError, match="no rate"):
        toxic.update(rate=5)
    with pytest.raises(ToxiproxyError, match="cannot become"):
        toxic.update(Bandwidth(rate=5))
    assert len(fake.seen) == 2


def test_an_unknown_type_is_shown(fake: Fake) -> None:
    """A server may have more than eight."""
    shown = {"name": "t", "type": "ninth", "stream": "upstream", "toxicity": 1}
    shown["attributes"] = {"depth": 5}
    fake.script += [(200, json.dumps(STATE).encode()), (200, json.dumps([shown]).encode())]
    (toxic,) = fake.toxiproxy.proxy("p").toxics()
    assert (toxic.type, toxic.attributes.as_json()) == ("ninth", {"depth": 5})


def test_http_proxy_is_ignored_for_a_local_server(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    fake.script.append((200, b'{"version": "2.12.0"}'))
    assert fake.toxiproxy.version() == "2.12.0"


def test_requests_go_over_one_connection(fake: Fake) -> None:
    """Connecting takes most of the time."""
    fake.script += [(200, json.dumps(STATE).encode())] * 3
    for _ in range(3):
        fake.toxiproxy.proxy("p")
    assert fake.connections == 1


# Python 3.12 and later warn of every fork beside threads; this test needs some.
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_fork_speaks_over_a_connection_of_its_own(fake: Fake) -> None:
    """It could read its parent's answers."""
    fake.script += [(200, b'{"version": "2.12.0"}')] * 3
    assert fake.toxiproxy.version() == "2.12.0"
    child = multiprocessing.get_context("fork").Process(target=fake.toxiproxy.version)
    child.start()
    child.join(30)
    assert (child.exitcode, fake.toxiproxy.version(), fake.connections) == (0, "2.12.0", 2)


def test_a_server_that_ended_its_connections(fake: Fake) -> None:
    """It is noticed before anything is sent."""
    fake.script += [(200, b'{"version": "2.12.0"}')] * 2
    assert fake.toxiproxy.version() == "2.12.0"
    fake.cut()
    assert fake.toxiproxy.version() == "2.12.0"


def test_an_idle_connection_is_not_reused(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may be about to end it."""
    monkeypatch.setattr(consumer, "IDLE", 0.0)
    fake.script += [(200, json.dumps(STATE).encode())] * 2
    for _ in range(2):
        fake.toxiproxy.proxy("p")
    assert fake.connections == 2


def test_attributes_name_their_units_as_the_api_does() -> None:
    """Only a slicer needs an argument."""
    assert Latency(latency=1).as_json() == {"latency": 1, "jitter": 0}
    assert Noop().as_json() == {}
    assert Slicer(average_size=2).as_json() == {"average_size": 2, "size_variation": 0, "delay": 0}


def test_traffic_is_added_up_over_addresses() -> None:
    """Prometheus' text has exponents and escapes."""
    name = "toxiproxy_proxy_sent_bytes_total"
    text = "\n".join(
        [
            f"# TYPE {name} counter",
            f'{name}{{direction="upstream",listener="a",proxy="p\\"1",upstream="x"}} 1.5e+06',
            f'{name}{{direction="upstream",listener="b",proxy="p\\"1",upstream="x"}} 5',
            f'{name}{{direction="upstream",listener="b",proxy="other",upstream="x"}} 7',
        ]
    )
    assert traffic(text, 'p"1').sent_upstream == 1_500_005
    assert traffic(text, 'p"1').sent_downstream == 0


def test_importing_the_face_is_cheap() -> None:
    code = "import sys, vault_harness.local.toxiproxy; print('requests' in sys.modules)"
    done = ran([sys.executable, "-c", code], check=True, env=dict(os.environ))
    assert done.stdout.strip() == "False"
