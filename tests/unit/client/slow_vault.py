"""A Vault over HTTP whose answers come when a test allows them."""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from vault_harness.waiting import wait_until

LOGIN = "login"
LOOK_UP = "lookup-self"
RENEW = "renew-self"
REVOKE = "revoke-self"
UNWRAP = "unwrap"
READ = "data/a"
"""Last parts of paths."""

ALL = (LOGIN, LOOK_UP, RENEW, REVOKE, UNWRAP, READ)

LONG = 30.0
"""Seconds that a test waits at most."""


class SlowVault(ThreadingHTTPServer):
    """Give out numbered tokens, and one secret to living tokens.

    `asked` holds the requests in order, `given` all tokens and `dead` the refused ones. The
    secret-id is good for `logins` more logins.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[str] = []
        self.dead: set[str] = set()
        self.given: list[str] = []
        self.logins = 1000
        self._holds: dict[str, tuple[threading.Event, float]] = {}
        self._lock = threading.Lock()

    @property
    def environ(self) -> dict[str, str]:
        return {
            "VAULT_ADDR": f"http://127.0.0.1:{self.server_port}",
            "VAULT_ROLE_ID": "role",
            "VAULT_SECRET_ID": "secret-id-4711",
        }

    @contextlib.contextmanager
    def holding(self, what: str, first: float = math.inf) -> Iterator[threading.Event]:
        """Hold answers to `what`, or the first few, until the event is set or the block ends."""
        released = threading.Event()
        self._holds[what] = (released, self.asked.count(what) + first)
        try:
            yield released
        finally:
            del self._holds[what]
            released.set()

    def came(self, what: str, times: int = 1) -> None:
        wait_until(lambda: self.asked.count(what) >= times, f"{what}, {times} times", timeout=LONG)

    def alive(self) -> list[str]:
        return [token for token in self.given if token not in self.dead]

    def answer(self, what: str, token: str) -> tuple[int, object]:
        with self._lock:
            self.asked.append(what)
            released, until = self._holds.get(what, (None, 0))
            held = self.asked.count(what) <= until
        if released is not None and held:
            released.wait(LONG)
        with self._lock:
            return self._answer(what, token)

    def _answer(self, what: str, token: str) -> tuple[int, object]:
        if what == UNWRAP:
            return 200, {"data": {"secret_id": "secret-id-4711"}}
        if what == LOGIN:
            if self.logins == 0:
                return 400, {"errors": ["invalid role or secret ID"]}
            self.logins -= 1
            self.given.append(f"token-{len(self.given) + 1}")
            auth = {"client_token": self.given[-1], "lease_duration": 600, "renewable": True}
            return 200, {"auth": auth}
        if token in self.dead:
            return 403, {"errors": ["permission denied"]}
        if what == REVOKE:
            self.dead.add(token)
            return 204, None
        return 200, {"data": {"data": {"KEY": "value"}, "metadata": {"version": 1}}}


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SlowVault

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Log nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("X-Vault-Token", "")
        path = self.path.partition("?")[0]
        status, body = self._known(path, token)
        content = b"" if body is None else json.dumps(body).encode()
        with contextlib.suppress(OSError):  # the client may have closed the connection
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def _known(self, path: str, token: str) -> tuple[int, object]:
        if path.endswith("wrapping/lookup"):
            return 200, {"data": {"creation_path": "auth/approle/role/r/secret-id"}}
        return self.server.answer(next(one for one in ALL if path.endswith(one)), token)

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()
