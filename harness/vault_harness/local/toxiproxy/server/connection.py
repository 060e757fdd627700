"""A client and its upstream, joined by two links, and what is remembered of connections."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from vault_harness.local.toxiproxy.server import addresses
from vault_harness.local.toxiproxy.server.addresses import AddressError, Resolver
from vault_harness.local.toxiproxy.server.link import Link
from vault_harness.local.toxiproxy.server.stage import Direction, Toxic

DIAL_TIMEOUT = 30.0
"""Seconds until a silent upstream is given up; upstream's server waits for ever."""
LINGER_RESET = struct.pack("ii", 1, 0)
"""``SO_LINGER`` that makes a close send RST."""


@dataclass(frozen=True)
class Route:
    """The listener and the target of a connection; also the labels of its metrics."""

    proxy: str
    listener: str
    upstream: str


@dataclass(frozen=True)
class Common:
    """What all connections share.

    Random draws depend only on `seed`, the proxy, the toxic and the ordinal.
    """

    resolver: Resolver
    seed: int
    ended: Callable[[Connection], None]


@dataclass(frozen=True)
class Client:
    """An accepted client: `name` is ``ip:port``, `ordinal` its number at its proxy, from 1."""

    socket: socket.socket
    name: str
    ordinal: int


class Connection:
    """An accepted client, until both sockets are closed."""

    def __init__(
        self,
        route: Route,
        client: Client,
        *,
        toxics: Mapping[Direction, list[Toxic]],
        common: Common,
    ) -> None:
        self.route = route
        self.loop = asyncio.get_running_loop()
        self.links: tuple[Link, ...] = ()  # empty until the upstream is connected
        self._ordinal = client.ordinal
        self._client = client.socket
        self._client_name = client.name
        self._server: socket.socket | None = None
        self._toxics = toxics
        self._common = common
        self._resets = False
        self._opened = time.time()
        self._closed: float | None = None
        self._generators: dict[str, random.Random] = {}
        self._acted: dict[str, None] = {}
        self._end: str | None = None
        self._dial: asyncio.Task[None] | None = asyncio.create_task(self._connect())

    def stop(self, reason: str) -> None:
        """Close both sockets now. Data that was not delivered is lost."""
        self.note_end(reason)
        if self._dial is not None:
            self._dial.cancel()
        for link in self.links:
            link.stop()
        self._close(self._client)
        if self._server is not None:
            self._close(self._server)
        self._over()

    def record(self) -> dict[str, object]:
        up, down = self.links or (None, None)
        return {
            "id": f"{self.route.proxy}-{self._ordinal}",
            "proxy": self.route.proxy,
            "client": self._client_name,
            "opened": self._opened,
            "closed": self._closed,
            "bytes_upstream": up.sink.sent if up else 0,
            "bytes_downstream": down.sink.sent if down else 0,
            "received_upstream": up.source.received if up else 0,
            "received_downstream": down.source.received if down else 0,
            "toxics": list(self._acted),
            "end": self._end if self._closed is not None else None,
        }

    # For links: see `Owner`.

    def generator(self, toxic: str) -> random.Random:
        found = self._generators.get(toxic)
        if found is None:
            seed = f"{self._common.seed}\0{self.route.proxy}\0{toxic}\0{self._ordinal}"
            found = self._generators[toxic] = random.Random(seed)  # noqa: S311 - to be repeatable
        return found

    def acted(self, toxic: str) -> None:
        self._acted[toxic] = None

    def note_end(self, reason: str) -> None:
        """Remember why the connection ends; the first reason counts."""
        if self._end is None:
            self._end = reason

    def link_over(self, link: Link) -> None:
        """Close the link's destination, which ends the other link."""
        up, down = self.links
        other = down if link is up else up
        other.source.pause()
        self._close(link.dest)
        other.source.finish()
        if other.sink.over:
            self._over()

    async def _connect(self) -> None:
        try:
            server = await dial(self.route.upstream, self._common.resolver)
        except AddressError as error:
            self._dial = None
            self.stop(f"upstream unreachable: {error}")
            return
        self._dial = None
        self._server = server
        # A toxic that resets affects connections opened while it exists, whatever its toxicity.
        self._resets = any(toxic.kind.resets for row in self._toxics.values() for toxic in row)
        up = Link(self, "upstream", self._client, server)
        down = Link(self, "downstream", server, self._client)
        self.links = (up, down)
        for link in self.links:
            link.start(self._toxics[link.direction])

    def _close(self, sock: socket.socket) -> None:
        if self._resets:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        sock.close()

    def _over(self) -> None:
        if self._closed is None:
            self._closed = time.time()
            self._common.ended(self)


