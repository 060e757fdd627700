"""Relay HTTP/1.1 from a client, over a connection to Vault of its own."""

from __future__ import annotations

import asyncio
import contextlib

from vault_harness.recorder.ends import (
    HEARD_OUT_SECONDS,
    End,
    Heard,
    Notes,
    Rewrite,
    Side,
    closing,
    reach,
)
from vault_harness.recorder.fault import Interference, Stub
from vault_harness.recorder.http1 import (
    GO_ON,
    Message,
    NotHttp,
    RequestReader,
    ResponseReader,
    render,
)
from vault_harness.recorder.observations import Exchange


class Http1Connection:
    """One client connection and its own connection to Vault.

    Bytes are passed on as they arrive; a deaf connection drops them. `ordinal` is its number in the
    history.
    """

    def __init__(self, recorder: Notes, ordinal: int, client: End, heard: Heard) -> None:
        self._recorder = recorder
        self._ordinal = ordinal
        self._heard = heard
        self.client = client
        self._server = End("server", heard, recorder.ends)
        self._unread = b""
        self.deaf = False
        self._next()

    def _next(self) -> None:
        self._request = RequestReader()
        self._head = b""
        self._acting: Interference | None = None
        self._stub: Stub | None = None
        self._exchange: Exchange | None = None
        self._response: ResponseReader | None = None
        self._answered = False
        self._held = b""
        self._passed = 0
        self._unheard = False

    async def run(self) -> None:
        recorder, securing = self._recorder, None
        try:
            # At once: if Vault is dead, the client sees it as through a plain relay.
            securing = await reach(
                self._server, self._heard, recorder.upstream, recorder.upstream_tls
            )
            going_on = True
            while going_on:
                side, data = await self._heard.get()
                if self.deaf and data:
                    if side == "client":
                        self._recorder.history.note_swallowed(self._ordinal)
                    continue
                if not data:
                    await self._lost(side)
                    return
                if side == "client":
                    self._unread += data
                    going_on = self._read_requests()
                else:
                    going_on = await self._from_server(data)
        except (OSError, NotHttp):
            pass  # the peer is gone or does not speak HTTP
        except Exception as error:  # noqa: BLE001 - a defect of the recorder, which the run reports
            self._recorder.defects.append(f"{type(error).__name__}: {error}")
        finally:
            if self._exchange is not None and self._exchange.ended is None:
                self._recorder.history.end_exchange(self._exchange)
            if securing is not None:
                securing.cancel()
            self.client.close()
            self._server.close()

    async def _lost(self, side: Side) -> None:
        exchange, reader = self._exchange, self._response
        if exchange is None or exchange.ended is not None:
            return
        whole = side == "server" and not self.deaf and reader is not None and reader.end()
        if whole and reader is not None:
            await self._give(exchange, reader.message)  # the close ends the answer
        else:
            exchange.closed = side

    def _read_requests(self) -> bool:
        """Handle the client's data up to the end of a request that waits for its answer."""
        while self._unread and not self._request.message.complete:
            mine, self._unread = self._request.feed(self._unread)
            request = self._request.message
            if self._exchange is None:
                self._head += mine
                if not request.headers_done:
                    continue
                self._begin(request)
                if self._stub is not None and not request.complete and request.expects:
                    self.client.write(GO_ON)  # Vault gets no request
            elif self._stub is None:
                self._server.write(mine)
            if request.complete:
                assert self._exchange is not None
                self._recorder.note_body(self._exchange, request)
                if self._stub is not None:
                    self._pass_on(
                        render(
                            self._stub.status,
                            self._stub.headers,
                            self._stub.body,
                            bodiless=request.method == "HEAD",
                        )
                    )
                    self._end(self._exchange)
                    self._next()
                    if request.closes:
                        return False
                elif self._answered:
                    self._next()
        return True

    def _begin(self, request: Message) -> None:
        self._exchange = exchange = self._recorder.note_request(self._ordinal, request)
        exchange.waited = self.client.since_it_came
        self._acting = acting = self._recorder.interference(exchange.kind, exchange.path)
        if acting is None:
            self._stub = stub = None
        else:
            exchange.interference = acting.name
            self._stub = stub = acting.stub
        if stub is not None:
            exchange.by = "stub"
            self._recorder.note_stub(exchange, stub)
            return
        self._response = ResponseReader(request.method)
        self._server.write(self._head)

    async def _from_server(self, data: bytes) -> bool:
        exchange, reader = self._exchange, self._response
        if exchange is None or reader is None or self._answered:
            raise NotHttp("an answer without a request")
        reader.feed(data)
        self._held += data
        passing = max(0, reader.interim - self._passed)  # no fault delays "100 Continue"
        if not reader.message.complete and self._acting is None and self._rewrite is None:
            passing = len(self._held)
        self._pass_on(self._held[:passing])
        self._held, self._passed = self._held[passing:], self._passed + passing
        if not reader.message.complete:
            return True
        if not await self._give(exchange, reader.message):
            return False
        if self._acting is not None and self._acting.closes:
            await self._hear_out()
            return False
        self._answered = True
        if not self._request.message.complete:
            return True  # Vault answered early
        self._next()
        return self._read_requests()

    @property
    def _rewrite(self) -> Rewrite | None:
        login = self._exchange is not None and self._exchange.kind == "login"
        return self._recorder.rewrite_login if login else None

    async def _give(self, exchange: Exchange, answer: Message) -> bool:
        """Send a complete answer, or its replacement; return whether anything was sent."""
        acting, rewrite, data = self._acting, self._rewrite, self._held
        if rewrite is not None and await self._recorder.rewritten(answer, rewrite):
            json_type = {"Content-Type": "application/json"}
            data = render(answer.status, json_type, bytes(answer.body))
        if acting is not None and not await self._delivered(exchange, acting, answer):
            return False
        # Before the client can act on it.
        self._recorder.note_response(exchange, answer)
        if acting is not None and (page := acting.instead) is not None:
            self._recorder.note_stub(exchange, page)
            bodiless = self._request.message.method == "HEAD"
            data = render(page.status, page.headers, page.body, bodiless=bodiless)
        if acting is not None and acting.closes and not answer.closes:
            data = closing(data)
        self._pass_on(data)
        self._end(exchange)
        return True

    async def _hear_out(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEARD_OUT_SECONDS):
                while (heard := await self._heard.get())[1]:
                    if heard[0] == "client":
                        self._recorder.history.note_swallowed(self._ordinal)

    def _pass_on(self, data: bytes) -> None:
        if data:
            self._unheard = self.client.gone
            self.client.write(data)

    def _end(self, exchange: Exchange) -> None:
        if self._unheard:
            exchange.closed = "client"
        self._recorder.history.end_exchange(exchange)

    async def _delivered(self, exchange: Exchange, acting: Interference, answer: Message) -> bool:
        """Delay or drop an answer; return whether the client still gets it."""
        self._recorder.note_response(exchange, answer)  # Vault has already acted
        if acting.late and not await self._patient(acting.late):
            exchange.closed = "client"
            return False
        if acting.loses and acting.instead is None:
            exchange.closed = "server"
            self.client.abort()
            return False
        return True

    async def _patient(self, seconds: float) -> bool:
        """Wait and watch both sides; return False if the client gave up."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        later: list[tuple[Side, bytes]] = []
        while (left := until - loop.time()) > 0:
            try:
                side, data = await asyncio.wait_for(self._heard.get(), left)
            except TimeoutError:
                break
            if side == "client" and not data:
                return False
            later.append((side, data))
        for one in later:  # in order, as only this task reads the queue
            self._heard.put_nowait(one)
        return True
