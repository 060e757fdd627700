"""Run the HTTP recorder of a stack that developers break by hand, beside Vault and Toxiproxy.

It stores no requests. The address ``api`` accepts and lists orders::

    GET  /          {"faults": [{"order": {...}, "text": "login answered 503, the first 2",
                     "seen": 3, "acted": 2, "over": true}], "defects": []}
    POST /faults    an order (`judge.faults.Order`); replaces one about the same requests
    DELETE /faults  an order, of which only the requests count; ends the fault for them

The configuration is JSON with ``listen``, ``api`` and ``upstream``, each ``host:port``, and
``tls``, a folder with the files of `TlsFiles.within`, or null. SIGHUP reloads the certificate. If
Vault requires client certificates, so does this program, and it presents its own to Vault.
"""

from __future__ import annotations

import json
import logging
import signal
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vault_harness.certificates import TlsFiles, server_context
from vault_harness.errors import SettingsError
from vault_harness.judge.faults import Order
from vault_harness.local.engine.provider import RECORDER_NAME
from vault_harness.orders import OrderHandler, begin, taken
from vault_harness.recorder.fault import Interference, RequestKind
from vault_harness.recorder.history import History
from vault_harness.recorder.recorder import CLEAR, Recorder, Tls
from vault_harness.recorder.secrets import Forgetful

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Telling(Interference):
    """Log each request that the fault acts on, without its path, which may contain a token."""

    def takes(self, kind: RequestKind, path: str) -> bool:
        taken = super().takes(kind, path)
        if taken:
            log.info("%s: %s number %d", self.name, kind, self.seen)
        return taken


@dataclass(frozen=True)
class _Set:
    """A fault in force, and the means to undo it."""

    order: Order
    acting: Interference
    undo: ExitStack


class ByHand:
    """The recorder, and the faults that were ordered.

    Args:
        tls: Folder with the certificate that Vault presents too; None for plain HTTP.
    """

    def __init__(self, listen: str, upstream: str, tls: Path | None) -> None:
        self._tls = tls
        host, _, port = listen.rpartition(":")
        self._recorder = Recorder(
            History(frozen=True),
            Forgetful(),
            upstream=upstream,
            listen=(host, int(port)),
            tls=self._contexts(),
        )
        self._set: dict[tuple[object, ...], _Set] = {}
        self._lock = threading.Lock()

    def _contexts(self) -> Tls:
        if self._tls is None:
            return CLEAR
        files = TlsFiles.within(self._tls)
        clients = files.clients.read_text() if files.clients is not None else None
        upstream = ssl.create_default_context(cafile=files.ca)
        if (own := files.own(RECORDER_NAME)) is not None:
            upstream.load_cert_chain(own)
        shown = server_context(files, protocols=["h2", "http/1.1"], clients=clients)  # like Vault
        return Tls(shown, upstream)

    def reload(self) -> None:
        try:
            self._recorder.tls, self._recorder.upstream_tls = self._contexts()
        except OSError as error:
            log.warning("the certificate is the one before: %s", type(error).__name__)

    def order(self, order: Order) -> None:
        acting, undo = order.begun(_Telling), ExitStack()
        with self._lock:
            before = self._set.pop(order.subject, None)
            if before is not None:
                before.undo.close()
            undo.enter_context(self._recorder.interfere(acting))
            self._set[order.subject] = _Set(order, acting, undo)
        log.info("from now on: %s", order)

    def undo(self, order: Order) -> None:
        with self._lock:
            before = self._set.pop(order.subject, None)
            if before is not None:
                before.undo.close()
        log.info("no longer: %s", order)

    def state(self) -> dict[str, Any]:
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
        self._recorder.close()


def _handler(by_hand: ByHand) -> type[OrderHandler]:
    class Handler(OrderHandler):
        def do_GET(self) -> None:  # noqa: N802 - a name of http.server
            if self.path == "/":
                self.answer(200, by_hand.state())
            else:
                self.answer(404, {"error": "there is / and, to be posted to, /faults"})

        def do_POST(self) -> None:  # noqa: N802 - a name of http.server
            self._take(by_hand.order, 201)

        def do_DELETE(self) -> None:  # noqa: N802 - a name of http.server
            self._take(by_hand.undo, 200)

        def _take(self, act: Callable[[Order], None], status: int) -> None:
            # A browser does not send this type without a CORS preflight.
            if self.path != "/faults" or self.headers.get_content_type() != "application/json":
                self.answer(404, {"error": "an order is posted to /faults, as JSON"})
            elif (body := self.order()) is not None:
                self.answer(*self._ordered(body, act, status))

        def _ordered(
            self, body: bytes, act: Callable[[Order], None], status: int
        ) -> tuple[int, Mapping[str, Any]]:
            try:
                act(Order.from_json(json.loads(body)))
            except SettingsError as error:
                return 422, {"error": str(error)}
            except (ValueError, TypeError, KeyError):
                return 422, {"error": "that is no order"}
            return status, by_hand.state()

    return Handler


def main(arguments: Sequence[str] | None = None) -> int:
    told = begin("vault_harness.judge.by_hand", _SIGNALS, arguments)
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
