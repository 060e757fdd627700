"""Handle both sides of a recorder's connection, in the clear or over TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Literal, Protocol

from vault_harness.recorder.fault import Interference, RequestKind, Stub
from vault_harness.recorder.history import History
from vault_harness.recorder.http1 import Message
from vault_harness.recorder.observations import Exchange

_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_HEAD = 9
_GOAWAY = 7
_TELLING = frozenset({2, 3, 4, _GOAWAY, 8})
"""Frames that need no answer: PRIORITY, RST_STREAM, SETTINGS, GOAWAY and WINDOW_UPDATE."""
_LARGEST = _HEAD + (1 << 14)
"""Maximum size of a frame in bytes, by default."""
_CODE = slice(_HEAD + 4, _HEAD + 8)
"""Position of a GOAWAY frame's error code, after the head and a stream number."""
_NO_ERROR = bytes(4)

HEARD_OUT_SECONDS = 5.0
"""Seconds from the recorder's goodbye to the close of a client's connection, as in nginx's
``lingering_timeout``.
"""

ON_ITS_WAY_SECONDS = 0.3
"""Seconds in which a client's requests may cross the recorder's goodbye."""

ALL = (1 << 31) - 1
"""Last stream in the first goodbye: the highest number, as the real one is unknown."""


def closing(answer: bytes) -> bytes:
    """Add ``Connection: close`` to an HTTP/1.1 answer."""
    line, ending, rest = answer.partition(b"\r\n")
    return line + ending + b"Connection: close\r\n" + rest


def goaway(last: int) -> bytes:
    """Return a GOAWAY frame without an error; `last` is the last answered stream.

    h2 sends no GOAWAY if answers still follow.
    """
    return struct.pack(">I", 8)[1:] + bytes([_GOAWAY, 0]) + struct.pack(">II", 0, last) + _NO_ERROR


class Goodbye:
    """Remove a GOAWAY without an error from a client's bytes.

    After such a GOAWAY, Vault still answers open requests (RFC 9113, 6.8), but h2 would send
    nothing more.

    Attributes:
        said: Whether a GOAWAY has come.
        asks: Whether the latest bytes contain a frame that needs an answer.
    """

    def __init__(self) -> None:
        self.said = False
        self.asks = False
        self._asking = True
        self._kept = b""
        self._passing = _PREFACE

    def without(self, data: bytes) -> bytes:
        """Return the bytes for h2; an incomplete head of a frame is kept."""
        self._kept += data
        self.asks = bool(self._passing) and self._asking
        passed = b""
        while self._kept:
            if not self._passing and not self._looked_at():
                break
            part, self._kept = self._kept[: self._passing], self._kept[self._passing :]
            self._passing -= len(part)
            passed += part
        return passed

    def _looked_at(self) -> bool:
        """Decide how much of the next frame passes; return False if more bytes are needed."""
        if len(self._kept) < _HEAD:
            return False
        length = _HEAD + int.from_bytes(self._kept[:3])
        if self._kept[3] == _GOAWAY and length <= _LARGEST:
            if len(self._kept) < length:
                return False
            if self._kept[:length][_CODE] == _NO_ERROR:
                self.said = True
                self._kept = self._kept[length:]
                return True
        self._passing = length
        self._asking = self._kept[3] not in _TELLING
        self.asks = self.asks or self._asking
        return True


Side = Literal["client", "server"]

Heard = asyncio.Queue[tuple[Side, bytes]]
"""Received bytes and their side; empty bytes mean that this side has ended."""

HANDSHAKE_SECONDS = 60.0
"""The most seconds of a TLS handshake: longer than any fault, as at a real server."""

FAREWELL_SECONDS = 1.0
"""Seconds that a peer may take to close its side, before its connection is closed."""


_LAST_DATA = 52
"""Offset of ``tcpi_last_data_recv`` in Linux's ``tcp_info``: milliseconds since the last data."""

_ENDED = frozenset({7, 8})
"""First byte of ``tcp_info`` if the peer has ended: ``TCP_CLOSE`` or ``TCP_CLOSE_WAIT``."""


class End(asyncio.Protocol):
    """One side of a connection. It puts received bytes into the queue that both sides share.

    Bytes that are written too early are kept until the connection is made.
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
        """Return the seconds since the kernel received the latest data, read or not."""
        return max(0.0, time.monotonic() - self._came)

    @property
    def gone(self) -> bool:
        """Return whether the peer has ended the connection; on Linux, even if unread."""
        if self._transport is None:
            return False
        told = self._told()
        return self._transport.is_closing() or (told is not None and told[0] in _ENDED)

    def _unread_for(self) -> float:
        """Return how many seconds the data waited in the kernel; 0 if unknown."""
        told = self._told()
        if told is None:
            return 0.0
        (milliseconds,) = struct.unpack_from("=I", told, _LAST_DATA)
        return float(milliseconds) / 1000

    def _told(self) -> bytes | None:
        """Return the connection's ``tcp_info``, or None if there is none."""
        if self._transport is None:  # data may arrive before the handshake is reported
            return None
        plain = self._transport.get_extra_info("socket")
        if plain is None or not hasattr(socket, "TCP_INFO"):
            return None
        try:
            told: bytes = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA + 4)
        except OSError:  # the connection is closed
            return None
        return told if len(told) == _LAST_DATA + 4 else None  # not Linux

    def write(self, data: bytes) -> None:
        """Send, if the connection is still open."""
        if self._transport is None:
            self._kept += data
        elif data and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Send the remaining bytes and close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class Slammed(asyncio.Protocol):
    """A connection that is aborted at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class Door(asyncio.Protocol):
    """A new connection that leaves all bytes to the TLS handshake."""

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
    """Do the TLS handshake, connect `end`, and return the protocol: ``h2`` or ``http/1.1``.

    `OSError` is raised if a side does not trust the other or goes away. `host` is the name that the
    peer's certificate must have; None on the server's side.
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
    """Connect to a server and return the TLS handshake, if any, to be cancelled at the end.

    The handshake goes on in the background, since a frozen server accepts a connection; data for it
    is kept. `OSError` is raised if nothing listens there.

    Args:
        end: The server's side. If the server is not trusted, the queue gets the end of this side.
        upstream: ``host:port``, an IPv6 address in brackets.
        context: None for a connection in the clear.
    """
    host, _, port = upstream.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
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
    """Return why a handshake failed, in OpenSSL's words if possible."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return str(error.reason).lower().replace("_", " ")
    return type(error).__name__


Rewrite = Callable[[dict[str, object]], dict[str, object]]
"""Takes the JSON of an accepted login and returns what the client gets instead."""


class Notes(Protocol):
    """The recorder, as a connection sees it; `Recorder` explains each member."""

    upstream: str
    upstream_tls: ssl.SSLContext | None
    history: History
    ends: set[End]
    defects: list[str]
    rewrite_login: Rewrite | None

    def interference(self, kind: RequestKind, path: str) -> Interference | None: ...

    async def rewritten(self, response: Message, rewrite: Rewrite) -> bool: ...

    def note_request(self, connection: int, request: Message) -> Exchange: ...

    def note_body(self, exchange: Exchange, request: Message) -> None: ...

    def note_stub(self, exchange: Exchange, stub: Stub) -> None: ...

    def note_response(self, exchange: Exchange, response: Message) -> None: ...
