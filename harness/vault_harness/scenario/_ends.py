"""Both sides of a recorder's connection, in the clear or over TLS, and the doors they come by."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from typing import Literal

Side = Literal["client", "server"]

Heard = asyncio.Queue[tuple[Side, bytes]]
"""What came, by side; no bytes at all say that this side has ended."""

HANDSHAKE_SECONDS = 60.0
"""How long a peer may take to shake hands: longer than any fault, as a server grants it."""

FAREWELL_SECONDS = 1.0
"""How long a peer has to say goodbye as well, before its connection is closed."""


_LAST_DATA = 52
"""Where Linux's ``tcp_info`` has the milliseconds since data came: ``tcpi_last_data_recv``."""

_ENDED = frozenset({7, 8})
"""States, of which it tells in its first byte, of a connection that the peer has ended: it was
reset (``TCP_CLOSE``), or said goodbye (``TCP_CLOSE_WAIT``).
"""


class End(asyncio.Protocol):
    """One side of a connection: puts what it hears into the queue that both sides share.

    What is written before it is connected is kept until then.
    """

    def __init__(self, name: Side, heard: Heard, ends: set[End]) -> None:
        self._name = name
        self._heard = heard
        self._ends = ends
        self._transport: asyncio.Transport | None = None
        self._kept = b""
        self._came = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ends.add(self)
        kept, self._kept = self._kept, b""
        self.write(kept)

    def data_received(self, data: bytes) -> None:
        self._came = time.monotonic() - self._unread_for()
        self._heard.put_nowait((self._name, data))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._ends.discard(self)
        self._heard.put_nowait((self._name, b""))

    @property
    def since_it_came(self) -> float:
        """Seconds since this machine was given what was heard last, whoever was busy meanwhile."""
        return max(0.0, time.monotonic() - self._came)

    @property
    def gone(self) -> bool:
        """Whether the peer has ended it, were we too busy to hear of it or not.

        Beyond what was heard only Linux tells.
        """
        if self._transport is None:
            return False
        told = self._told()
        return self._transport.is_closing() or (told is not None and told[0] in _ENDED)

    def _unread_for(self) -> float:
        """Seconds for which it lay in the buffers of this machine; 0 where that is not told."""
        told = self._told()
        if told is None:
            return 0.0
        (milliseconds,) = struct.unpack_from("=I", told, _LAST_DATA)
        return float(milliseconds) / 1000

    def _told(self) -> bytes | None:
        """What the kernel tells of the connection; None if it tells nothing."""
        if self._transport is None:  # data may be here before a handshake is known to be over
            return None
        plain = self._transport.get_extra_info("socket")
        if plain is None or not hasattr(socket, "TCP_INFO"):
            return None
        try:
            told: bytes = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA + 4)
        except OSError:  # it ended
            return None
        return told if len(told) == _LAST_DATA + 4 else None  # this is no Linux

    def write(self, data: bytes) -> None:
        """Send, if there is still anybody to send to."""
        if self._transport is None:
            self._kept += data
        elif data and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Send what is left and close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class Slammed(asyncio.Protocol):
    """A door that is shut as soon as it opens."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class Door(asyncio.Protocol):
    """A connection on which nothing was said yet: what comes is left for who shakes hands."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        self.opened.set_result(transport)


async def shake_hands(
    transport: asyncio.Transport,
    end: End,
    context: ssl.SSLContext,
    *,
    host: str | None = None,
) -> str:
    """Secure a connection, and let `end` have it.

    Args:
        transport: As its `Door` has it.
        end: Who hears what comes.
        context: Whom to trust, and what to show.
        host: Whose certificate it must be; None where we are the server.

    Returns:
        The protocol that both sides agreed on: ``h2``, else ``http/1.1``.

    Raises:
        OSError: One of them did not trust the other, or went away.
    """
    try:
        secured = await asyncio.get_running_loop().start_tls(
            transport,
            end,
            context,
            server_side=host is None,
            server_hostname=host,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=FAREWELL_SECONDS,
        )
    except BaseException:
        transport.abort()
        raise
    if secured is None:
        raise ConnectionResetError("it went away")
    end.connection_made(secured)
    return secured.get_extra_info("ssl_object").selected_alpn_protocol() or "http/1.1"


async def reach(
    end: End, heard: Heard, upstream: str, context: ssl.SSLContext | None
) -> asyncio.Task[None] | None:
    """Connect the side of a server; a handshake goes on after this returns.

    So a server that stands still takes a connection, as it does in the clear, and what is said
    meanwhile is kept for it.

    Args:
        end: That side; of a server that cannot be trusted it hears the end.
        heard: Its queue.
        upstream: ``host:port``, an IPv6 address in brackets.
        context: Whom to trust; None in the clear.

    Returns:
        What shakes hands, to be cancelled if nobody needs it any more.

    Raises:
        OSError: Nobody listens there.
    """
    host, _, port = upstream.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")  # of an IPv6 address
    loop = asyncio.get_running_loop()
    if context is None:
        await loop.create_connection(lambda: end, host, int(port))
        return None
    transport, _ = await loop.create_connection(Door, host, int(port))

    async def secure(context: ssl.SSLContext) -> None:
        try:
            await shake_hands(transport, end, context, host=host)
        except OSError:
            heard.put_nowait(("server", b""))

    return loop.create_task(secure(context))


def refusal(error: OSError) -> str:
    """Why a handshake failed, in OpenSSL's words where it has any."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return str(error.reason).lower().replace("_", " ")
    return type(error).__name__
