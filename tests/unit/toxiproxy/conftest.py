"""One direction of a connection, without sockets and with its own clock."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any, cast
from unittest import mock

import pytest

from vault_harness.local.toxiproxy.server.link import Link
from vault_harness.local.toxiproxy.server.stage import Toxic
from vault_harness.local.toxiproxy.server.toxics import TOXICS


class Handle:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Clock:
    """A clock that a test moves, which stands for the event loop."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.readers: dict[int, Callable[[], None]] = {}
        self.writers: dict[int, Callable[[], None]] = {}
        self._due: list[tuple[float, int, Handle]] = []
        self._count = itertools.count()

    def now(self) -> float:
        """Return seconds."""
        return self.time

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        handle = Handle(callback)
        heapq.heappush(self._due, (self.time + delay, next(self._count), handle))
        return handle

    def call_soon(self, callback: Callable[[], None]) -> Handle:
        """Schedule a call in 50 microseconds, as long as looking at sockets takes."""
        return self.call_later(50e-6, callback)

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        self.readers[fd] = callback

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        self.writers[fd] = callback

    def remove_reader(self, fd: int) -> None:
        """Remove a reader; a second removal fails."""
        del self.readers[fd]

    def remove_writer(self, fd: int) -> None:
        """Remove a writer; a second removal fails."""
        del self.writers[fd]

    def pass_time(self, seconds: float, between: Callable[[], None]) -> None:
        """Let time pass and run due calls, with ``between`` after each of them."""
        end = self.time + seconds
        while self._due and self._due[0][0] <= end:
            self.time, _, handle = heapq.heappop(self._due)
            if handle.callback is not None:
                handle.callback()
                between()
        self.time = end

    def waiting(self) -> int:
        return sum(handle.callback is not None for _, _, handle in self._due)


class FakeSocket:
    """A peer with bytes to read, and room for written bytes."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.inbox: list[bytes] = []
        self.ended = False
        self.chunks: list[bytes] = []
        self.room: int | None = None  # None takes everything
        self.gone = False

    def fileno(self) -> int:
        return self.fd

    def recv(self, size: int) -> bytes:
        """Return at most ``size`` bytes of the first waiting piece."""
        if not self.inbox:
            if self.ended:
                return b""
            raise BlockingIOError
        piece = self.inbox.pop(0)
        if len(piece) > size:
            self.inbox.insert(0, piece[size:])
        return piece[:size]

    def send(self, data: bytes | memoryview) -> int:
        if self.gone:
            raise BrokenPipeError
        count = len(data) if self.room is None else min(len(data), self.room)
        if not count:
            raise BlockingIOError
        if self.room is not None:
            self.room -= count
        self.chunks.append(bytes(data[:count]))
        return count

    @property
    def received(self) -> bytes:
        return b"".join(self.chunks)


class Bench:
    def __init__(self, clock: Clock, seed: int = 1) -> None:
        self.clock = clock
        self.seed = seed
        self.source = FakeSocket(3)
        self.dest = FakeSocket(4)
        self.toxics: dict[str, None] = {}
        self.generators: dict[str, random.Random] = {}
        self.end: str | None = None
        self.closed = False
        self.names = itertools.count()
        self.loop = cast("Any", clock)
        source, dest = cast("Any", (self.source, self.dest))
        self.link = Link(self, "upstream", source, dest)

    @property
    def open(self) -> bool:
        return not self.closed

    # The methods that a link needs of its connection.

    def note_end(self, reason: str) -> None:
        """Keep the first reason."""
        self.end = self.end or reason

    def generator(self, toxic: str) -> random.Random:
        found = self.generators.get(toxic)
        if found is None:
            found = self.generators[toxic] = random.Random(f"{self.seed} {toxic}")
        return found

    def acted(self, toxic: str) -> None:
        self.toxics[toxic] = None

    def link_over(self, link: Link) -> None:
        assert link is self.link
        self.closed = True

    # The methods for tests.

    def toxic(
        self, kind: str, toxicity: float = 1.0, name: str | None = None, **values: int
    ) -> Toxic:
        """Return a toxic that is not in the chain yet."""
        cls = TOXICS[kind]
        return Toxic(
            cls,
            name=name or f"{kind} {next(self.names)}",
            stream="upstream",
            direction="upstream",
            toxicity=toxicity,
            values={**dict.fromkeys(cls.fields, 0), **values},
        )

    def start(self, *toxics: Toxic) -> None:
        self.link.start(list(toxics))

    def send(self, *pieces: bytes) -> None:
        """Let the source send; the link reads as long as it wants to."""
        self.source.inbox.extend(pieces)
        self.poll()

    def finish(self) -> None:
        self.source.ended = True
        self.poll()

    def poll(self) -> None:
        """Do what an event loop does when sockets are ready."""
        while True:
            reader = self.clock.readers.get(self.source.fd)
            writer = self.clock.writers.get(self.dest.fd)
            if writer is not None and (self.dest.room != 0 or self.dest.gone):
                writer()
            elif reader is not None and (self.source.inbox or self.source.ended):
                reader()
            else:
                return

    def pass_time(self, seconds: float) -> None:
        """Let time pass and look at the sockets after each event."""
        self.poll()
        self.clock.pass_time(seconds, self.poll)


CLOCKED = ("link", "toxics")


@contextlib.contextmanager
def own_clock() -> Iterator[Clock]:
    """Let the toxics use a clock of the test."""
    clock = Clock()
    with contextlib.ExitStack() as stack:
        for module in CLOCKED:
            name = f"vault_harness.local.toxiproxy.server.{module}.now"
            stack.enter_context(mock.patch(name, clock.now))
        yield clock


@pytest.fixture
def bench() -> Iterator[Bench]:
    with own_clock() as clock:
        yield Bench(clock)
