"""Record HTTP: relay between Toxiproxy and Vault, and note each request.

The recorder sees requests that reach no audit log, such as those that a sealed Vault or a quota
refuses. It relays bytes unchanged, unless the scenario asks for an answer such as a load balancer's
HTML page.

With a certificate it speaks TLS with clients, and HTTP/2 if its context offers that, over its own
TLS connection to Vault.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import NamedTuple

from vault_harness.errors import DeadlineExceeded
from vault_harness.recorder.ends import Door, End, Heard, Rewrite, Slammed, refusal, shake_hands
from vault_harness.recorder.fault import Choice, Interference, RequestKind, Stub
from vault_harness.recorder.history import FIRST_ADDRESS, History
from vault_harness.recorder.http1 import Message, kind_of
from vault_harness.recorder.http1_connection import Http1Connection
from vault_harness.recorder.http2 import Http2Connection
from vault_harness.recorder.observations import Exchange
from vault_harness.recorder.secrets import Secrets

PATIENCE = 10.0
"""Seconds in which the recorder's thread opens or closes an address."""


async def stop_listening(server: asyncio.Server) -> None:
    """Refuse new connections, after accepting those that have arrived."""
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    await asyncio.sleep(0)
    server.close()


class SideDoor:
    """A further address of a recorder.

    Args:
        accept: Returns the protocol of a new connection.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        accept: Callable[[SideDoor], asyncio.Protocol],
        address: str,
        port: int,
    ) -> None:
        self.address = address
        self.visits: set[asyncio.Task[None]] = set()
        self._loop = loop
        opened = loop.create_server(lambda: accept(self), address, port, backlog=1024)
        self._server = asyncio.run_coroutine_threadsafe(opened, loop).result(PATIENCE)

    def shut(self) -> None:
        async def shut() -> None:
            await self.stop_listening()
            for visit in self.visits:
                visit.cancel()

        asyncio.run_coroutine_threadsafe(shut(), self._loop).result(PATIENCE)

    async def stop_listening(self) -> None:
        """Refuse new connections, in the recorder's thread; may be called twice."""
        await stop_listening(self._server)


class Tls(NamedTuple):
    """TLS on both sides of a recorder; None in the clear.

    `clients` may offer ``h2`` by ALPN.
    """

    clients: ssl.SSLContext | None = None
    vault: ssl.SSLContext | None = None


CLEAR = Tls()


