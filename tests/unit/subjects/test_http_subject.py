from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import pytest

from tests.running import Handler, serving
from vault_harness.errors import SubjectDied, SubjectError
from vault_harness.judge.subjects import OperationFailed, Reading, Subject, SubjectHung
from vault_harness.judge.subjects import http as http_module

Open = Callable[..., Subject]


class Server(ThreadingHTTPServer):
    """A server of clients; each has a path and an environment."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.clients: dict[str, dict[str, str]] = {}
        self.many = False
        self.logs: list[tuple[int, str]] = []
        self.asked_for_logs = 0
        self.hold = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, path: str, request: dict[str, Any]) -> tuple[int, Any]:
        if path == "/configure":
            where = f"/clients/{len(self.clients)}" if self.many else ""
            self.clients[where or "/"] = request["environ"]
            return 200, {"ok": True, "path": where}
        client = self.clients[path]
        match request["op"]:
            case "hello":
                return 200, {"ok": True, "capabilities": ["read", "health"]}
            case "read" if request["path"] == "html":
                return 502, "<html>Bad Gateway</html>"
            case "read" if request["path"] == "hang":
                self.hold.wait(30)
                return 200, {"ok": True, "value": "late"}
            case "read" if request["path"] == "id":
                return 200, {"id": -1, "ok": True, "value": "v"}
            case "read" if request["key"] in client:
                return 200, {"id": request["id"], "ok": True, "value": client[request["key"]]}
            case "read":
                return 503, {"ok": False, "error": "unavailable", "message": "sealed"}
            case "lease":
                made = {"username": request.get("failed", "first"), "password": request["path"]}
                return 200, {"ok": True, "value": made}
            case "health":
                return 200, {"ok": True, "value": False}
            case _:
                del self.clients[path]
                return 200, {"ok": True}


class Answers(Handler):
    server: Server
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        if self.command == "GET":
            return self.logs()
        status, told = self.server.answer(self.path, json.loads(self.sent()))
        return self.say(told if isinstance(told, str) else json.dumps(told), status)

    def logs(self) -> None:
        self.server.asked_for_logs += 1
        logs = self.server.logs
        status, text = logs.pop(0) if logs else (200, f"log of {self.path}")
        self.say(text, status)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as one:
        yield one
        one.hold.set()


def test_a_whole_client(subject: Open, server: Server) -> None:
    one = subject(server.url, {"K": "v"})
    assert isinstance(one, Subject)
    assert (one.kind, one.pid) == ("http", None)
    assert one.capabilities == {"read", "health"}
    assert one.read("p", "K", timeout=20) == Reading("v")
    assert one.health(timeout=20) is False
    with pytest.raises(OperationFailed, match="sealed") as caught:
        one.read("p", "NONE", timeout=20)
    assert caught.value.outcome == "unavailable"
    assert one.reports_outcomes
    one.close(timeout=20)
    assert server.clients == {}
    assert one.logs() == "log of /logs"
    assert not one.is_alive()


@pytest.mark.parametrize(
    ("later", "kept"),
    [
        ((404, "no such client"), "what it said"),
        ((200, ""), "what it said"),
        ((200, "what it said\nand its end"), "what it said\nand its end"),
        ((200, "its end"), "what it said\nits end"),
    ],
)
def test_a_server_that_forgets_with_its_client(
    subject: Open, server: Server, later: tuple[int, str], kept: str
) -> None:
    """The log is fetched before the end as well."""
    server.logs = [(200, "what it said"), later]
    one = subject(server.url)
    one.close(timeout=20)
    assert one.logs() == kept


def test_a_log_that_does_not_come_is_not_waited_for_again(
    subject: Open, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a short time at the close."""
    monkeypatch.setattr(http_module, "_LOG", 0.3)
    monkeypatch.setattr(http_module, "_SOON", 0.1)
    monkeypatch.setattr(Answers, "logs", lambda self: hang(self.server))

    def hang(server: Server) -> None:
        server.asked_for_logs += 1
        server.hold.wait(30)

    one = subject(server.url)
    assert (one.logs(), one.logs(), server.asked_for_logs) == ("", "", 1)
    one.close(timeout=20)
    assert (one.logs(), server.asked_for_logs) == ("", 2)


