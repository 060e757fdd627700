"""Orders over HTTP to a program beside the servers: how it begins, takes and answers them.

Both ways they are JSON, and whoever gives them is on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_LONGEST = 64 * 1024
"""Bytes of an order at most."""


class OrderHandler(BaseHTTPRequestHandler):
    """What the handlers of such programs share; each adds ``do_GET`` and the like."""

    def order(self) -> bytes | None:
        """What came with a request; None if it was too long, which is answered then."""
        length = int(self.headers.get("Content-Length") or 0)
        if length <= _LONGEST:
            return self.rfile.read(length)
        self.answer(413, {"error": f"an order has {_LONGEST} bytes at most"})
        return None

    def answer(self, status: int, content: Mapping[str, Any]) -> None:
        """Answer a request."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own name
        """Nothing: who looks at the state looks often."""


def begin(
    module: str, signals: Iterable[signal.Signals], arguments: Sequence[str] | None
) -> dict[str, Any]:
    """What the file says that a program's command line names; from now on it has a log.

    Args:
        module: The program's name.
        signals: Kept back for `signal.sigwait`.
        arguments: The command line; None for this process's own.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("-config", required=True, type=Path, help="the file; see the module")
    told: dict[str, Any] = json.loads(parser.parse_args(arguments).config.read_text())
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    # Before any thread begins: each would take the signals that only this one waits for.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    return told


@contextlib.contextmanager
def taken(listen: str, handler: type[OrderHandler]) -> Iterator[None]:
    """Take orders at ``host:port`` until the block ends."""
    host, _, port = listen.rpartition(":")
    with ThreadingHTTPServer((host, int(port)), handler) as server:
        threading.Thread(target=server.serve_forever, name="orders", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