class Recorder:
    """A relay in its own thread, for one scenario.

    Args:
        listen: Port 0 for a free one.

    Attributes:
        tls: For clients; None in the clear. A change applies to new connections.
        namespace: The configured one, with which a path may begin.
        defects: Failures of the recorder itself. With any, the history proves nothing.
    """

    def __init__(
        self,
        history: History,
        secrets: Secrets,
        *,
        upstream: str,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        tls: Tls = CLEAR,
    ) -> None:
        self.history = history
        self.secrets = secrets
        self.upstream = upstream
        self.tls, self.upstream_tls = tls
        self.rewrite_login: Rewrite | None = None
        self.namespace = ""
        self._interferences: list[Interference] = []
        self._accessors: dict[str, str] = {}
        self._leases: dict[str, str] = {}
        self._away = False
        self._listen = listen
        self._loop = asyncio.new_event_loop()
        self._ready: Future[int] = Future()
        self._connections: set[asyncio.Task[None]] = set()
        self._doors: list[SideDoor] = []
        self._relays: set[Http1Connection | Http2Connection] = set()
        self.ends: set[End] = set()
        self.defects: list[str] = []
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()
        self.port = self._ready.result(timeout=10)

    @contextmanager
    def interfere(self, one: Interference) -> Iterator[None]:
        self._interferences.append(one)
        try:
            yield
        finally:
            self._interferences.remove(one)

    @contextmanager
    def stub(self, stub: Stub) -> Iterator[Interference]:
        one = Interference("stub", Choice(kinds=stub.kinds, first=stub.times), stub=stub)
        with self.interfere(one):
            yield one

    def accessor(self, token_label: str | None) -> str | None:
        """Return a token's accessor, if its login passed the recorder."""
        return self._accessors.get(token_label or "")

    def learn(self, token_label: str, accessor: str) -> None:
        self._accessors[token_label] = accessor

    def deafen(self) -> int:
        """Drop all data over the open connections from now on; return their number."""
        relays = list(self._relays)
        for relay in relays:
            relay.deaf = True
        return len(relays)

    def open_connections(self) -> int:
        return len(self._connections)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Act like a proxy whose upstream is gone: end each connection at once."""
        self._away = True
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._connections])
        try:
            yield
        finally:
            self._away = False

    def listen_too(self, address: str, port: int) -> SideDoor:
        door = SideDoor(self._loop, self._accept, address, port)
        self._doors.append(door)
        return door

    def close(self) -> None:
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

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        try:
            server = await self._loop.create_server(self._accept, *self._listen, backlog=1024)
        except OSError as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        self._away = True
        await stop_listening(server)
        for door in self._doors:
            await door.stop_listening()
        await self._let_go()

    async def _let_go(self) -> None:
        """End every connection, also those that are made meanwhile."""
        told: set[asyncio.Task[None] | End] = set()  # TLS allows no second call
        while self.ends or len(asyncio.all_tasks()) > 1:
            for task in self._connections - told:
                task.cancel()
            for end in self.ends - told:
                end.abort()  # a peer that does not read delays a polite close
            told |= self._connections | self.ends
            await asyncio.sleep(0)

    def _accept(self, door: SideDoor | None = None) -> asyncio.Protocol:
        ordinal = self.history.note_connection(door.address if door else FIRST_ADDRESS)
        if self._away:
            return Slammed()
        heard: Heard = asyncio.Queue()
        client = End("client", heard, self.ends)
        if self.tls is None:
            self._keep(self._relay(Http1Connection(self, ordinal, client, heard)), door)
            return client
        entry = Door()
        self._keep(self._secured(entry, ordinal, client, heard, self.tls), door)
        return entry

    def _keep(self, work: Coroutine[None, None, None], door: SideDoor | None) -> None:
        task = self._loop.create_task(work)
        for kept in (self._connections, *([door.visits] if door else [])):
            kept.add(task)
            task.add_done_callback(kept.discard)

    async def _relay(self, connection: Http1Connection | Http2Connection) -> None:
        self._relays.add(connection)
        try:
            await connection.run()
        finally:
            self._relays.discard(connection)

    async def _secured(
        self, door: Door, ordinal: int, client: End, heard: Heard, context: ssl.SSLContext
    ) -> None:
        try:
            protocol = await shake_hands(await door.opened, client, context)
        except OSError as error:
            self.history.note_handshake(ordinal, refused=refusal(error))
            return
        self.history.note_handshake(ordinal, protocol)
        kind = Http2Connection if protocol == "h2" else Http1Connection
        await self._relay(kind(self, ordinal, client, heard))

    def interference(self, kind: RequestKind, path: str) -> Interference | None:
        """Return the interference that acts on a request. Every matching one counts it."""
        taking = [one for one in list(self._interferences) if one.takes(kind, path)]
        return taking[-1] if taking else None

    async def rewritten(self, response: Message, rewrite: Rewrite) -> bool:
        """Rewrite a login's answer; return whether it was rewritten."""
        if response.status >= 300:
            return False
        try:
            seen = await asyncio.to_thread(rewrite, dict(response.json()))
        except Exception as error:  # noqa: BLE001 - the client is not to blame
            text = f"a login's answer could not be exchanged: {type(error).__name__}"
            self.defects.append(text)
            raise ConnectionAbortedError(text) from None
        response.body = bytearray(json.dumps(seen).encode())
        return True

    def note_request(self, connection: int, request: Message) -> Exchange:
        namespace, path = request.place(self.namespace)
        exchange = self.history.begin_exchange(
            connection, request.method, path, kind_of(request.method, f"/v1/{path}")
        )
        exchange.namespace = namespace
        if token := request.token():
            exchange.token = self.secrets.add("token", token)
        return exchange

    def note_body(self, exchange: Exchange, request: Message) -> None:
        if exchange.kind == "lease":
            named = str(request.json().get("lease_id") or exchange.path.partition("renew/")[2])
            exchange.credential = self._leases.get(named)
        if exchange.kind == "login" and isinstance(
            secret_id := request.json().get("secret_id"), str
        ):
            exchange.secret_id = self.secrets.add("secret-id", secret_id)

    def note_stub(self, exchange: Exchange, stub: Stub) -> None:
        headers = {name.lower(): value for name, value in stub.headers.items()}
        exchange.status = stub.status
        exchange.retry_after = Message(headers=headers).retry_after()

    def note_response(self, exchange: Exchange, response: Message) -> None:
        exchange.status = response.status
        exchange.retry_after = response.retry_after()
        told = exchange.kind in ("login", "renew", "unwrap", "credential", "lease")
        if not told and response.status < 400:
            return
        body = response.json()
        if exchange.kind in ("credential", "lease"):
            self._note_lease(exchange, body)
        errors = body.get("errors")
        if isinstance(errors, list):
            exchange.errors = tuple(self.secrets.redact(str(error)) for error in errors)
        auth = body.get("auth")
        if isinstance(auth, dict):
            exchange.accessor = str(auth["accessor"]) if auth.get("accessor") else None
            exchange.ttl = float(auth.get("lease_duration") or 0)
            exchange.renewable = bool(auth.get("renewable"))
            if token := auth.get("client_token"):
                label = self.secrets.add("token", str(token))
                if exchange.accessor is not None:  # a batch token has no accessor
                    self._accessors[label] = exchange.accessor
                if exchange.kind == "login":
                    exchange.token = label

    def _note_lease(self, exchange: Exchange, body: Mapping[str, object]) -> None:
        duration = body.get("lease_duration")
        if isinstance(duration, int | float) and duration:
            exchange.ttl = float(duration)
        lease, data = body.get("lease_id"), body.get("data")
        if exchange.kind != "credential" or not isinstance(data, dict):
            return
        # Other engines have no ``password``; there the lease id stands for the credential. A static
        # role has a password and no lease.
        if secret := str(data.get("password") or lease or ""):
            label = exchange.credential = self.secrets.add("credential", secret)
            if lease and not self.history.frozen:  # a frozen history needs no lease
                self._leases[str(lease)] = label
