"""Orders to a program beside the servers, as JSON over HTTP, from this machine only."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_LONGEST = 64 * 1024
"""Bytes."""


class OrderHandler(BaseHTTPRequestHandler):
    """The common part of such handlers."""

    def order(self) -> bytes | None:
        """Return a request's body; answer 413 and return None if it is too long."""
        given = self.headers.get("Content-Length") or "0"
        if given.isascii() and given.isdigit() and int(given) <= _LONGEST:
            return self.rfile.read(int(given))
        self.answer(413, {"error": f"an order has {_LONGEST} bytes at most"})
        return None

    def answer(self, status: int, content: object, kind: str = "application/json") -> None:
        """Answer with something as JSON, or with bytes as they are."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own name
        """Log nothing: callers poll, and the console's paths contain a token."""


def begin(
    module: str, signals: Iterable[signal.Signals], arguments: Sequence[str] | None
) -> dict[str, Any]:
    """Read a program's configuration file and start its log; block ``signals`` for `sigwait`."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("-config", required=True, type=Path, help="the file; see the module")
    told: dict[str, Any] = json.loads(parser.parse_args(arguments).config.read_text())
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    # Before any thread starts, which would take the signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    return told


@contextlib.contextmanager
def taken(listen: str, handler: type[OrderHandler]) -> Iterator[None]:
    """Serve orders at ``host:port`` until the block ends."""
    host, _, port = listen.rpartition(":")
    with ThreadingHTTPServer((host, int(port)), handler) as server:
        threading.Thread(target=server.serve_forever, name="orders", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
