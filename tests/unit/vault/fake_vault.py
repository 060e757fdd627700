from __future__ import annotations

import json
from collections.abc import Callable
from http.server import ThreadingHTTPServer

from tests.running import Handler
from vault_harness.namespaces import HEADER

Answer = tuple[int, object, dict[str, str]]
"""Status, body, headers."""

NOBODY_LEADS: Answer = (
    500,
    {"errors": ["local node not active but active cluster node not found"]},
    {},
)
"""The answer of a node that would forward a request while others elect a leader."""


class Answers(Handler):
    def answer(self) -> None:
        server = self.server
        assert isinstance(server, FakeVault)
        self.sent()
        server.tokens.append(self.headers.get("X-Vault-Token"))
        path = self.path.partition("?")[0]
        server.asked.append(path)
        server.namespaces.append(self.headers.get(HEADER))
        queue = server.first.get(path)
        status, body, headers = (
            queue.pop(0) if queue else server.answers.get(path, server.otherwise)
        )
        server.answers.update(server.then.get(path, {}))
        self.say(json.dumps(body), status, headers)


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


Serve = Callable[[], FakeVault]


def seal_status(*, initialized: bool, sealed: bool, migration: bool = False) -> Answer:
    body = {"initialized": initialized, "sealed": sealed, "n": 5, "t": 3, "progress": 0}
    body["migration"] = migration
    return 200, {**body, "version": "2.7.2"}, {}
