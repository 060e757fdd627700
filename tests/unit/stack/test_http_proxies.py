"""HTTP_PROXY is ignored for servers on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vault_harness.local.engine.process.own_program import Relay
from vault_harness.local.engine.provider import RecorderEndpoint
from vault_harness.local.stack.recording import give
from vault_harness.local.vault.metrics import numbers


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer with metrics, the state of a relay, or a created object."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        metrics = "metrics" in self.path
        body = "vault_core_unsealed 1\n" if metrics else json.dumps({"nodes": {}, "cut": {}})
        self.send_response(201 if self.command == "POST" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_GET  # noqa: N815 -- http.server's name

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


@pytest.fixture
def here() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def order_goes_through(url: str) -> bool:
    """Return whether a recorder takes an order; it raises if not."""
    give(RecorderEndpoint(listen="", api=url), {})
    return True


@pytest.mark.parametrize(
    "ask",
    [
        lambda url: numbers(url).unsealed,
        order_goes_through,
        lambda url: Relay(url).state() == {"nodes": {}, "cut": {}},
    ],
    ids=["metrics", "recorder", "relay"],
)
def test_they_are_asked_directly(
    ask: Callable[[str], object], here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That proxy would answer no request."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert ask(here)
