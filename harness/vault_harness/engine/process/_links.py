"""The ways between the nodes of a cluster of processes, each direction of which can be shut.

Raft has one address for each node, which all the others dial, and two connections between the same
two nodes differ by who dialled. A proxy before each node could therefore shut what comes to it from
everybody, and not what it sends, nor a new connection of one node without those of the third. So
the address that a node tells the others (``cluster_addr``) is that of a relay here, and the relay
asks the kernel whose process the other end of a connection is, which only Linux tells everybody.

What is shut loses nothing and refuses nothing, as a network that is cut: bytes wait, ends of
connections too, and a new connection hears no word. Once it is open again what waited arrives, late
and in order, if the connection is still there. Only this is not as on a wire: while one direction
is shut, the other one goes on for as long as both ends keep the connection, though a real sender
would stop after a window that nobody acknowledges.
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

from vault_harness.engine._ports import LOOPBACK

_CHUNK = 65536

_TABLE = Path("/proc/net/tcp")


def files_are_seen(pid: int) -> bool:
    """Whether this user may see which connections a process has.

    Of a program with capabilities of its own (``setcap``) nobody may but root.
    """
    try:
        next(Path(f"/proc/{pid}/fd").iterdir(), None)
    except PermissionError:
        return False
    except OSError:
        return True  # it has ended, of which others tell
    return True


Way = tuple[str, str]
"""From which node to which."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What still passes between a node that is cut off and the others.

    Attributes:
        hears: What they send it.
        is_heard: What it sends them.
    """

    hears: bool = False
    is_heard: bool = False


class Links:
    """A relay before each node, for as long as the block lasts.

    Args:
        process_of: The process number of a node by its name, or None if it does not run.
    """

    def __init__(self, process_of: Callable[[str], int | None]) -> None:
        self.held: Counter[Way] = Counter()
        """How often something had to wait, by its way."""
        self._process_of = process_of
        self._upstreams: dict[str, tuple[str, int] | None] = {}
        self._cut: dict[str, Cut] = {}
        self._addresses: dict[str, str] = {}
        self._open: dict[Way, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[Links]:
        """Relay until the block ends, and close every connection then."""
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
        """Let a node's address lead to its listener for other nodes; a cut of that node is over.

        Args:
            name: The node.
            upstream: ``host:port`` of the listener now; empty if it has none yet.
            listen: ``host:port`` that the others know it by; empty for any, and not minded where it
                has one.

        Returns:
            ``host:port`` by which the others reach it, the same each time.

        Raises:
            OSError: Somebody else listens there.
        """
        host, _, port = upstream.rpartition(":")
        self._upstreams[name] = (host, int(port)) if port else None
        if name not in self._addresses:
            self._addresses[name] = self._run(self._listen(name, listen))
        self.open(name)
        return self._addresses[name]

    @property
    def addresses(self) -> dict[str, str]:
        """``host:port`` of each node that it leads to."""
        return dict(self._addresses)

    @property
    def cut(self) -> dict[str, Cut]:
        """Which nodes are cut off from the others, and what still passes."""
        return dict(self._cut)

    def shut(self, name: str, *, hears: bool = False, is_heard: bool = False) -> None:
        """Cut a node off from all the others, in both directions or in one.

        Args:
            name: The node.
            hears: What others send it passes all the same.
            is_heard: Likewise what it sends.
        """
        self._cut[name] = Cut(hears=hears, is_heard=is_heard)
        self._run(self._set())

    def open(self, name: str) -> None:
        """Undo `shut`; others that are cut off stay so."""
        self._cut.pop(name, None)
        self._run(self._set())

    async def _set(self) -> None:
        for source, target in permutations(self._addresses, 2):
            gate = self._gate((source, target))
            gate.set() if self._passes(source, target) else gate.clear()

    def _passes(self, source: str, target: str) -> bool:
        whole = Cut(hears=True, is_heard=True)
        return self._cut.get(source, whole).is_heard and self._cut.get(target, whole).hears

    def _gate(self, way: Way) -> asyncio.Event:
        if way not in self._open:
            self._open[way] = asyncio.Event()
            if self._passes(*way):
                self._open[way].set()
        return self._open[way]

    async def _pass(self, way: Way) -> None:
        gate = self._gate(way)
        while not gate.is_set():
            self.held[way] += 1
            await gate.wait()

    async def _listen(self, name: str, listen: str) -> str:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._relay(name, reader, writer)
            except (OSError, asyncio.CancelledError):
                pass  # both ends hear of it by the end of their connections
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
        # In a thread: a busy machine has thousands of connections, and the others must not wait.
        source = await asyncio.to_thread(
            self._who, writer.get_extra_info("peername")[1], writer.get_extra_info("sockname")
        )
        if source is None:
            return  # it ended while it was looked for
        there, back = (source, name), (name, source)
        said = await self._said_until_open(reader, there, back)
        upstream = self._upstreams[name]
        if said is None or upstream is None:
            return  # nobody asks any more, or it was not started yet
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
                    await end.wait_closed()  # once it has taken what it was sent
        finally:
            upstream_writer.transport.abort()

    async def _said_until_open(self, reader: asyncio.StreamReader, *ways: Way) -> bytes | None:
        """What a dialler has said by the time that its ways are open; None if it hung up before.

        A connection takes a word in each direction. Nodes dial anew all the time, and each dial of
        a long cut that was kept to its end would keep two files open.
        """
        said = b""
        opening = asyncio.ensure_future(self._pass_all(ways))
        try:
            await asyncio.sleep(0)  # it has its first turn: nearly always they are open
            while not opening.done():
                reading = asyncio.ensure_future(reader.read(_CHUNK))
                try:
                    await asyncio.wait({opening, reading}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not reading.done():
                        reading.cancel()  # what comes later stays where it is
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

    async def _pass_all(self, ways: Sequence[Way]) -> None:
        for way in ways:
            await self._pass(way)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._pass(way)
                writer.write(data)
                await writer.drain()
        await self._pass(way)  # an end is a word too
        with contextlib.suppress(OSError):  # it has ended
            writer.write_eof()  # of this direction: the other one goes on

    def _who(self, port: int, listen: tuple[str, int]) -> str | None:
        """The node whose process has the other end of a connection."""
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
                with contextlib.suppress(OSError):  # closed meanwhile
                    found.add(str(file.readlink()))
        return found

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close their sockets in the loop's next round

    def _run(self, what: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(what, self._loop)
        return future.result(timeout=10)
