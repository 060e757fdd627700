"""The routes between the nodes of a cluster of processes, each direction of which can be closed.

Raft has one address for each node. A proxy before each node could stop what the node receives, but
not what it sends, nor tell the other nodes apart. So each node announces a relay's address
(``cluster_addr``). The relay asks the kernel which process owns the other end of a connection,
which only Linux tells every user.

A closed route works like a cut network: it loses and refuses nothing. Bytes and ends of connections
wait, and a new connection gets no answer. When the route opens, the bytes arrive late and in order.
Unlike on a real network, the other direction goes on; a real sender would stop when its window is
full.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

from vault_harness.local.engine.ports import LOOPBACK

_CHUNK = 65536

_TABLE = Path("/proc/net/tcp")


def files_are_seen(pid: int) -> bool:
    """Return whether this user may see the connections of a process.

    If the program has capabilities (``setcap``), only root may.
    """
    try:
        next(Path(f"/proc/{pid}/fd").iterdir(), None)
    except PermissionError:
        return False
    except OSError:
        return True  # it has ended; other checks report that
    return True


Direction = tuple[str, str]
"""From which node to which."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What still passes between a node that is cut off and the others.

    Attributes:
        hears: The node still receives.
        is_heard: The others still receive from it.
    """

    hears: bool = False
    is_heard: bool = False


class Links:
    """Relays before each node, for the length of the block.

    `process_of` returns a node's pid, or None if it does not run.
    """

    def __init__(self, process_of: Callable[[str], int | None]) -> None:
        self.held: Counter[Direction] = Counter()
        """How often data had to wait."""
        self._process_of = process_of
        self._upstreams: dict[str, tuple[str, int] | None] = {}
        self._cut: dict[str, Cut] = {}
        self._addresses: dict[str, str] = {}
        self._open: dict[Direction, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[Links]:
        self._thread.start()
        try:
            yield self
        finally:
            try:
                self._run(self._end())
            finally:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
                self._loop.close()

    def lead(self, name: str, upstream: str = "", *, listen: str = "") -> str:
        """Let a node's address lead to its listener, and end a cut of that node.

        Returns ``host:port`` for the other nodes, the same each time.

        Args:
            upstream: ``host:port`` of the listener; empty if it has none yet.
            listen: ``host:port`` that the others know; empty for any. Ignored if the node has one.
        """
        host, _, port = upstream.rpartition(":")
        self._upstreams[name] = (host, int(port)) if port else None
        if name not in self._addresses:
            self._addresses[name] = self._run(self._listen(name, listen))
        self.open(name)
        return self._addresses[name]

    @property
    def addresses(self) -> dict[str, str]:
        """``host:port`` for each node."""
        return dict(self._addresses)

    @property
    def cut(self) -> dict[str, Cut]:
        return dict(self._cut)

    def shut(self, name: str, *, hears: bool = False, is_heard: bool = False) -> None:
        """Cut a node off from all others; see `Cut`."""
        self._cut[name] = Cut(hears=hears, is_heard=is_heard)
        self._run(self._set())

    def open(self, name: str) -> None:
        self._cut.pop(name, None)
        self._run(self._set())

    async def _set(self) -> None:
        for source, target in permutations(self._addresses, 2):
            gate = self._gate((source, target))
            gate.set() if self._passes(source, target) else gate.clear()

    def _passes(self, source: str, target: str) -> bool:
        whole = Cut(hears=True, is_heard=True)
        return self._cut.get(source, whole).is_heard and self._cut.get(target, whole).hears

    def _gate(self, direction: Direction) -> asyncio.Event:
        if direction not in self._open:
            self._open[direction] = asyncio.Event()
            if self._passes(*direction):
                self._open[direction].set()
        return self._open[direction]

    async def _pass(self, direction: Direction) -> None:
        gate = self._gate(direction)
        while not gate.is_set():
            self.held[direction] += 1
            await gate.wait()

    async def _listen(self, name: str, listen: str) -> str:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._relay(name, reader, writer)
            except (OSError, asyncio.CancelledError):
                pass  # both ends see their connections end
            finally:
                self._tasks.discard(task)
                writer.transport.abort()

        wanted, _, number = listen.rpartition(":")
        server = await asyncio.start_server(accept, wanted or LOOPBACK, int(number or 0))
        self._servers.append(server)
        host, port = server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def _relay(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # In a thread: a busy machine has thousands of connections; other relays must not wait.
        source = await asyncio.to_thread(
            self._who, writer.get_extra_info("peername")[1], writer.get_extra_info("sockname")
        )
        if source is None:
            return  # the connection ended before it was found
        there, back = (source, name), (name, source)
        said = await self._said_until_open(reader, there, back)
        upstream = self._upstreams[name]
        if said is None or upstream is None:
            return  # the dialler is gone, or the node has not started
        upstream_reader, upstream_writer = await asyncio.open_connection(*upstream)
        try:
            upstream_writer.write(said)
            await asyncio.gather(
                self._pump(reader, upstream_writer, there),
                self._pump(upstream_reader, writer, back),
            )
            for end in (upstream_writer, writer):
                end.close()
                with contextlib.suppress(OSError):  # it ended first
                    await end.wait_closed()  # after it has sent everything
        finally:
            upstream_writer.transport.abort()

    async def _said_until_open(
        self, reader: asyncio.StreamReader, *directions: Direction
    ) -> bytes | None:
        """Return what a dialler has sent when its routes open; None if it hung up before.

        Nodes dial again all the time. Without this, a long cut would keep two open files for each
        dial.
        """
        said = b""
        opening = asyncio.ensure_future(self._pass_all(directions))
        try:
            await asyncio.sleep(0)  # let it run once: the routes are nearly always open
            while not opening.done():
                reading = asyncio.ensure_future(reader.read(_CHUNK))
                try:
                    await asyncio.wait({opening, reading}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not reading.done():
                        reading.cancel()  # later data stays in the reader
                        await asyncio.gather(reading, return_exceptions=True)
                if reading.cancelled():
                    break
                word = reading.result()
                if not word:
                    return None
                said += word
            await opening
            return said
        finally:
            opening.cancel()

    async def _pass_all(self, directions: Sequence[Direction]) -> None:
        for direction in directions:
            await self._pass(direction)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._pass(direction)
                writer.write(data)
                await writer.drain()
        await self._pass(direction)  # an end of a connection waits too
        with contextlib.suppress(OSError):  # it has ended
            writer.write_eof()  # ends this direction; the other one goes on

    def _who(self, port: int, listen: tuple[str, int]) -> str | None:
        """Return the node whose process owns the other end of a connection."""
        ends = f":{port:04X} 0100007F:{listen[1]:04X} "  # as the kernel writes 127.0.0.1 in hex
        table = _TABLE.read_text()
        at = table.find(ends)
        if at < 0:
            return None
        inode = f"socket:[{table[at : at + 150].split()[8]}]"
        return next((name for name in self._addresses if inode in self._files_of(name)), None)

    def _files_of(self, name: str) -> set[str]:
        found = set()
        pid = self._process_of(name)
        with contextlib.suppress(OSError):  # it has ended
            for file in Path(f"/proc/{pid}/fd").iterdir() if pid else ():
                with contextlib.suppress(OSError):  # closed in between
                    found.add(str(file.readlink()))
        return found

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close their sockets in the next round of the loop

    def _run(self, what: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(what, self._loop)
        return future.result(timeout=10)
