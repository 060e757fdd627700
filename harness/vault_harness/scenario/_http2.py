"""HTTP/2 with a client: each stream is one request, and goes on to Vault over HTTP/1.1.

Vault's own answers are the same over both; what is peculiar to HTTP/2 (one connection for all
requests, streams that are reset, a connection that dies with all of them) is between the client
and here.
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

from vault_harness.faults import Interference
from vault_harness.scenario._ends import End, Heard, reach
from vault_harness.scenario._goodbye import (
    ALL,
    HEARD_OUT_SECONDS,
    ON_ITS_WAY_SECONDS,
    Goodbye,
    goaway,
)
from vault_harness.scenario._http1 import (
    WITHOUT_BODY,
    Message,
    NotHttp,
    ResponseReader,
    in_ascii,
)
from vault_harness.scenario._notes import Notes
from vault_harness.scenario.observations import Exchange

# It tells every header at level DEBUG, tokens too, in the log that a client within this process
# shares with it.
logging.getLogger("hpack").setLevel(logging.INFO)

_OF_ONE_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)
"""Headers that say how a message travels over HTTP/1.1, which HTTP/2 has frames for."""


@dataclass(eq=False)
class _Stream:
    """One request, and as much of its answer as waits to be sent."""

    number: int
    request: Message
    exchange: Exchange
    acting: Interference | None = None
    work: asyncio.Task[None] | None = None
    unsent: bytes = b""
    complete: asyncio.Event = field(default_factory=asyncio.Event)


class Http2Connection:
    """One client connection that speaks HTTP/2, and as many to Vault as it needs at once.

    Args:
        recorder: Whose it is.
        ordinal: Of the connection in the history.
        client: The client's side, connected.
        heard: What comes from there.
    """

    def __init__(self, recorder: Notes, ordinal: int, client: End, heard: Heard) -> None:
        self._recorder = recorder
        self._ordinal = ordinal
        self._client = client
        self._heard = heard
        self._streams: dict[int, _Stream] = {}
        self._idle: list[_Upstream] = []
        self._upstreams: set[_Upstream] = set()
        # Headers as bytes: whatever they are in, Vault shall judge of them.
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self._goodbye = Goodbye()
        self._farewell = b""
        self._leaving: asyncio.Task[None] | None = None
        self._left = False
        self.deaf = False

    async def run(self) -> None:
        """Answer requests until one side ends the connection."""
        try:
            # Connected at once, so that a dead Vault is seen by its client as at a plain relay.
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
            self._flush()  # what the protocol has to say of it, if anything
        except Exception as error:  # noqa: BLE001 - ours, and told to whoever judges
            self._recorder.defects.append(f"{type(error).__name__}: {error}")
        finally:
            self._end()

    def _end(self) -> None:
        """Let go of all that is under way, and of both sides."""
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
        """Pass nothing on, and note what a client asks for.

        That the answer before made room for more may come after it, and nobody waits for a word.
        """
        if by_client and self._goodbye.without(data) and self._goodbye.asks:
            self._recorder.history.note_swallowed(self._ordinal)

    def _lost(self, *, by_client: bool) -> None:
        for stream in self._streams.values():
            if stream.exchange.ended is None:
                stream.exchange.closed = "client" if by_client else "server"

    def _flush(self) -> None:
        """Send what is to be sent, and our goodbye with it: who reads an answer has both."""
        if not self.deaf:
            self._client.write(self._http.data_to_send() + self._farewell)
            self._farewell = b""

    async def _leave(self) -> None:
        """Hear what was on its way when we said goodbye, then nothing new, and end in a while.

        With two words, as RFC 9113 has it (6.8): so no request is lost that came too soon for it.
        """
        await asyncio.sleep(ON_ITS_WAY_SECONDS)
        self._left = True
        self._farewell = goaway(self._http.highest_inbound_stream_id)
        self._flush()
        await asyncio.sleep(HEARD_OUT_SECONDS)
        self._heard.put_nowait(("server", b""))

    # What the client says

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
        """The head of a request is there: note it, and see to its answer."""
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
        """The client resets a stream: it does not wait for that answer any more."""
        if stream.work is not None:
            stream.work.cancel()
        if stream.exchange.ended is None:
            stream.exchange.closed = "client"
            self._recorder.history.end_exchange(stream.exchange)

    # What it is answered

    async def _answer(self, stream: _Stream) -> None:
        """Get the answer to one request and send it; what goes wrong ends the connection."""
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
            self._recorder.note_response(stream.exchange, response)  # Vault has done it by now
            if acting is not None:
                await asyncio.sleep(acting.late)  # the fault itself; a reset of the stream ends it
            if acting is not None and acting.loses and acting.instead is None:
                self._lose(stream)
                return
            if acting is not None and (page := acting.instead) is not None:
                self._recorder.note_stub(stream.exchange, page)
                self._send(stream, page.status, page.headers, page.body)
                return
            self._send(stream, response.status, response.headers, bytes(response.body))
        except (OSError, NotHttp, h2.exceptions.ProtocolError):
            # Vault ended in the middle of it: over HTTP/2 all requests of a connection end.
            self._heard.put_nowait(("server", b""))
        except Exception as error:  # noqa: BLE001 - ours, and told to whoever judges
            self._recorder.defects.append(f"{type(error).__name__}: {error}")
            self._heard.put_nowait(("server", b""))

    def _lose(self, stream: _Stream) -> None:
        """Take an answer away, and the connection with it."""
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
        """Vault has ended a connection that is not in use: it is going, or has gone."""
        if upstream in self._upstreams:
            self._heard.put_nowait(("server", b""))

    def _send(self, stream: _Stream, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send the head of an answer, and as much of its body as the client takes now."""
        bodiless = stream.request.method == "HEAD" or status in WITHOUT_BODY
        kept = [
            (name.lower(), value)
            for name, value in headers.items()
            if name.lower() not in {*_OF_ONE_HOP, "content-length"}
        ]
        if status != 204:
            # An answer to HEAD tells the length of a body that did not come.
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
        if self._client.gone:  # before anything of this was sent
            stream.exchange.closed = "client"
        self._recorder.history.end_exchange(stream.exchange)
        if self._goodbye.said and not self._streams:
            self._heard.put_nowait(("client", b""))


