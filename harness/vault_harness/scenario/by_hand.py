"""The HTTP recorder of a stack that people break by hand: a program beside Vault and Toxiproxy.

``python -m vault_harness.scenario.by_hand -config FILE`` stands between the two, as the recorder
does in a scenario, until it is ended. It counts requests and keeps nothing of what passes: no
request, no token. On the address ``api`` it takes and tells orders::

    GET  /          {"faults": [{"order": {...}, "text": "login answered 503, the first 2",
                     "seen": 3, "acted": 2, "over": true}], "defects": []}
    POST /faults    an order, as of `vault_harness.faults.Order`; one about the same is replaced

SIGHUP has it read its certificate anew. The file is JSON: ``listen``, ``api`` and ``upstream``,
each ``host:port``, and ``tls``, a folder with the files of `TlsFiles.within`, or null. Where Vault
asks its clients for certificates it does so too, and shows Vault one of its own.
"""

from __future__ import annotations

import json
import logging
import signal
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vault_harness.certificates import TlsFiles, server_context
from vault_harness.engine import RECORDER_NAME
from vault_harness.errors import SettingsError
from vault_harness.faults import Interference, Order, RequestKind
from vault_harness.orders import OrderHandler, begin, taken
from vault_harness.scenario._secrets import Secrets
from vault_harness.scenario.history import History
from vault_harness.scenario.recorder import Recorder

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Nothing(Secrets):
    """Learns no secret: nobody asks here who used which."""

    def add(self, kind: str, value: str, label: str | None = None) -> str:  # noqa: ARG002 - not kept
        return label or kind


class _Telling(Interference):
    """Says in the log on what it acts. Never on which path: an old one may have a token in it."""

    def takes(self, kind: RequestKind, path: str) -> bool:
        """Count a request, and say whether this acts on it."""
        taken = super().takes(kind, path)
        if taken:
            log.info("%s: %s number %d", self.name, kind, self.seen)
        return taken


@dataclass(frozen=True)
class _Set:
    """A fault that is in force, and what takes it away."""

    order: Order
    acting: Interference
    undo: ExitStack


class ByHand:
    """The recorder, and the faults that were ordered.

    Args:
        listen: ``host:port`` that Toxiproxy leads clients to.
        upstream: ``host:port`` of Vault, or of the balancer before several.
        tls: The folder of the certificate that Vault shows too; None in the clear.
    """

    def __init__(self, listen: str, upstream: str, tls: Path | None) -> None:
        self._tls = tls
        host, _, port = listen.rpartition(":")
        self._recorder = Recorder(
            History(frozen=True),  # which keeps nothing
            _Nothing(),
            upstream=upstream,
            host=host,
            port=int(port),
            **self._contexts(),
        )
        self._set: dict[tuple[object, ...], _Set] = {}
        self._lock = threading.Lock()

    def _contexts(self) -> dict[str, ssl.SSLContext]:
        """What it shows to clients and asks of them, and the same for Vault."""
        if self._tls is None:
            return {}
        files = TlsFiles.within(self._tls)
        clients = files.clients.read_text() if files.clients is not None else None
        upstream = ssl.create_default_context(cafile=files.ca)
        if (own := files.own(RECORDER_NAME)) is not None:
            upstream.load_cert_chain(own)
        shown = server_context(files, protocols=["h2", "http/1.1"], clients=clients)  # as Vault
        return {"tls": shown, "upstream_tls": upstream}

    def reload(self) -> None:
        """Read the certificate anew, for connections to come."""
        try:
            for name, context in self._contexts().items():
                setattr(self._recorder, name, context)
        except OSError as error:
            log.warning("the certificate is the one before: %s", type(error).__name__)

    def order(self, order: Order) -> None:
        """Let a fault be in force, in place of one about the same requests."""
        acting, undo = order.begun(_Telling), ExitStack()
        with self._lock:
            before = self._set.pop(order.subject, None)
            if before is not None:
                before.undo.close()
            undo.enter_context(self._recorder.interfere(acting))
            self._set[order.subject] = _Set(order, acting, undo)
        log.info("from now on: %s", order)

    def state(self) -> dict[str, Any]:
        """What is in force, as plain data."""
        with self._lock:
            found = list(self._set.values())
        return {
            "faults": [
                {
                    "order": one.order.to_json(),
                    "text": str(one.order),
                    "seen": one.acting.seen,
                    "acted": one.acting.taken,
                    "over": one.acting.over,
                }
                for one in found
            ],
            "defects": list(self._recorder.defects),
        }

    def close(self) -> None:
        """End all connections."""
        self._recorder.close()


def _handler(by_hand: ByHand) -> type[OrderHandler]:
    class Handler(OrderHandler):
        def do_GET(self) -> None:  # noqa: N802 - a name of http.server
            if self.path == "/":
                self.answer(200, by_hand.state())
            else:
                self.answer(404, {"error": "there is / and, to be posted to, /faults"})

        def do_POST(self) -> None:  # noqa: N802 - a name of http.server
            # A page in a browser cannot say that it is JSON without asking first.
            if self.path != "/faults" or self.headers.get_content_type() != "application/json":
                self.answer(404, {"error": "an order is posted to /faults, as JSON"})
            elif (body := self.order()) is not None:
                self.answer(*self._ordered(body))

        def _ordered(self, body: bytes) -> tuple[int, Mapping[str, Any]]:
            try:
                by_hand.order(Order.from_json(json.loads(body)))
            except SettingsError as error:
                return 422, {"error": str(error)}
            except (ValueError, TypeError, KeyError):
                return 422, {"error": "that is no order"}
            return 201, by_hand.state()

    return Handler


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal ends it."""
    told = begin("vault_harness.scenario.by_hand", _SIGNALS, arguments)
    tls = Path(told["tls"]) if told["tls"] else None
    by_hand = ByHand(told["listen"], told["upstream"], tls)
    with taken(told["api"], _handler(by_hand)):
        log.info("between %s and %s", told["listen"], told["upstream"])
        while signal.sigwait(_SIGNALS) == signal.SIGHUP:
            by_hand.reload()
    by_hand.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
