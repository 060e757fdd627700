"""One client and its upstream, joined by two links, and the record of what happened to it."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from typing import TYPE_CHECKING

from vault_harness.toxiproxy.server import addresses
from vault_harness.toxiproxy.server.dialing import Dial
from vault_harness.toxiproxy.server.links import Link

if TYPE_CHECKING:
    from vault_harness.toxiproxy.server.proxies import Proxy

LINGER_RESET = struct.pack("ii", 1, 0)
"""``SO_LINGER`` that makes a close send RST."""


class Connection:
    """A client that was accepted, from then on until both sockets are closed.

    Attributes:
        ordinal: Its number among the connections of its proxy, from 1; part of every random draw.
        toxics: Names of the toxics that had an effect on it, in that order.
        opened: Unix seconds.
        end: How it ended, or None while it lives.
        labels: Direction-less labels of its metrics: proxy, listener, upstream.
    """

    __slots__ = (
        "client",
        "client_name",
        "dial",
        "down",
        "end",
        "labels",
        "opened",
        "ordinal",
        "proxy",
        "reset",
        "server",
        "toxics",
        "up",
    )

    def __init__(
        self,
        proxy: Proxy,
        ordinal: int,
        client: socket.socket,
        client_name: str,
    ) -> None:
        self.proxy = proxy
        self.ordinal = ordinal
        self.client = client
        self.client_name = client_name
        self.labels = (proxy.name, proxy.listen, proxy.upstream)
        self.opened = time.time()
        self.toxics: dict[str, None] = {}
        self.end: str | None = None
        self.reset = False
        self.server: socket.socket | None = None
        self.up: Link | None = None
        self.down: Link | None = None
        self.dial: Dial | None = None

    def start(self) -> None:
        """Connect to the upstream, then let data flow."""
        self.dial = Dial(self.proxy.upstream, self.proxy.server, self._connected, self._unreachable)
        self.dial.start()

    def stop(self, reason: str) -> None:
        """Close both sockets now; what is on its way is lost."""
        self.note_end(reason)
        if self.dial is not None:
            self.dial.cancel()
            self.dial = None
        for link in (self.up, self.down):
            if link is not None:
                link.stop()
        self._close(self.client)
        if self.server is not None:
            self._close(self.server)
        self.proxy.forget(self)

    def links(self) -> tuple[Link, ...]:
        """Its two links, or none before the upstream is reached."""
        return (self.up, self.down) if self.up and self.down else ()

    def link_over(self, link: Link) -> None:
        """A link has written its last byte: close its destination, and so end the other link."""
        other = self.down if link is self.up else self.up
        if other is None:
            return
        self._close(link.dest)
        other.source_gone()
        if other.over:
            self.proxy.forget(self)

    def release(self) -> None:
        """Undo the circles that it is part of."""
        for link in self.links():
            link.release()
        self.up = self.down = None

    def note_end(self, reason: str) -> None:
        """Remember why it ends; the first reason counts."""
        if self.end is None:
            self.end = reason

    def generator(self, toxic: str) -> random.Random:
        """Random numbers that depend on the seed, proxy, toxic and ordinal only."""
        seed = f"{self.proxy.server.seed}\0{self.proxy.name}\0{toxic}\0{self.ordinal}"
        return random.Random(seed)  # noqa: S311 - repeatable on purpose

    def record(self, closed: float | None) -> dict[str, object]:
        """What the API shows of it; times in unix seconds."""
        up, down = self.up, self.down
        return {
            "id": f"{self.proxy.name}-{self.ordinal}",
            "proxy": self.proxy.name,
            "client": self.client_name,
            "opened": self.opened,
            "closed": closed,
            "bytes_upstream": up.sent if up else 0,
            "bytes_downstream": down.sent if down else 0,
            "received_upstream": up.received if up else 0,
            "received_downstream": down.received if down else 0,
            "toxics": list(self.toxics),
            "end": self.end if closed is not None else None,
        }

    def _connected(self, server: socket.socket) -> None:
        self.dial = None
        self.server = server
        proxy = self.proxy
        self.reset = proxy.resets()
        self.up = Link(self, "upstream", self.client, server, proxy.server)
        self.down = Link(self, "downstream", server, self.client, proxy.server)
        self.up.start(proxy.toxics["upstream"])
        # The client has often spoken already: looking at once saves a wake-up.
        self.up.look()
        if not self.down.over:
            self.down.start(proxy.toxics["downstream"])

    def _unreachable(self, reason: str) -> None:
        self.dial = None
        self.note_end(f"upstream unreachable: {reason}")
        self._close(self.client)
        self.proxy.forget(self)

    def _close(self, sock: socket.socket) -> None:
        if self.reset:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        self.proxy.server.poller.forget(sock.fileno())
        sock.close()


def client_name(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """``ip:port`` of a peer; an IPv4 peer of a dual-stack socket is shown as IPv4."""
    return addresses.join(address[0].removeprefix("::ffff:"), address[1])