class _Upstream:
    """One connection to Vault, over HTTP/1.1, for one request at a time.

    Args:
        ends: All open ends of the recorder.
        gone: Told when Vault ends the connection between two requests.
    """

    def __init__(self, ends: set[End], gone: Callable[[_Upstream], None]) -> None:
        self._heard: Heard = asyncio.Queue()
        self._end = End("server", self._heard, ends)
        self._gone = gone
        self._securing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self.ended = False

    async def connect(self, recorder: Notes) -> None:
        """Connect.

        Raises:
            OSError: Vault does not listen.
        """
        self._securing = await reach(
            self._end, self._heard, recorder.upstream, recorder.upstream_tls
        )
        self._watch()

    def _watch(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._heard.get())[1]:
            pass  # an answer to nothing is no answer
        self._gone(self)

    async def ask(self, request: Message) -> Message:
        """Send a request, and give the whole answer to it.

        Raises:
            ConnectionResetError: Vault ended before the answer was complete.
            NotHttp: It is no answer.
        """
        if self._watching is not None:
            self._watching.cancel()
        reader = ResponseReader(request.method)
        self._end.write(_as_http1(request))
        while not reader.message.complete:
            _, data = await self._heard.get()
            if data:
                reader.feed(data)
            elif reader.end():
                self.ended = True  # an answer may end with its connection
            else:
                raise ConnectionResetError("Vault ended in the middle of an answer")
        if not self.ended:
            self._watch()
        return reader.message

    def close(self) -> None:
        """End it."""
        for task in (self._securing, self._watching):
            if task is not None:
                task.cancel()
        self._end.close()


def _as_http1(request: Message) -> bytes:
    """A request as bytes of HTTP/1.1, with its length."""
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
    """A header's bytes one by one, as over HTTP/1.1: nobody says which encoding they are in."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _bytes(value: str) -> bytes:
    return value.encode("latin-1")
