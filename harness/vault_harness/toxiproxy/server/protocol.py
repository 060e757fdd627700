"""HTTP/1.1 on the wire, by h11."""

from __future__ import annotations

import asyncio
import contextlib
import time
from http import HTTPStatus

import h11

from vault_harness.toxiproxy.server.api import Answer, Api, Request, plain_error
from vault_harness.toxiproxy.server.log import Log

READ_TIMEOUT = 15.0
"""Seconds in which a request must have arrived once it has begun."""
WRITE_TIMEOUT = 30.0
"""Seconds in which a client must have taken its answer."""
IDLE_TIMEOUT = 60.0
"""Seconds that a connection may stay open between requests."""
MAX_HEAD = 1024 * 1024
"""Bytes of request line and headers, as upstream."""
MAX_BODY = 16 * 1024 * 1024
"""Bytes of a request body."""

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Protocol:
    """Serves the API to the clients that connect."""

    def __init__(self, api: Api, log: Log) -> None:
        self.api = api
        self.log = log

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it goes, misbehaves, or stays silent for too long."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        peer = writer.get_extra_info("peername")
        try:
            while await self._serve_one(connection, reader, writer, peer):
                connection.start_next_cycle()
        except (TimeoutError, OSError, h11.LocalProtocolError):
            pass  # the client is gone, or as good as
        except asyncio.CancelledError:
            pass  # the server ends
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve_one(
        self,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer: object,
    ) -> bool:
        started = time.monotonic()
        try:
            request = await self._read(connection, reader, writer)
            if request is None:
                return False
            answer = await self.api.handle(request)
        except h11.RemoteProtocolError as error:
            request = None
            answer = _rejected(error)
        keep = request is not None and connection.our_state is not h11.MUST_CLOSE
        await self._write(connection, writer, answer, request, keep)
        if request is not None and self.log.debugging:
            self.log.debug(
                "",
                client=str(peer),
                method=request.method,
                url=request.target,
                user_agent=request.user_agent,
                status=answer.status,
                size=len(answer.body),
                duration=round((time.monotonic() - started) * 1000, 3),
            )
        return keep and connection.our_state is h11.DONE and connection.their_state is h11.DONE

    async def _read(
        self,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> Request | None:
        head: h11.Request | None = None
        body: list[bytes] = []
        size = 0
        limit = time.monotonic() + IDLE_TIMEOUT
        begun = False
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    writer.write(
                        _wire(connection, h11.InformationalResponse(status_code=100, headers=[]))
                    )
                async with asyncio.timeout(limit - time.monotonic()):
                    data = await reader.read(65536)
                if data and not begun:
                    begun = True
                    limit = time.monotonic() + READ_TIMEOUT
                connection.receive_data(data)
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                size += len(event.data)
                if size > MAX_BODY:
                    raise h11.RemoteProtocolError("body too large", error_status_hint=413)
                body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                agent = next((value for name, value in head.headers if name == b"user-agent"), b"")
                return Request(
                    method=head.method.decode("ascii"),
                    target=head.target.decode("ascii", "surrogateescape"),
                    user_agent=agent.decode("latin-1"),
                    body=b"".join(body),
                )
            else:
                return None

    async def _write(
        self,
        connection: h11.Connection,
        writer: asyncio.StreamWriter,
        answer: Answer,
        request: Request | None,
        keep: bool,
    ) -> None:
        if connection.our_state not in {h11.SEND_RESPONSE, h11.IDLE}:
            return
        headers = [("Date", _date()), *answer.headers]
        if answer.content_type is not None:
            headers.append(("Content-Type", answer.content_type))
        if answer.status != HTTPStatus.NO_CONTENT:
            headers.append(("Content-Length", str(len(answer.body))))
        if not keep:
            headers.append(("Connection", "close"))
        reason = HTTPStatus(answer.status).phrase
        head = h11.Response(status_code=answer.status, headers=headers, reason=reason)
        wire = _wire(connection, head)
        if answer.body and not (request is not None and request.method == "HEAD"):
            wire += _wire(connection, h11.Data(data=answer.body))
        wire += _wire(connection, h11.EndOfMessage())
        writer.write(wire)
        async with asyncio.timeout(WRITE_TIMEOUT):
            await writer.drain()


def _wire(connection: h11.Connection, event: h11.Event) -> bytes:
    return connection.send(event) or b""


def _rejected(error: h11.RemoteProtocolError) -> Answer:
    status = error.error_status_hint
    text = f"{status} {HTTPStatus(status).phrase}"
    if "Missing mandatory Host" in str(error):
        text += ": missing required Host header"
    body = Answer(status, text.encode(), "text/plain; charset=utf-8")
    return body if status == HTTPStatus.BAD_REQUEST else plain_error(status, text)


def _date() -> str:
    now = time.gmtime()
    return (
        f"{DAYS[now.tm_wday]}, {now.tm_mday:02d} {MONTHS[now.tm_mon - 1]} {now.tm_year} "
        f"{now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d} GMT"
    )
