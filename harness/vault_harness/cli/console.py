"""The task ``console``: a page on the loopback that shows the stack live and breaks it."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import sys
import threading
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from vault_harness.cli.command import Command, command
from vault_harness.cli.common import local_stack
from vault_harness.cli.live import VERBS, Faults, Feed
from vault_harness.cli.printing import say
from vault_harness.closable import Closable
from vault_harness.errors import HarnessError, PortTaken, SettingsError
from vault_harness.interrupts import until_ctrl_c
from vault_harness.orders import OrderHandler

_FILES = {
    "": ("console.html", "text/html; charset=utf-8"),
    "console.css": ("console.css", "text/css; charset=utf-8"),
    "console.js": ("console.js", "text/javascript; charset=utf-8"),
}

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""No other site may read the page, frame it, or learn its address."""


@command(
    "console",
    group="every day",
    examples=("console", "console --port 8300"),
    help={"port": "where to listen on 127.0.0.1, default any free one"},
)
def console(port: int = 0) -> None:
    """Show the stack in a browser, and break and mend it there.

    It prints the address, which only this machine can open and which contains a token. Ctrl-C ends
    it, and undoes what was broken there.
    """
    stack = local_stack()
    stack.endpoints()  # raises if nothing runs
    with until_ctrl_c(), Faults() as faults, Feed(stack, faults) as feed:
        try:
            server = Console(feed, faults, port=port)
        except (OSError, OverflowError) as error:
            raise PortTaken(
                f"the console cannot be served on 127.0.0.1:{port}: "
                f"{getattr(error, 'strerror', None) or error}",
                looked_at=f"--port {port}",
                remedy="name another port, or leave it out for any free one",
            ) from None
        with server:
            say(f"open {server.url}")
            say("Ctrl-C ends it, and undoes what was broken there")
            signal.pause()


class Console(Closable):
    """The page, its events and its orders, until the block ends.

    `url` has the token that every request needs.
    """

    def __init__(self, feed: Feed, faults: Faults, *, port: int = 0) -> None:
        self.feed = feed
        self._faults = faults
        self._token = secrets.token_urlsafe(24)
        self._server = _Server(("127.0.0.1", port), type("_Asked", (_Asked,), {"console": self}))
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.origin}/{self._token}/"
        self._thread = threading.Thread(target=self._server.serve_forever, name="console")
        self._thread.daemon = True
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def place(self, path: str, headers: Mapping[str, str]) -> str | None:
        """Return what a request asks for; None if it may not ask.

        The Host header keeps out sites whose name was led to this address, the Origin header other
        sites' pages.
        """
        token, slash, place = path.lstrip("/").partition("/")
        if not secrets.compare_digest(token.encode(), self._token.encode()) or not slash:
            return None
        if headers.get("Host") != self.origin.removeprefix("http://"):
            return None
        return place if headers.get("Origin", self.origin) == self.origin else None

    def order(self, place: str, body: Mapping[str, Any]) -> str:
        """Return what was done."""
        match place:
            case "break":
                given = {str(k): str(v) for k, v in dict(body.get("options") or {}).items()}
                return self._faults.put(str(body.get("verb")), given, str(body.get("for") or "10s"))
            case "mend" if "fault" in body:
                return self._faults.mend(str(body["fault"]))
            case "mend":
                return self._faults.heal()
        raise SettingsError(
            f"there is no order {place}", looked_at="the request", remedy="POST break, or mend"
        )


def verbs() -> list[dict[str, Any]]:
    return [
        {
            "verb": task.path,
            "says": task.summary.rstrip("."),
            "timed": "for_" in task.parameters,
            "fields": [_field(task, name) for name in task.parameters if _is_field(task, name)],
        }
        for task in VERBS.values()
    ]


def _is_field(task: Command, name: str) -> bool:
    # A box that leaves Vault sealed for good belongs to the terminal.
    return name != "for_" and not isinstance(task.parameters[name].default, bool)


def _field(task: Command, name: str) -> dict[str, Any]:
    kind = str(task.parameters[name].annotation).removesuffix(" | None")
    return {
        "name": name,
        "label": task.option(name).removeprefix("--"),
        "help": task.meaning(name),
        "needed": name in task.needed,
        "number": kind == "int",
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing if the browser hung up before the answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Asked(OrderHandler):
    console: Console
    timeout = 60.0  # silence of a browser that began a request

    def do_GET(self) -> None:  # noqa: N802 - a name of http.server
        place = self.console.place(self.path, dict(self.headers.items()))
        if place == "events":
            self._stream()
        elif place == "verbs":
            self.answer(200, verbs())
        elif place in _FILES:
            name, kind = _FILES[place]
            file = Path(__file__).with_name("page") / name
            self.answer(200, file.read_bytes(), kind)
        else:
            self._refuse(place)

    def do_POST(self) -> None:  # noqa: N802 - a name of http.server
        place = self.console.place(self.path, dict(self.headers.items()))
        # A form of another site cannot send this type.
        if place is None or self.headers.get_content_type() != "application/json":
            self._refuse(None)
            return
        if (body := self.order()) is None:
            return
        try:
            done = self.console.order(place, dict(json.loads(body or b"{}")))
        except HarnessError as error:
            self.answer(409, _told(error.cause, error.looked_at, error.remedy))
        except (ValueError, TypeError):
            self.answer(400, _told("the body is not a JSON object"))
        else:
            self.answer(200, {"done": done})

    def _refuse(self, place: str | None) -> None:
        if place is None:
            self.answer(403, _told("open the address that the task console printed"))
        else:
            self.answer(404, _told("there is no such page"))

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for event in self.console.feed.events():
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())


def _told(cause: str, looked_at: str = "", remedy: str = "") -> dict[str, str]:
    return {"error": cause, "looked_at": looked_at, "remedy": remedy}
