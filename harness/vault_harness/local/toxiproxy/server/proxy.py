"""A proxy and its life cycle. Nothing here waits for a peer, so the API always answers."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace

from vault_harness.local.toxiproxy.server import addresses
from vault_harness.local.toxiproxy.server.addresses import Address, AddressError
from vault_harness.local.toxiproxy.server.connection import Client, Common, Connection, Route
from vault_harness.local.toxiproxy.server.link import Link
from vault_harness.local.toxiproxy.server.stage import Direction, Toxic

ACCEPTS = 16
"""Connections accepted at once before others get their turn."""
OUT_OF_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
OUT_OF_FILES_PAUSE = 0.1

_log = logging.getLogger(__name__)


class Proxy:
    """One proxy.

    Attributes:
        listen: The given address until the first start, then the real one.
        toxics: By direction, in order of effect.
        connections: Also those that are still connecting.
    """

    def __init__(self, name: str, listen: str, upstream: str, *, common: Common) -> None:
        self.name = name
        self.listen = listen
        self.upstream = upstream
        self.enabled = False
        self.toxics: dict[Direction, list[Toxic]] = {"upstream": [], "downstream": []}
        self.connections: dict[Connection, None] = {}
        self._ended = common.ended
        self._common = replace(common, ended=self._forget)
        self._accepted = 0
        self._listener: socket.socket | None = None
        self._loop = asyncio.get_running_loop()

    def start(self, address: Address | AddressError) -> None:
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
        """Return whether these are other addresses. No host and ``0.0.0.0`` always differ."""
        return self.listen != str(address) or self.upstream != upstream

    def update(
        self, listen: str, address: Address | AddressError, upstream: str, enabled: bool
    ) -> None:
        """Change addresses, which drops all connections, and start or stop.

        An invalid address changes nothing. If nothing can listen at a new one, the proxy is
        disabled.
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

    def all_toxics(self) -> list[Toxic]:
        return [*self.toxics["upstream"], *self.toxics["downstream"]]

    def toxic(self, name: str) -> Toxic | None:
        return next((toxic for toxic in self.all_toxics() if toxic.name == name), None)

    def add_toxic(self, toxic: Toxic) -> None:
        self.toxics[toxic.direction].append(toxic)
        for link in self._links(toxic.direction):
            link.add(toxic)

    def update_toxic(self, toxic: Toxic) -> None:
        for link in self._links(toxic.direction):
            link.update(toxic)

    def remove_toxic(self, toxic: Toxic) -> None:
        self.toxics[toxic.direction].remove(toxic)
        for link in self._links(toxic.direction):
            link.remove(toxic)

    def _links(self, direction: Direction) -> Iterator[Link]:
        for connection in list(self.connections):
            yield from (link for link in connection.links if link.direction == direction)

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
                # A dual-stack socket reports IPv4 clients in IPv6 notation.
                Client(
                    client,
                    addresses.join(address[0].removeprefix("::ffff:"), address[1]),
                    self._accepted,
                ),
                toxics=self.toxics,
                common=self._common,
            )
            self.connections[connection] = None

    def _cannot_accept(self, listener: socket.socket, error: OSError) -> None:
        _log.warning(
            "Error while accepting client", {"name": self.name, "error": addresses.reason(error)}
        )
        if error.errno in OUT_OF_FILES:
            # The listener stays readable: trying again at once would use all processor time.
            self._loop.remove_reader(listener.fileno())
            self._loop.call_later(OUT_OF_FILES_PAUSE, self._accept_again, listener)

    def _accept_again(self, listener: socket.socket) -> None:
        if listener is self._listener:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _forget(self, connection: Connection) -> None:
        self.connections.pop(connection, None)
        self._ended(connection)
        _log.debug("Connection ended", connection.record())
