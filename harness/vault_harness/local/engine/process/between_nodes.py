"""The relay between the nodes of a cuttable cluster.

``python -m vault_harness.local.engine.process.between_nodes -config FILE`` runs until a signal; see
`Links`. It cannot read the traffic, which is TLS. Its API on the address ``api``::

    GET    /            {"nodes": {"vault": "127.0.0.1:4711"}, "held": 3,
                         "cut": {"vault-2": {"hears": false, "is_heard": false}}}
    PUT    /nodes/NAME  {"listen": "127.0.0.1:4711", "upstream": "127.0.0.1:4712",
                         "configuration": "FILE"}; also ends a cut of that node
    PUT    /cut/NAME    {"hears": false, "is_heard": false}
    DELETE /cut/NAME

Only this program knows the cuts, so they end with it. The file is JSON with ``api`` and ``nodes``,
as above. ``configuration``, on the node's command line, identifies its process.
"""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vault_harness.local.engine.process.finding import started_with
from vault_harness.local.engine.process.links import Links
from vault_harness.local.engine.process.spawn import DetachedProcess
from vault_harness.orders import OrderHandler, begin, taken

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class BetweenNodes:
    """The relay, and the process of each node."""

    def __init__(self) -> None:
        self.links = Links(self._process_of)
        self._configurations: dict[str, Path] = {}
        self._processes: dict[str, DetachedProcess] = {}
        self._lock = threading.Lock()

    def lead(self, name: str, told: Mapping[str, str]) -> None:
        with self._lock:
            self._configurations[name] = Path(told["configuration"])
            self._processes.pop(name, None)
            at = self.links.lead(name, told["upstream"], listen=told["listen"])
        log.info("%s leads to %s, which listens at %s", at, name, told["upstream"] or "nothing yet")

    def shut(self, name: str, told: Mapping[str, bool]) -> None:
        with self._lock:
            if name not in self.links.addresses:
                raise KeyError(name)
            hears, is_heard = bool(told.get("hears")), bool(told.get("is_heard"))
            self.links.shut(name, hears=hears, is_heard=is_heard)
        log.info("%s is cut off; hears: %s, is heard: %s", name, hears, is_heard)

    def open(self, name: str) -> None:
        with self._lock:
            self.links.open(name)
        log.info("%s is not cut off", name)

    def take(self, path: str, told: Mapping[str, Any]) -> None:
        """Execute an order.

        Raises:
            OSError: Another process listens on an address.
            KeyError: No such order or node.
        """
        what, _, name = path.removeprefix("/").partition("/")
        if what == "nodes" and name:
            self.lead(name, told)
        elif what == "cut":
            self.shut(name, told)
        else:
            raise KeyError(path)

    def take_back(self, path: str) -> None:
        what, _, name = path.removeprefix("/").partition("/")
        if what != "cut":
            raise KeyError(path)
        self.open(name)

    def state(self) -> dict[str, Any]:
        with self._lock:
            return {
                "nodes": self.links.addresses,
                "cut": {name: asdict(cut) for name, cut in self.links.cut.items()},
                "held": self.links.held.total(),
            }

    def _process_of(self, name: str) -> int | None:
        known = self._processes.get(name)
        if known is None or not known.alive():
            # A search is slow, so the result is kept.
            configuration = self._configurations[name]
            known = next(iter(started_with(configuration)[configuration]), None)
            if known is None:
                return None
            self._processes[name] = known
        return known.pid


def _told(between: BetweenNodes, verb: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    try:
        if verb == "PUT":
            between.take(path, json.loads(body))
        elif verb == "DELETE":
            between.take_back(path)
        elif path != "/":
            return 404, {"error": "there is /"}
    except OSError as error:
        return 409, {"error": str(error)}
    except (ValueError, TypeError, KeyError, AttributeError):
        return 422, {"error": "that is no order"}
    return 200, between.state()


def _handler(between: BetweenNodes) -> type[OrderHandler]:
    class Handler(OrderHandler):
        def do_GET(self) -> None:  # noqa: N802 - a name of http.server
            self.answer(*_told(between, "GET", self.path, b""))

        def do_PUT(self) -> None:  # noqa: N802 - a name of http.server
            body = self.order()
            if body is not None:
                self.answer(*_told(between, "PUT", self.path, body))

        def do_DELETE(self) -> None:  # noqa: N802 - a name of http.server
            self.answer(*_told(between, "DELETE", self.path, b""))

    return Handler


def _raise_limit_of_files() -> None:
    """Raise the limit: each connection between two nodes needs two open files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(arguments: Sequence[str] | None = None) -> int:
    told = begin("vault_harness.local.engine.process.between_nodes", _SIGNALS, arguments)
    _raise_limit_of_files()
    between = BetweenNodes()
    with between.links.running():
        for name, node in told["nodes"].items():
            between.lead(name, node)
        with taken(told["api"], _handler(between)):
            signal.sigwait(_SIGNALS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
