"""HTTP/1.1 on the wire, with h11."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from http import HTTPStatus

import h11

from vault_harness.local.toxiproxy.server.api import Answer, Api, Request, plain_error

READ_TIMEOUT = 15.0
"""Seconds for a request to arrive once it has begun."""
WRITE_TIMEOUT = 30.0
"""Seconds for a client to take its answer."""
IDLE_TIMEOUT = 60.0
"""Seconds that a connection may be idle between requests."""
MAX_HEAD = 1024 * 1024
"""Bytes of request line and headers, as upstream."""
MAX_BODY = 16 * 1024 * 1024

_log = logging.getLogger(__name__)


class Protocol:
    """Serves the API to the clients that connect."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        rest: bytes | None = b""
        try:
            while rest is not None:
                rest = await self._serve_one(rest, reader, writer)
        except (TimeoutError, OSError, h11.LocalProtocolError):
            pass  # the client is gone
        except asyncio.CancelledError:
            pass  # the server ends
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve_one(
        self, received: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        """Answer a request. Return the bytes received after it, or None at the end."""
        started = time.monotonic()
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        request = None
        try:
            request = await _read(connection, received, reader, writer)
            if request is None:
                return None
            answer = await self._api.handle(request)
        except h11.RemoteProtocolError as error:
            answer = _rejected(error)
        keep = request is not None and connection.our_state is not h11.MUST_CLOSE
        if connection.our_state in {h11.SEND_RESPONSE, h11.IDLE}:
            writer.write(_wire(connection, answer, request, keep))
            async with asyncio.timeout(WRITE_TIMEOUT):
                await writer.drain()
        if request is not None and _log.isEnabledFor(logging.DEBUG):
            fields = {
                "client": str(writer.get_extra_info("peername")),
                "method": request.method,
                "url": request.target,
                "user_agent": request.user_agent,
                "status": answer.status,
                "size": len(answer.body),
                "duration": round((time.monotonic() - started) * 1000, 3),
            }
            _log.debug("", fields)
        if keep and connection.our_state is connection.their_state is h11.DONE:
            return connection.trailing_data[0]
        return None


async def _read(
    connection: h11.Connection,
    received: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> Request | None:
    limit = time.monotonic() + (READ_TIMEOUT if received else IDLE_TIMEOUT)
    while b"\n" not in received and len(received) < MAX_HEAD:
        data = await _more(reader, limit)
        if not data:
            break
        if not received:
            limit = time.monotonic() + READ_TIMEOUT
        received = (received + data).lstrip(b"\r\n")
    if not received:
        return None
    # Upstream accepts any byte in the path, and some clients send names as raw UTF-8.
    line, newline, rest = received.partition(b"\n")
    connection.receive_data(re.sub(rb"[\x80-\xff]", _percent, line) + newline + rest)
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                writer.write(connection.send(go_on) or b"")
            connection.receive_data(await _more(reader, limit))
        elif isinstance(event, h11.Request):
            head = event
            _check_size(int(_header(head, b"content-length") or 0))
        elif isinstance(event, h11.Data):
            body += event.data
            _check_size(len(body))
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return Request(
                method=head.method.decode("ascii"),
                target=head.target.decode("ascii"),
                user_agent=_header(head, b"user-agent").decode("latin-1"),
                body=bytes(body),
            )
        else:
            return None


async def _more(reader: asyncio.StreamReader, limit: float) -> bytes:
    async with asyncio.timeout(limit - time.monotonic()):
        return await reader.read(65536)


def _check_size(size: int) -> None:
    if size > MAX_BODY:
        raise h11.RemoteProtocolError("body too large", error_status_hint=413)


def _header(head: h11.Request, wanted: bytes) -> bytes:
    return next((value for name, value in head.headers if name == wanted), b"")


def _percent(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def _wire(connection: h11.Connection, answer: Answer, request: Request | None, keep: bool) -> bytes:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    headers = [("Date", date), *answer.headers]
    if answer.content_type is not None:
        headers.append(("Content-Type", answer.content_type))
    if answer.status != HTTPStatus.NO_CONTENT:
        headers.append(("Content-Length", str(len(answer.body))))
    if not keep:
        headers.append(("Connection", "close"))
    reason = HTTPStatus(answer.status).phrase
    events: list[h11.Event] = [
        h11.Response(status_code=answer.status, headers=headers, reason=reason)
    ]
    if answer.body and not (request is not None and request.method == "HEAD"):
        events.append(h11.Data(data=answer.body))
    return b"".join(connection.send(event) or b"" for event in [*events, h11.EndOfMessage()])


def _rejected(error: h11.RemoteProtocolError) -> Answer:
    status = error.error_status_hint
    text = f"{status} {HTTPStatus(status).phrase}"
    if "Missing mandatory Host" in str(error):
        text += ": missing required Host header"
    body = Answer(status, text.encode(), "text/plain; charset=utf-8")
    return body if status == HTTPStatus.BAD_REQUEST else plain_error(status, text)
