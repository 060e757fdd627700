"""Proxies and their life cycle.

Everything here is immediate: nothing waits for a peer, so the API answers whatever peers do.
Addresses are resolved by the caller beforehand.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections import deque
from collections.abc import Iterator

from vault_harness.toxiproxy.server import addresses, polling
from vault_harness.toxiproxy.server.addresses import Address, AddressError
from vault_harness.toxiproxy.server.connections import Connection, client_name
from vault_harness.toxiproxy.server.log import Log
from vault_harness.toxiproxy.server.metrics import Counters
from vault_harness.toxiproxy.server.toxics import Toxic

RECENT = 2000
"""Ended connections that are remembered, over all proxies."""
ACCEPTS = 64
"""Connections accepted in one go before others get their turn."""
OUT_OF_FILES_PAUSE = 0.1
"""Seconds without accepting after the process has run out of file descriptors."""


class Server:
    """All proxies, and what they share.

    Attributes:
        seed: Of every random draw. The same seed and order of connections give the same draws.
        recent: Records of the connections that ended last.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Log, seed: int) -> None:
        self.loop = loop
        self.poller = polling.make(loop)
        self.log = log
        self.seed = seed
        self.proxies: dict[str, Proxy] = {}
        self.counters = Counters()
        self._retired: list[Connection] = []
        self.recent: deque[dict[str, object]] = deque(maxlen=RECENT)

    def connections(self) -> Iterator[Connection]:
        """All that live."""
        for proxy in self.proxies.values():
            yield from proxy.connections

    def retire(self, connection: Connection) -> None:
        """Release an ended connection as soon as nothing of it is being called any more."""
        if not self._retired:
            self.loop.call_soon(self._release)
        self._retired.append(connection)

    def _release(self) -> None:
        retired, self._retired = self._retired, []
        for connection in retired:
            connection.release()

    def remove(self, name: str) -> None:
        """Stop a proxy and forget it."""
        self.proxies.pop(name).stop("proxy deleted")


class Proxy:
    """One proxy.

    Attributes:
        listen: As given while it was never started, afterwards the real address.
        upstream: ``host:port``, looked up anew for each connection.
        enabled: Whether it listens.
        toxics: By direction, in the order in which they act.
        connections: All that live, those still being connected to the upstream included.
    """

    def __init__(self, server: Server, name: str, listen: str, upstream: str) -> None:
        self.server = server
        self.name = name
        self.listen = listen
        self.upstream = upstream
        self.enabled = False
        self.toxics: dict[str, list[Toxic]] = {"upstream": [], "downstream": []}
        self.connections: dict[Connection, None] = {}
        self.accepted = 0
        self._listener: socket.socket | None = None
        self._retry: asyncio.TimerHandle | None = None

    # Life cycle.

    def start(self, address: Address | AddressError) -> None:
        """Listen; does nothing if it does already.

        Raises:
            AddressError: It cannot.
        """
        if self.enabled:
            return
        if isinstance(address, AddressError):
            raise AddressError(f"listen tcp: {address}")
        self._listener, self.listen = addresses.listen(address)
        self.enabled = True
        self._watch()
        self.server.log.info(
            "Started proxy", name=self.name, listen=self.listen, upstream=self.upstream
        )

    def stop(self, reason: str = "proxy disabled") -> None:
        """Close the listener and every connection, at once; does nothing if it does not listen."""
        if not self.enabled:
            return
        self.enabled = False
        if self._listener is not None:
            self._unwatch()
            self._listener.close()
            self._listener = None
        for connection in list(self.connections):
            connection.stop(reason)
        self.server.log.info("Terminated proxy", name=self.name, listen=self.listen, reason=reason)

    def differs(self, address: Address, upstream: str) -> bool:
        """Whether these are other addresses; no host and ``0.0.0.0`` always differ."""
        return self.listen != str(address) or self.upstream != upstream

    def update(
        self, listen: str, address: Address | AddressError, upstream: str, enabled: bool
    ) -> None:
        """Change addresses (which drops every connection), and start or stop.

        Raises:
            AddressError: The address makes no sense (nothing has changed), or nothing can listen
                there (the proxy is disabled at the new address).
        """
        if isinstance(address, AddressError):
            raise address
        if self.differs(address, upstream):
            self.stop("proxy changed")
            self.listen = listen
            self.upstream = upstream
        if enabled and not self.enabled:
            self.start(address)
        elif not enabled:
            self.stop()

    # Toxics.

    def all_toxics(self) -> list[Toxic]:
        """Upstream ones first, each direction in its order."""
        return [*self.toxics["upstream"], *self.toxics["downstream"]]

    def toxic(self, name: str) -> Toxic | None:
        """The toxic of that name."""
        return next((toxic for toxic in self.all_toxics() if toxic.name == name), None)

    def add_toxic(self, toxic: Toxic) -> None:
        """Put a toxic at the end of its direction, on live connections too."""
        self.toxics[toxic.direction].append(toxic)
        for connection in list(self.connections):
            for link in connection.links():
                if link.direction == toxic.direction:
                    link.add(toxic)

    def update_toxic(self, toxic: Toxic) -> None:
        """Start a changed toxic anew on live connections."""
        for connection in list(self.connections):
            for link in connection.links():
                if link.direction == toxic.direction:
                    link.update(toxic)

    def remove_toxic(self, toxic: Toxic) -> None:
        """Take a toxic away, from live connections too."""
        self.toxics[toxic.direction].remove(toxic)
        for connection in list(self.connections):
            for link in connection.links():
                if link.direction == toxic.direction:
                    link.remove(toxic)

    def resets(self) -> bool:
        """Whether a connection that opens now is to be closed with RST."""
        return any(toxic.kind.resets for toxic in self.all_toxics())

    # Connections.

    def forget(self, connection: Connection) -> None:
        """A connection is over."""
        if self.connections.pop(connection, self) is self:
            return
        self.server.retire(connection)
        self.server.counters.closed(connection)
        self.server.recent.append(connection.record(time.time()))
        if self.server.log.debugging:
            self.server.log.debug(
                "Connection ended",
                name=self.name,
                client=connection.client_name,
                reason=connection.end,
            )

    def _watch(self) -> None:
        self._retry = None
        if self._listener is not None:
            self.server.poller.read(self._listener.fileno(), self._accept)

    def _unwatch(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._listener is not None:
            self.server.poller.ignore_read(self._listener.fileno())

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            listener = self._listener
            if listener is None:
                return
            try:
                client, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._cannot_accept(error)
                return
            with contextlib.suppress(OSError):
                client.setblocking(False)
            self.accepted += 1
            connection = Connection(self, self.accepted, client, client_name(address))
            self.connections[connection] = None
            connection.start()

    def _cannot_accept(self, error: OSError) -> None:
        # Without files the listener stays readable: looking again at once would use all the time.
        if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
            self._unwatch()
            self._retry = self.server.loop.call_later(OUT_OF_FILES_PAUSE, self._watch)
        self.server.log.warning(
            "Error while accepting client", name=self.name, error=os.strerror(error.errno or 0)
        )
