"""A proxy and its life cycle.

Everything here is immediate: nothing waits for a peer, so the API answers whatever peers do.
Addresses are resolved by the caller beforehand.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterator

from vault_harness.toxiproxy.server import addresses
from vault_harness.toxiproxy.server.addresses import Address, AddressError, Resolver
from vault_harness.toxiproxy.server.connection import Connection, Route
from vault_harness.toxiproxy.server.link import Link
from vault_harness.toxiproxy.server.toxics import Direction, Toxic

ACCEPTS = 16
"""Connections accepted in one go before others get their turn."""
OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
OUT_OF_FILES_PAUSE = 0.1
"""Seconds without accepting after the process has run out of file descriptors."""

_log = logging.getLogger(__name__)


class Proxy:
    """One proxy.

    Attributes:
        listen: As given while it was never started, afterwards the real address.
        upstream: ``host:port``, looked up anew for each connection.
        enabled: Whether it listens.
        toxics: By direction, in the order in which they act.
        connections: All that live, those still being connected to the upstream included.
    """

    def __init__(
        self,
        name: str,
        listen: str,
        upstream: str,
        *,
        resolver: Resolver,
        seed: int,
        ended: Callable[[Connection], None],
    ) -> None:
        self.name = name
        self.listen = listen
        self.upstream = upstream
        self.enabled = False
        self.toxics: dict[Direction, list[Toxic]] = {"upstream": [], "downstream": []}
        self.connections: dict[Connection, None] = {}
        self._resolver = resolver
        self._seed = seed
        self._ended = ended
        self._accepted = 0
        self._listener: socket.socket | None = None
        self._loop = asyncio.get_running_loop()

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
        self._loop.add_reader(self._listener.fileno(), self._accept, self._listener)
        _log.info(
            "Started proxy",
            {"name": self.name, "listen": self.listen, "upstream": self.upstream},
        )

    def stop(self, reason: str = "proxy disabled") -> None:
        """Close the listener and every connection, at once; does nothing if it does not listen."""
        if not self.enabled or self._listener is None:
            return
        self.enabled = False
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._listener = None
        for connection in list(self.connections):
            connection.stop(reason)
        _log.info("Terminated proxy", {"name": self.name, "listen": self.listen, "reason": reason})

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
        if enabled:
            self.start(address)
        else:
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
        for link in self._links(toxic.direction):
            link.add(toxic)

    def update_toxic(self, toxic: Toxic) -> None:
        """Start a changed toxic anew on live connections."""
        for link in self._links(toxic.direction):
            link.update(toxic)

    def remove_toxic(self, toxic: Toxic) -> None:
        """Take a toxic away, from live connections too."""
        self.toxics[toxic.direction].remove(toxic)
        for link in self._links(toxic.direction):
            link.remove(toxic)

    def _links(self, direction: Direction) -> Iterator[Link]:
        for connection in list(self.connections):
            yield from (link for link in connection.links if link.direction == direction)

    # Connections.

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS):
            try:
                client, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._cannot_accept(listener, error)
                return
            client.setblocking(False)
            self._accepted += 1
            connection = Connection(
                Route(self.name, self.listen, self.upstream),
                self._accepted,
                client,
                # An IPv4 client of a dual-stack socket is shown as IPv4.
                addresses.join(address[0].removeprefix("::ffff:"), address[1]),
                toxics=self.toxics,
                resolver=self._resolver,
                seed=self._seed,
                ended=self._forget,
            )
            self.connections[connection] = None

    def _cannot_accept(self, listener: socket.socket, error: OSError) -> None:
        _log.warning(
            "Error while accepting client", {"name": self.name, "error": addresses.reason(error)}
        )
        if error.errno in OUT_OF_FILES:
            # The listener stays readable: looking again at once would use all the time.
            self._loop.remove_reader(listener.fileno())
            self._loop.call_later(OUT_OF_FILES_PAUSE, self._accept_again, listener)

    def _accept_again(self, listener: socket.socket) -> None:
        if listener is self._listener:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _forget(self, connection: Connection) -> None:
        self.connections.pop(connection, None)
        self._ended(connection)
        _log.debug("Connection ended", connection.record())
