"""The HTTP recorder: stands between Toxiproxy and Vault and notes each request that gets that far.

A request that Vault refuses because it is sealed, and one that a quota turns away, reach no audit
log; here they are seen. It passes on what both sides say byte for byte, unless the scenario asked
it to answer in Vault's place with what neither Vault nor Toxiproxy can be made to say (a load
balancer's HTML page).

With a certificate it speaks TLS with clients, and HTTP/2 with those that ask for it where its
context offers that; it opens both up, notes what is in them, and has a secured connection of its
own to Vault.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager

from vault_harness.errors import DeadlineExceeded
from vault_harness.faults import Interference, RequestKind, Stub
from vault_harness.faults.http import Choice
from vault_harness.scenario._doors import SideDoor, stop_listening
from vault_harness.scenario._ends import Door, End, Heard, Slammed, refusal, shake_hands
from vault_harness.scenario._http1 import Message, kind_of
from vault_harness.scenario._http1_connection import Http1Connection
from vault_harness.scenario._http2 import Http2Connection
from vault_harness.scenario._notes import Rewrite
from vault_harness.scenario._secrets import Secrets
from vault_harness.scenario.history import FIRST_ADDRESS, History
from vault_harness.scenario.observations import Exchange


class Recorder:
    """A relay in a thread of its own, for one scenario.

    Args:
        history: Where exchanges are noted.
        secrets: Learns each token and secret-id that passes.
        upstream: ``host:port`` of Vault.
        host: Address to listen on.
        port: Port to listen on; 0 for a free one.
        tls: What it shows to clients; None in the clear. It may offer ``h2`` by ALPN.
        upstream_tls: By what it checks Vault; None in the clear.

    Attributes:
        tls: As given; another one is for connections to come.
        namespace: The one in use, which a path may begin with.
        defects: What went wrong in the recorder itself: with any, the history proves nothing.
    """

    def __init__(
        self,
        history: History,
        secrets: Secrets,
        *,
        upstream: str,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        upstream_tls: ssl.SSLContext | None = None,
    ) -> None:
        self.history = history
        self.secrets = secrets
        self.upstream = upstream
        self.tls = tls
        self.upstream_tls = upstream_tls
        self.rewrite_login: Rewrite | None = None
        self.namespace = ""
        self._interferences: list[Interference] = []
        self._accessors: dict[str, str] = {}
        self._leases: dict[str, str] = {}
        self._away = False
        self._listen = host, port
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

    # For the scenario

    @contextmanager
    def interfere(self, one: Interference) -> Iterator[None]:
        """Do this to the requests that it takes, while the block runs."""
        self._interferences.append(one)
        try:
            yield
        finally:
            self._interferences.remove(one)

    @contextmanager
    def stub(self, stub: Stub) -> Iterator[Interference]:
        """Answer in Vault's place while the block runs; what it yields counts the answers."""
        one = Interference("stub", Choice(kinds=stub.kinds, first=stub.times), stub=stub)
        with self.interfere(one):
            yield one

    def accessor(self, token_label: str | None) -> str | None:
        """The accessor of a token by its label, if its login passed here."""
        return self._accessors.get(token_label or "")

    def learn(self, token_label: str, accessor: str) -> None:
        """Know the accessor of a token that no login made."""
        self._accessors[token_label] = accessor

    def deafen(self) -> int:
        """Never again pass on what comes over the connections that are open now; how many."""
        relays = list(self._relays)
        for relay in relays:
            relay.deaf = True
        return len(relays)

    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._connections)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Be as a proxy whose upstream is gone: each connection ends at once, and is noted."""
        self._away = True
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._connections])
        try:
            yield
        finally:
            self._away = False

    def listen_too(self, address: str, port: int) -> SideDoor:
        """Let clients reach it by another address too.

        Raises:
            OSError: Nothing can listen there.
        """
        door = SideDoor(self._loop, self._accept, address, port)
        self._doors.append(door)
        return door

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
        """End every connection, those too that are made only after this has begun."""
        told: set[asyncio.Task[None] | End] = set()  # once each: TLS does not take a second word
        while self.ends or len(asyncio.all_tasks()) > 1:
            for task in self._connections - told:
                task.cancel()
            for end in self.ends - told:
                end.abort()  # a peer that does not read would keep a polite close waiting
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
        """Shake hands with a client, note how that ended, and relay what it says."""
        try:
            protocol = await shake_hands(await door.opened, client, context)
        except OSError as error:
            self.history.note_handshake(ordinal, refused=refusal(error))
            return
        self.history.note_handshake(ordinal, protocol)
        kind = Http2Connection if protocol == "h2" else Http1Connection
        await self._relay(kind(self, ordinal, client, heard))

    # For a connection

    def interference(self, kind: RequestKind, path: str) -> Interference | None:
        """What acts on this request, if anything; each that counts such requests counts it."""
        taking = [one for one in list(self._interferences) if one.takes(kind, path)]
        return taking[-1] if taking else None

    async def rewritten(self, response: Message, rewrite: Rewrite) -> bool:
        """Put what the client shall see into a login's answer; whether it is another one.

        Raises:
            ConnectionAbortedError: That could not be done, which is a defect.
        """
        if response.status >= 300:
            return False
        try:
            seen = await asyncio.to_thread(rewrite, dict(response.json()))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no fault of the client
            text = f"a login's answer could not be exchanged: {type(error).__name__}"
            self.defects.append(text)
            raise ConnectionAbortedError(text) from None
        response.body = bytearray(json.dumps(seen).encode())
        return True

    def note_request(self, connection: int, request: Message) -> Exchange:
        """Note a request whose head has come, and learn the token in it."""
        namespace, path = request.place(self.namespace)
        exchange = self.history.begin_exchange(
            connection, request.method, path, kind_of(request.method, f"/v1/{path}")
        )
        exchange.namespace = namespace
        if token := request.token():
            exchange.token = self.secrets.add("token", token)
        return exchange

    def note_body(self, exchange: Exchange, request: Message) -> None:
        """Learn the secret-id in a request that is complete, or the lease that it is about."""
        if exchange.kind == "lease":
            named = str(request.json().get("lease_id") or exchange.path.partition("renew/")[2])
            exchange.credential = self._leases.get(named)
        if exchange.kind == "login" and isinstance(
            secret_id := request.json().get("secret_id"), str
        ):
            exchange.secret_id = self.secrets.add("secret-id", secret_id)

    def note_stub(self, exchange: Exchange, stub: Stub) -> None:
        """Fill in what the client is told in the place of Vault's answer, if there is any."""
        headers = {name.lower(): value for name, value in stub.headers.items()}
        exchange.status = stub.status
        exchange.retry_after = Message(headers=headers).retry_after()

    def note_response(self, exchange: Exchange, response: Message) -> None:
        """Fill in what an answer says."""
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
                if exchange.accessor is not None:  # a batch token has none
                    self._accessors[label] = exchange.accessor
                if exchange.kind == "login":
                    exchange.token = label

    def _note_lease(self, exchange: Exchange, body: Mapping[str, object]) -> None:
        """Learn a credential that Vault made, and how long a lease lives."""
        duration = body.get("lease_duration")
        if isinstance(duration, int | float) and duration:
            exchange.ttl = float(duration)
        lease, data = body.get("lease_id"), body.get("data")
        if exchange.kind == "credential" and lease and isinstance(data, dict):
            # Engines other than databases call it otherwise: then the lease stands for it.
            secret = str(data.get("password") or lease)
            exchange.credential = self.secrets.add("credential", secret)
            if not self.history.frozen:  # nobody will ask
                self._leases[str(lease)] = exchange.credential