async def dial(upstream: str, resolver: Resolver) -> socket.socket:
    """Connect to the first address of an upstream that answers."""
    host, port = addresses.split(upstream)
    number = addresses.port_number(port)
    failure = AddressError("no address")
    for address in await resolver.addresses(host or "localhost"):
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                return await _connect(address, number)
        except TimeoutError:
            failure = AddressError("i/o timeout")
        except OSError as error:
            failure = AddressError(addresses.reason(error))
    raise failure


async def _connect(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        addresses.tune(sock)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
        if sock.getsockname() == sock.getpeername():
            # Nobody listens, and the kernel chose the dialled port for this end: TCP lets a socket
            # connect to itself. After a reset the upstream can listen there at once.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")
    except BaseException:
        sock.close()
        raise
    return sock


RECENT = 2000
"""For each proxy."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
HANDLER_ERRORS = """\
# HELP promhttp_metric_handler_errors_total Total number of internal errors encountered by the \
promhttp metric handler.
# TYPE promhttp_metric_handler_errors_total counter
promhttp_metric_handler_errors_total{cause="encoding"} 0
promhttp_metric_handler_errors_total{cause="gathering"} 0
"""

Bytes = Counter[tuple[str, Route]]
"""By direction and route."""


class Traffic:
    """Records of recent connections, and Prometheus counters of all connections.

    It remembers ended connections; live ones are added for each request. The counters have
    upstream's names and labels, but also count live connections.
    """

    def __init__(self) -> None:
        # For each proxy, so that many short connections of one do not displace others.
        self._recent: dict[str, deque[dict[str, object]]] = {}
        self._received: Bytes = Counter()
        self._sent: Bytes = Counter()

    def ended(self, connection: Connection) -> None:
        recent = self._recent.setdefault(connection.route.proxy, deque(maxlen=RECENT))
        recent.append(connection.record())
        _count(connection, self._received, self._sent)

    def records(
        self, live: Iterable[Connection], proxies: Collection[str] = ()
    ) -> list[dict[str, object]]:
        ended = [self._recent.get(name, ()) for name in proxies or self._recent]
        return [
            *(record for records in ended for record in records),
            *(one.record() for one in live if not proxies or one.route.proxy in proxies),
        ]

    def metrics(self, live: Iterable[Connection]) -> str:
        received, sent = Counter(self._received), Counter(self._sent)
        for connection in live:
            _count(connection, received, sent)
        return (
            HANDLER_ERRORS
            + _family("toxiproxy_proxy_received_bytes_total", received)
            + _family("toxiproxy_proxy_sent_bytes_total", sent)
        )


def _count(connection: Connection, received: Bytes, sent: Bytes) -> None:
    for link in connection.links:
        key = (link.direction, connection.route)
        # Also zero: upstream shows a direction without traffic, too.
        received[key] += link.source.received
        sent[key] += link.sink.sent


def _family(name: str, counts: Bytes) -> str:
    if not counts:
        return ""
    lines = []
    for (direction, route), count in counts.items():
        labels = {
            "direction": direction,
            "listener": route.listener,
            "proxy": route.proxy,
            "upstream": route.upstream,
        }
        text = ",".join(f'{label}="{_escape(value)}"' for label, value in labels.items())
        lines.append(f"{name}{{{text}}} {_number(count)}\n")
    return f"# HELP {name} \n# TYPE {name} counter\n" + "".join(sorted(lines))


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(count: int) -> str:
    if count < 1_000_000:
        return str(count)
    digits = str(count)  # from a million on, Go writes an exponent
    fraction = digits[1:].rstrip("0")
    return f"{digits[0]}{'.' if fraction else ''}{fraction}e+{len(digits) - 1:02d}"
