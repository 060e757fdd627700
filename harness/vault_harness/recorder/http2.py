"""Relay HTTP/2 from a client, each stream as one request over HTTP/1.1.

Vault answers alike over both. Only the client and the recorder see streams and their resets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from vault_harness.recorder.ends import (
    ALL,
    HEARD_OUT_SECONDS,
    ON_ITS_WAY_SECONDS,
    End,
    Goodbye,
    Heard,
    Notes,
    goaway,
    reach,
)
from vault_harness.recorder.fault import Interference
from vault_harness.recorder.http1 import WITHOUT_BODY, Message, NotHttp, ResponseReader, in_ascii
from vault_harness.recorder.observations import Exchange

# At DEBUG, hpack logs tokens, into the log of a client within this process too.
logging.getLogger("hpack").setLevel(logging.INFO)

_OF_ONE_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)
"""For one HTTP/1.1 connection; HTTP/2 forbids them."""


@dataclass(eq=False)
class _Stream:
    number: int
    request: Message
    exchange: Exchange
    acting: Interference | None = None
    work: asyncio.Task[None] | None = None
    unsent: bytes = b""
    complete: asyncio.Event = field(default_factory=asyncio.Event)


class Http2Connection:
    """One HTTP/2 client, and as many connections to Vault as it needs.

    `ordinal` is its number in the history.
    """

    def __init__(self, recorder: Notes, ordinal: int, client: End, heard: Heard) -> None:
        self._recorder = recorder
        self._ordinal = ordinal
        self._client = client
        self._heard = heard
        self._streams: dict[int, _Stream] = {}
        self._idle: list[_Upstream] = []
        self._upstreams: set[_Upstream] = set()
        # Bytes, since Vault decides on their encoding.
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self._goodbye = Goodbye()
        self._farewell = b""
        self._leaving: asyncio.Task[None] | None = None
        self._left = False
        self.deaf = False

    async def run(self) -> None:
        try:
            # At once: if Vault is dead, the client sees it as through a plain relay.
            self._idle.append(await self._connect())
            self._http.initiate_connection()
            self._flush()
            while True:
                side, data = await self._heard.get()
                if self.deaf and data:
                    self._swallow(data, by_client=side == "client")
                    continue
                if not data:
                    self._lost(by_client=side == "client")
                    return
                for event in self._http.receive_data(self._goodbye.without(data)):
                    self._take(event)
                self._flush()
                if self._goodbye.said and not self._streams:
                    return
        except (OSError, NotHttp, h2.exceptions.ProtocolError):
            self._flush()  # h2 may have an error frame
        except Exception as error:  # noqa: BLE001 - a defect of the recorder, which the run reports
            self._recorder.defects.append(f"{type(error).__name__}: {error}")
        finally:
            self._end()

    def _end(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
        for stream in self._streams.values():
            if stream.work is not None:
                stream.work.cancel()
            if stream.exchange.ended is None:
                self._recorder.history.end_exchange(stream.exchange)
        for upstream in self._upstreams:
            upstream.close()
        self._client.close()

    def _swallow(self, data: bytes, *, by_client: bool) -> None:
        """Drop data, and note it if it needs an answer."""
        if by_client and self._goodbye.without(data) and self._goodbye.asks:
            self._recorder.history.note_swallowed(self._ordinal)

    def _lost(self, *, by_client: bool) -> None:
        for stream in self._streams.values():
            if stream.exchange.ended is None:
                stream.exchange.closed = "client" if by_client else "server"

    def _flush(self) -> None:
        """Send h2's data and the goodbye in one write, so that both arrive together."""
        if not self.deaf:
            self._client.write(self._http.data_to_send() + self._farewell)
            self._farewell = b""

    async def _leave(self) -> None:
        """Say the second goodbye, then drop new requests, and end after a while.

        With two goodbyes no request on its way is lost (RFC 9113, 6.8).
        """
        await asyncio.sleep(ON_ITS_WAY_SECONDS)
        self._left = True
        self._farewell = goaway(self._http.highest_inbound_stream_id)
        self._flush()
        await asyncio.sleep(HEARD_OUT_SECONDS)
        self._heard.put_nowait(("server", b""))

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._begin(event)
        elif isinstance(event, h2.events.DataReceived):
            self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if stream := self._streams.get(event.stream_id):
                stream.request.body += event.data
        elif isinstance(event, h2.events.StreamEnded):
            if stream := self._streams.get(event.stream_id):
                stream.request.complete = True
                self._recorder.note_body(stream.exchange, stream.request)
                stream.complete.set()
        elif isinstance(event, h2.events.StreamReset):
            if stream := self._streams.pop(event.stream_id, None):
                self._given_up(stream)
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            for stream in list(self._streams.values()):
                self._send_more(stream)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._lost(by_client=True)
            raise ConnectionResetError("the client goes")

    def _begin(self, event: h2.events.RequestReceived) -> None:
        if self._left:
            self._recorder.history.note_swallowed(self._ordinal)
            return
        headers = [(_text(name), _text(value)) for name, value in event.headers or []]
        pseudo = {name: value for name, value in headers if name.startswith(":")}
        request = Message(
            method=pseudo.get(":method", ""),
            target=_text(in_ascii(_bytes(pseudo.get(":path", "")))),
            version="2",
            headers={name: value for name, value in headers if not name.startswith(":")},
            headers_done=True,
        )
        request.headers.setdefault("host", pseudo.get(":authority", "vault"))
        assert event.stream_id is not None
        exchange = self._recorder.note_request(self._ordinal, request)
        exchange.waited = self._client.since_it_came
        acting = self._recorder.interference(exchange.kind, exchange.path)
        if acting is not None:
            exchange.interference = acting.name
        stream = _Stream(event.stream_id, request, exchange, acting)
        self._streams[stream.number] = stream
        stream.work = asyncio.get_running_loop().create_task(self._answer(stream))

    def _given_up(self, stream: _Stream) -> None:
        if stream.work is not None:
            stream.work.cancel()
        if stream.exchange.ended is None:
            stream.exchange.closed = "client"
            self._recorder.history.end_exchange(stream.exchange)

    async def _answer(self, stream: _Stream) -> None:
        try:
            acting = stream.acting
            if acting is not None and (stub := acting.stub) is not None:
                stream.exchange.by = "stub"
                self._recorder.note_stub(stream.exchange, stub)
                await stream.complete.wait()
                self._send(stream, stub.status, stub.headers, stub.body)
                return
            await stream.complete.wait()
            response = await self._ask(stream)
            rewrite = self._recorder.rewrite_login
            if rewrite is not None and stream.exchange.kind == "login":
                await self._recorder.rewritten(response, rewrite)
            self._recorder.note_response(stream.exchange, response)  # Vault has already acted
            if acting is not None:
                await asyncio.sleep(acting.late)  # a reset of the stream cancels it
            if acting is not None and acting.loses and acting.instead is None:
                self._lose(stream)
                return
            if acting is not None and (page := acting.instead) is not None:
                self._recorder.note_stub(stream.exchange, page)
                self._send(stream, page.status, page.headers, page.body)
                return
            self._send(stream, response.status, response.headers, bytes(response.body))
        except (OSError, NotHttp, h2.exceptions.ProtocolError):
            # Vault closed during the answer, which ends all requests of the connection.
            self._heard.put_nowait(("server", b""))
        except Exception as error:  # noqa: BLE001 - a defect of the recorder, which the run reports
            self._recorder.defects.append(f"{type(error).__name__}: {error}")
            self._heard.put_nowait(("server", b""))

    def _lose(self, stream: _Stream) -> None:
        stream.exchange.closed = "server"
        self._recorder.history.end_exchange(stream.exchange)
        self._heard.put_nowait(("server", b""))
        self._client.abort()

    async def _ask(self, stream: _Stream) -> Message:
        upstream = self._idle.pop() if self._idle else await self._connect()
        try:
            response = await upstream.ask(stream.request)
        except BaseException:
            upstream.close()
            self._upstreams.discard(upstream)
            raise
        if response.closes or upstream.ended:
            upstream.close()
            self._upstreams.discard(upstream)
        else:
            self._idle.append(upstream)
        return response

    async def _connect(self) -> _Upstream:
        upstream = _Upstream(self._recorder.ends, self._gone)
        await upstream.connect(self._recorder)
        self._upstreams.add(upstream)
        return upstream

    def _gone(self, upstream: _Upstream) -> None:
        """Handle the end of an idle connection: Vault stops."""
        if upstream in self._upstreams:
            self._heard.put_nowait(("server", b""))

    def _send(self, stream: _Stream, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send an answer's head, and as much of its body as fits the client's window."""
        bodiless = stream.request.method == "HEAD" or status in WITHOUT_BODY
        kept = [
            (name.lower(), value)
            for name, value in headers.items()
            if name.lower() not in {*_OF_ONE_HOP, "content-length"}
        ]
        if status != 204:
            # An answer to HEAD has the length of the missing body.
            told = headers.get("content-length") if bodiless else None
            kept.append(("content-length", told or str(len(body))))
        body = b"" if bodiless else body
        head = [(_bytes(name), _bytes(value)) for name, value in [(":status", str(status)), *kept]]
        self._http.send_headers(stream.number, head, end_stream=not body)
        stream.unsent = body
        if body:
            self._send_more(stream)
        else:
            self._sent(stream)
        self._flush()

    def _send_more(self, stream: _Stream) -> None:
        while stream.unsent:
            room = min(
                self._http.local_flow_control_window(stream.number),
                self._http.max_outbound_frame_size,
            )
            if room <= 0:
                return
            part, stream.unsent = stream.unsent[:room], stream.unsent[room:]
            self._http.send_data(stream.number, part, end_stream=not stream.unsent)
            if not stream.unsent:
                self._sent(stream)

    def _sent(self, stream: _Stream) -> None:
        self._streams.pop(stream.number, None)
        if stream.acting is not None and stream.acting.closes and self._leaving is None:
            self._farewell = goaway(ALL)
            self._leaving = asyncio.get_running_loop().create_task(self._leave())
        if self._client.gone:  # the client left before this answer was sent
            stream.exchange.closed = "client"
        self._recorder.history.end_exchange(stream.exchange)
        if self._goodbye.said and not self._streams:
            self._heard.put_nowait(("client", b""))


class _Upstream:
    """One HTTP/1.1 connection to Vault, for one request at a time.

    `gone` is called if Vault ends it between two requests.
    """

    def __init__(self, ends: set[End], gone: Callable[[_Upstream], None]) -> None:
        self._heard: Heard = asyncio.Queue()
        self._end = End("server", self._heard, ends)
        self._gone = gone
        self._securing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self.ended = False

    async def connect(self, recorder: Notes) -> None:
        self._securing = await reach(
            self._end, self._heard, recorder.upstream, recorder.upstream_tls
        )
        self._watch()

    def _watch(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._heard.get())[1]:
            pass  # no request was open
        self._gone(self)

    async def ask(self, request: Message) -> Message:
        """Return the whole answer; raise `ConnectionResetError` if Vault closes before that."""
        if self._watching is not None:
            self._watching.cancel()
        reader = ResponseReader(request.method)
        self._end.write(_as_http1(request))
        while not reader.message.complete:
            _, data = await self._heard.get()
            if data:
                reader.feed(data)
            elif reader.end():
                self.ended = True  # the close ends the answer
            else:
                raise ConnectionResetError("Vault ended in the middle of an answer")
        if not self.ended:
            self._watch()
        return reader.message

    def close(self) -> None:
        for task in (self._securing, self._watching):
            if task is not None:
                task.cancel()
        self._end.close()


def _as_http1(request: Message) -> bytes:
    lines = [f"{request.method} {request.target} HTTP/1.1"]
    lines += [
        f"{name}: {value}"
        for name, value in request.headers.items()
        if name not in {*_OF_ONE_HOP, "content-length", "te"}
    ]
    if request.body or request.method not in ("GET", "HEAD", "LIST", "DELETE"):
        lines.append(f"content-length: {len(request.body)}")
    return _bytes("\r\n".join(lines)) + b"\r\n\r\n" + bytes(request.body)


def _text(value: str | bytes) -> str:
    """Decode byte by byte, since a header's encoding is unknown."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _bytes(value: str) -> bytes:
    return value.encode("latin-1")
