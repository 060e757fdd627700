"""The HTTP recorder: stands between Toxiproxy and Vault and notes each request that gets that far.

A request that Vault refuses because it is sealed, and one that a quota turns away, reach no audit
log; here they are seen. It passes on what both sides say byte for byte, unless the scenario asked
it to answer in Vault's place with what neither Vault nor Toxiproxy can be made to say (a load
balancer's HTML page).
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from harness.errors import DeadlineExceeded
from harness.scenario._http import Message, RequestReader, ResponseReader, kind_of, render
from harness.scenario._secrets import Secrets
from harness.scenario.history import Exchange, History, Kind


@dataclass(frozen=True, kw_only=True)
class Stub:
    """An answer that the recorder gives in Vault's place.

    Attributes:
        status: HTTP status.
        body: The whole body.
        headers: Beyond ``Content-Length``.
        kinds: Which requests get it; empty means all.
        times: How many of them; None means as long as the stub is set.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    kinds: frozenset[Kind] = frozenset()
    times: int | None = None


Rewrite = Callable[[dict[str, object]], dict[str, object]]
"""Takes the JSON of an accepted login and returns what the client shall see instead."""


class Recorder:
    """A relay in a thread of its own, for one scenario.

    Args:
        history: Where exchanges are noted.
        secrets: Learns each token and secret-id that passes.
        upstream: ``host:port`` of Vault.
        host: Address to listen on.
    """

    def __init__(
        self, history: History, secrets: Secrets, *, upstream: str, host: str = "127.0.0.1"
    ) -> None:
        self.history = history
        self.secrets = secrets
        self.upstream = upstream
        self.rewrite_login: Rewrite | None = None
        self._stubs: list[tuple[Stub, list[int]]] = []
        self._accessors: dict[str, str] = {}
        self._host = host
        self._loop = asyncio.new_event_loop()
        self._ready: Future[int] = Future()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()
        self.port = self._ready.result(timeout=10)

    # For the scenario

    @contextmanager
    def stub(self, stub: Stub) -> Iterator[list[int]]:
        """Answer in Vault's place while the block runs; the list grows with each answer given."""
        given: list[int] = []
        entry = (stub, given)
        self._stubs.append(entry)
        try:
            yield given
        finally:
            self._stubs.remove(entry)

    def accessor(self, token_label: str | None) -> str | None:
        """The accessor of a token by its label, if its login passed here."""
        return self._accessors.get(token_label or "")

    def close(self) -> None:
        """Close all connections and end the thread."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=10)
        if self._thread.is_alive():
            raise DeadlineExceeded(
                "The HTTP recorder did not end within 10 s",
                looked_at=f"its thread and {len(self._connections)} connections",
                remedy="This is a defect of the harness: please report it with the scenario's id",
            )

    # The thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        try:
            server = await self._loop.create_server(self._accept, self._host, 0, backlog=1024)
        except OSError as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self) -> asyncio.Protocol:
        connection = _Connection(self, self.history.note_connection())
        task = self._loop.create_task(connection.run())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        return connection.client

    # For a connection

    def take_stub(self, kind: Kind) -> Stub | None:
        """The stub that answers a request of this kind now, if any; counts it as given."""
        for stub, given in reversed(self._stubs):
            if (not stub.kinds or kind in stub.kinds) and (
                stub.times is None or len(given) < stub.times
            ):
                given.append(stub.status)
                return stub
        return None

    def note_request(self, connection: int, request: Message) -> Exchange:
        """Note a request, and learn the secrets in it."""
        path = request.target.split("?")[0].removeprefix("/v1/")
        exchange = self.history.begin_exchange(
            connection, request.method, path, kind_of(request.method, request.target)
        )
        if token := request.token():
            exchange.token = self.secrets.add("token", token)
        if exchange.kind == "login" and isinstance(
            secret_id := request.json().get("secret_id"), str
        ):
            exchange.secret_id = self.secrets.add("secret-id", secret_id)
        return exchange

    def note_response(self, exchange: Exchange, response: Message) -> None:
        """Fill in what an answer says."""
        exchange.status = response.status
        exchange.retry_after = response.retry_after()
        if exchange.kind not in ("login", "renew", "unwrap") and response.status < 400:
            return
        body = response.json()
        errors = body.get("errors")
        if isinstance(errors, list):
            exchange.errors = tuple(self.secrets.redact(str(error)) for error in errors)
        auth = body.get("auth")
        if isinstance(auth, dict):
            exchange.accessor = str(auth.get("accessor"))
            exchange.ttl = float(auth.get("lease_duration") or 0)
            exchange.renewable = bool(auth.get("renewable"))
            if token := auth.get("client_token"):
                label = self.secrets.add("token", str(token))
                self._accessors[label] = exchange.accessor
                if exchange.kind == "login":
                    exchange.token = label


class _End(asyncio.Protocol):
    """One side of a connection: puts what it hears into the queue that both sides share."""

    def __init__(
        self, name: Literal["client", "server"], heard: asyncio.Queue[tuple[str, bytes | None]]
    ) -> None:
        self._name = name
        self._heard = heard
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard.put_nowait((self._name, data))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._heard.put_nowait((self._name, None))

    def write(self, data: bytes) -> None:
        """Send, if there is still anybody to send to."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        """Send what is left and close."""
        if self.transport is not None:
            self.transport.close()


class _Connection:
    """One client connection and, opened with it, one to Vault."""

    def __init__(self, recorder: Recorder, ordinal: int) -> None:
        self._recorder = recorder
        self._ordinal = ordinal
        self._heard: asyncio.Queue[tuple[str, bytes | None]] = asyncio.Queue()
        self.client = _End("client", self._heard)
        self._server = _End("server", self._heard)
        self._request = RequestReader()
        self._response: ResponseReader | None = None
        self._exchange: Exchange | None = None

    async def run(self) -> None:
        """Relay until one side ends the connection."""
        try:
            # Connected at once, so that a dead Vault is seen by its client as at a plain relay.
            host, _, port = self._recorder.upstream.rpartition(":")
            await asyncio.get_running_loop().create_connection(
                lambda: self._server, host, int(port)
            )
            while True:
                side, data = await self._heard.get()
                if data is None:
                    self._note_end("client" if side == "client" else "server")
                    return
                if not await (
                    self._from_client(data) if side == "client" else self._from_server(data)
                ):
                    return
        except (OSError, ValueError):
            pass  # a peer went away or does not speak HTTP; closing says so to the other one
        finally:
            if self._exchange is not None:
                self._recorder.history.end_exchange(self._exchange)
            self.client.close()
            self._server.close()

    def _note_end(self, side: Literal["client", "server"]) -> None:
        if self._exchange is not None:
            self._exchange.closed = side

    async def _from_client(self, data: bytes) -> bool:
        self._request.feed(data)
        request = self._request.message
        if not request.complete:
            return True
        self._request = RequestReader()
        self._exchange = exchange = self._recorder.note_request(self._ordinal, request)
        if stub := self._recorder.take_stub(exchange.kind):
            exchange.by, exchange.status = "stub", stub.status
            self.client.write(render(stub.status, stub.headers, stub.body))
            self._finish()
            return True
        self._response = ResponseReader(request.method)
        self._server.write(bytes(request.raw))
        return True

    async def _from_server(self, data: bytes) -> bool:
        exchange, reader = self._exchange, self._response
        if exchange is None or reader is None:
            raise ValueError("an answer without a request")
        reader.feed(data)
        rewrite = self._recorder.rewrite_login if exchange.kind == "login" else None
        if rewrite is None:
            self.client.write(data)
        if not reader.message.complete:
            return True
        response = reader.message
        if rewrite is not None:
            await self._rewritten(response, rewrite)
        self._recorder.note_response(exchange, response)
        self._finish()
        return response.headers.get("connection", "").lower() != "close"

    async def _rewritten(self, response: Message, rewrite: Rewrite) -> None:
        if response.status >= 300:
            self.client.write(bytes(response.raw))
            return
        body = json.dumps(await asyncio.to_thread(rewrite, dict(response.json()))).encode()
        response.body = bytearray(body)
        self.client.write(render(response.status, {"Content-Type": "application/json"}, body))

    def _finish(self) -> None:
        assert self._exchange is not None
        self._recorder.history.end_exchange(self._exchange)
        self._exchange = self._response = None
