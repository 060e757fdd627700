from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from vault_harness.namespaces import HEADER

Answer = tuple[int, object, dict[str, str]]
"""Status, body, headers."""

NOBODY_LEADS: Answer = (
    500,
    {"errors": ["local node not active but active cluster node not found"]},
    {},
)
"""The answer of a node that would forward a request while others elect a leader."""


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer()

    do_POST = do_PUT = do_LIST = do_DELETE = do_GET  # noqa: N815 -- http.server's names

    def answer(self) -> None:
        server = self.server
        assert isinstance(server, FakeVault)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.tokens.append(self.headers.get("X-Vault-Token"))
        path = self.path.partition("?")[0]
        server.asked.append(path)
        server.namespaces.append(self.headers.get(HEADER))
        queue = server.first.get(path)
        status, body, headers = (
            queue.pop(0) if queue else server.answers.get(path, server.otherwise)
        )
        server.answers.update(server.then.get(path, {}))
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


class FakeVault(ThreadingHTTPServer):
    """A server whose answers the test decides, for answers that a Vault gives rarely.

    `answers` holds the answer of each path, and `otherwise` that of others. The answers in `first`
    precede it, and those in `then` follow a request of their path.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.answers: dict[str, Answer] = {}
        self.otherwise: Answer = (404, {"errors": []}, {})
        self.first: dict[str, list[Answer]] = {}
        self.then: dict[str, dict[str, Answer]] = {}
        self.tokens: list[str | None] = []
        self.asked: list[str] = []
        self.namespaces: list[str | None] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def begin(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


Serve = Callable[[], FakeVault]


def seal_status(*, initialized: bool, sealed: bool, migration: bool = False) -> Answer:
    body = {"initialized": initialized, "sealed": sealed, "n": 5, "t": 3, "progress": 0}
    body["migration"] = migration
    return 200, {**body, "version": "2.7.2"}, {}
