"""Both sides of a recorder's connection."""

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
"""Frames without an answer: PRIORITY, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE."""
_LARGEST = _HEAD + (1 << 14)
"""Bytes of a frame, by default."""
_CODE = slice(_HEAD + 4, _HEAD + 8)
"""A GOAWAY's error code, after the head and a stream number."""
_NO_ERROR = bytes(4)

HEARD_OUT_SECONDS = 5.0
"""Seconds from the recorder's goodbye to the close, as in nginx's ``lingering_timeout``."""

ON_ITS_WAY_SECONDS = 0.3
"""Seconds in which requests may cross the recorder's goodbye."""

ALL = (1 << 31) - 1
"""Last stream in the first goodbye, as the real one is unknown."""


def closing(answer: bytes) -> bytes:
    line, ending, rest = answer.partition(b"\r\n")
    return line + ending + b"Connection: close\r\n" + rest


def goaway(last: int) -> bytes:
    """Return a GOAWAY frame without an error, since h2 sends none if answers still follow."""
    return struct.pack(">I", 8)[1:] + bytes([_GOAWAY, 0]) + struct.pack(">II", 0, last) + _NO_ERROR


class Goodbye:
    """Remove a GOAWAY without an error from a client's bytes.

    After such a GOAWAY, Vault still answers open requests (RFC 9113, 6.8); h2 would not.
    """

    def __init__(self) -> None:
        self.said = False
        self.asks = False
        self._asking = True
        self._kept = b""
        self._passing = _PREFACE

    def without(self, data: bytes) -> bytes:
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
        """Decide how much of the next frame passes; return False if it needs more bytes."""
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
"""Empty bytes mean that this side has ended."""

HANDSHAKE_SECONDS = 60.0
"""Longer than any fault, as at a real server."""

FAREWELL_SECONDS = 1.0
"""Seconds in which a peer may close its side."""


_LAST_DATA = 52
"""Offset of Linux's ``tcpi_last_data_recv``: milliseconds since the last data."""

_ENDED = frozenset({7, 8})
"""The peer has ended: ``TCP_CLOSE`` or ``TCP_CLOSE_WAIT``."""


class End(asyncio.Protocol):
    """One side of a connection, which shares a queue with the other."""

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
        return max(0.0, time.monotonic() - self._came)

    @property
    def gone(self) -> bool:
        """Whether the peer has ended; on Linux, even if unread."""
        if self._transport is None:
            return False
        told = self._told()
        return self._transport.is_closing() or (told is not None and told[0] in _ENDED)

    def _unread_for(self) -> float:
        told = self._told()
        if told is None:
            return 0.0
        (milliseconds,) = struct.unpack_from("=I", told, _LAST_DATA)
        return float(milliseconds) / 1000

    def _told(self) -> bytes | None:
        if self._transport is None:  # data may arrive before the handshake is reported
            return None
        plain = self._transport.get_extra_info("socket")
        if plain is None or not hasattr(socket, "TCP_INFO"):
            return None
        try:
            told: bytes = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA + 4)
        except OSError:
            return None
        return told if len(told) == _LAST_DATA + 4 else None  # not Linux

    def write(self, data: bytes) -> None:
        if self._transport is None:
            self._kept += data
        elif data and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Slammed(asyncio.Protocol):
    """A connection that ends at once."""

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

    `host` is the name in the peer's certificate; None on the server's side. Raise `OSError` if a
    side does not trust the other or goes away.
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

    The handshake goes on in the background, since a frozen server accepts a connection.

    Args:
        end: The queue gets its end if the server is not trusted.
        upstream: ``host:port``, an IPv6 address in brackets.
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
    if isinstance(error, ssl.SSLError) and error.reason:
        return str(error.reason).lower().replace("_", " ")
    return type(error).__name__


Rewrite = Callable[[dict[str, object]], dict[str, object]]
"""Takes an accepted login's JSON and returns what the client gets."""


class Notes(Protocol):
    """The recorder, as a connection sees it."""

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
