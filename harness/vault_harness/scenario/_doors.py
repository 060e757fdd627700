"""Further addresses by which clients reach a recorder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE = 10.0
"""Seconds in which the recorder's own thread must have opened or shut one."""


async def stop_listening(server: asyncio.Server) -> None:
    """Let new connections be refused; those that are being taken in this moment are made first.

    A server that is closed between the two loses them: open, and no part of any protocol.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    await asyncio.sleep(0)
    server.close()


class SideDoor:
    """Another address of a recorder, beside the one that it has from its start.

    Args:
        loop: The recorder's, which runs in another thread.
        accept: What takes a connection that came by this door.
        address: To listen on.
        port: Which one, at that address.

    Attributes:
        address: Without the port.
        visits: What relays the connections that came by it.

    Raises:
        OSError: Nothing can listen there.
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
        """End the connections that came by it, and let new ones be refused."""

        async def shut() -> None:
            await self.stop_listening()
            for visit in self.visits:
                visit.cancel()

        asyncio.run_coroutine_threadsafe(shut(), self._loop).result(PATIENCE)

    async def stop_listening(self) -> None:
        """The same for new connections alone; in the recorder's own thread. May be called twice."""
        await stop_listening(self._server)