def test_a_log_that_hangs_is_no_slow_end(
    subject: Open, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_module, "_LOG", 25.0)
    monkeypatch.setattr(http_module, "_SOON", 0.1)
    monkeypatch.setattr(Answers, "logs", lambda self: self.server.hold.wait(30))
    one = subject(server.url)
    began = time.monotonic()
    one.close(timeout=20)
    assert time.monotonic() - began < 20.0


def test_a_log_that_comes_once_the_client_is_closed(
    subject: Open, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_module, "_SOON", 0.2)
    answer = Answers.logs

    def late(self: Answers) -> None:
        if self.server.asked_for_logs:
            answer(self)
        else:
            self.server.asked_for_logs += 1
            self.server.hold.wait(30)

    monkeypatch.setattr(Answers, "logs", late)
    server.logs = [(200, "what it said")]
    one = subject(server.url)
    one.close(timeout=20)
    assert one.logs() == "what it said"


@pytest.mark.parametrize(
    ("kind", "charset"),
    [
        ("text/plain", "utf-8"),
        ("", "utf-8"),
        ("text/plain; charset=iso-8859-15", "iso-8859-15"),
        ("text/plain; charset=klingon", "utf-8"),
    ],
)
def test_letters_of_a_log(
    subject: Open, server: Server, kind: str, charset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are decoded by its charset, or as UTF-8."""

    def do_get(self: Answers) -> None:
        body = "canary-äß€".encode(charset)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if kind:
            self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    monkeypatch.setattr(Answers, "logs", do_get)
    assert subject(server.url).logs() == "canary-äß€"


def test_a_log_that_never_ends(
    subject: Open, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the beginning is kept."""

    def do_get(self: Answers) -> None:
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):  # the reader has gone
            while not self.server.hold.is_set():
                self.wfile.write(b"said and done\n" * 100)

    monkeypatch.setattr(http_module, "_LONGEST", 1400)
    monkeypatch.setattr(Answers, "logs", do_get)
    assert subject(server.url).logs() == "said and done\n" * 100


def test_scenarios_take_turns(subject: Open, server: Server) -> None:
    """A server with one client serves one at a time."""
    first = subject(server.url, {"K": "first"})
    opened: list[Subject] = []
    thread = threading.Thread(target=lambda: opened.append(subject(server.url, {"K": "second"})))
    thread.start()
    assert first.read("p", "K", timeout=20).value == "first"
    assert getattr(first, "alone")  # noqa: B009 - no subject but this one has it
    first.close(timeout=20)
    thread.join(30)
    assert opened[0].read("p", "K", timeout=20).value == "second"


def test_a_server_with_many_clients_needs_no_turns(subject: Open, server: Server) -> None:
    """It has a path for each client."""
    server.many = True
    first, second = subject(server.url, {"K": "first"}), subject(server.url, {"K": "second"})
    assert not getattr(first, "alone")  # noqa: B009 - no subject but this one has it
    assert first.read("p", "K", timeout=20).value == "first"
    assert second.read("p", "K", timeout=20).value == "second"


def test_a_user_without_a_name(
    subject: Open, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert subject(server.url, {"K": "v"}).read("p", "K", timeout=20) == Reading("v")


def test_a_server_that_cannot_be_configured(
    subject: Open, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "answer", lambda *_: (404, "no such page"))
    with pytest.raises(SubjectError, match="HTTP 404") as caught:
        subject(server.url)
    assert "/configure" in str(caught.value)
    monkeypatch.setattr(server, "answer", lambda *_: (200, {"ok": False, "message": "no"}))
    with pytest.raises(SubjectError, match="cannot be configured: no"):
        subject(server.url)


@pytest.mark.parametrize(("path", "cause"), [("html", "HTTP 502"), ("id", "another id")])
def test_a_wrong_answer_is_a_breach(subject: Open, server: Server, path: str, cause: str) -> None:
    one = subject(server.url)
    with pytest.raises(SubjectError, match=cause):
        one.read(path, "K", timeout=20)


def test_an_answer_that_does_not_come_is_given_up(subject: Open, server: Server) -> None:
    """The next call works."""
    one = subject(server.url)
    with pytest.raises(SubjectHung):
        one.read("hang", "K", timeout=0.2)
    assert one.is_alive()
    assert one.health(timeout=20) is False


def test_a_server_that_is_not_there(subject: Open) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(SubjectDied, match="does not answer") as caught:
            subject(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert "start the server" in str(caught.value)
