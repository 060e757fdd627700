"""One direction of a connection: a source, a chain of toxics, a sink.

The source reads while the chain has room. The sink pauses the chain while the peer does not read.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from vault_harness.local.toxiproxy.server.stage import (
    CHUNK,
    Direction,
    Host,
    Receiver,
    Sender,
    Stage,
    Toxic,
    now,
)

SOURCE_CLOSED = {"upstream": "client closed", "downstream": "upstream closed"}
DEST_CLOSED = {"upstream": "upstream closed", "downstream": "client closed"}


class Owner(Host, Protocol):
    """The part of the connection that its links use."""

    def link_over(self, link: Link) -> None:
        """The link has written its last byte."""


class Source:
    """Reads chunks from a socket. `over`: the end was passed on."""

    __slots__ = ("_closed", "_loop", "_reading", "_sock", "next", "over", "received")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, closed: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._closed = closed
        self._reading = False
        self.next: Receiver
        self.received = 0
        self.over = False

    def pause(self) -> None:
        """Stop reading. Required before the socket is closed."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    def resume(self) -> None:
        if not (self._reading or self.over):
            self._reading = True
            self._loop.add_reader(self._sock.fileno(), self._readable)

    def finish(self) -> None:
        """Pass on the end of the stream, behind all data."""
        if not self.over:
            self.stop()
            self.next.end()

    def stop(self) -> None:
        """Stop reading without passing on an end."""
        self.pause()
        self.over = True

    def _readable(self) -> None:
        try:
            data = self._sock.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""  # a reset counts as a normal end
        if data:
            self.received += len(data)
            self.next.push(data, now())
        else:
            self._closed()
            self.finish()


class Sink:
    """Writes chunks to a socket, and keeps those that it does not take yet.

    `prev` is paused meanwhile. `over`: all is written, or nothing more can be.
    """

    __slots__ = (
        "_broken",
        "_done",
        "_ended",
        "_kept",
        "_loop",
        "_sock",
        "over",
        "prev",
        "sent",
        "waiting",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        broken: Callable[[], None],
        done: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._broken = broken
        self._done = done
        self._kept: deque[bytes | memoryview] = deque()
        self._ended = False
        self.prev: Sender
        self.waiting = False  # whether the peer must read first
        self.sent = 0
        self.over = False

    def push(self, data: bytes, when: float) -> None:  # noqa: ARG002 - only toxics need the age
        if self.over:
            return
        self._kept.append(data)
        if not self.waiting:
            self._write()

    def end(self) -> None:
        self._ended = True
        if not self.waiting:
            self._finish()

    def stop(self) -> None:
        """Stop writing. Required before the socket is closed."""
        self.over = True
        self._kept.clear()
        self._wait(False)

    def _write(self) -> None:
        while self._kept:
            data = self._kept[0]
            try:
                count = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                count = 0
            except OSError:
                self._broken()
                self._finish()
                return
            self.sent += count
            if count < len(data):
                self._kept[0] = memoryview(data)[count:]
                if not self.waiting:
                    self._wait(True)
                    self.prev.pause()
                return
            self._kept.popleft()
        if self.waiting:
            self._wait(False)
            if self._ended:
                self._finish()
            else:
                self.prev.resume()

    def _wait(self, wanted: bool) -> None:
        if wanted != self.waiting:
            self.waiting = wanted
            if wanted:
                self._loop.add_writer(self._sock.fileno(), self._write)
            else:
                self._loop.remove_writer(self._sock.fileno())

    def _finish(self) -> None:
        if not self.over:
            self.stop()
            self._done()


class Link:
    """One direction of one connection. `dest` is closed when it is over."""

    __slots__ = ("_owner", "dest", "direction", "sink", "source", "stages")

    def __init__(
        self,
        owner: Owner,
        direction: Direction,
        source: socket.socket,
        dest: socket.socket,
    ) -> None:
        self._owner = owner
        self.direction = direction
        self.dest = dest
        self.stages: dict[Toxic, Stage] = {}
        self.source = Source(owner.loop, source, lambda: owner.note_end(SOURCE_CLOSED[direction]))
        self.sink = Sink(
            owner.loop, dest, lambda: owner.note_end(DEST_CLOSED[direction]), self._written
        )
        self.source.next, self.sink.prev = self.sink, self.source

    def start(self, toxics: Iterable[Toxic]) -> None:
        for toxic in toxics:
            self._append(toxic).start()
        self.source.resume()

    def stop(self) -> None:
        """Drop all data on its way."""
        self.source.stop()
        self.sink.stop()
        for stage in self.stages.values():
            stage.discard()

    def add(self, toxic: Toxic) -> None:
        """Put a toxic at the end of the chain, and restart the one before it."""
        if self.sink.over:
            return
        previous = self.sink.prev
        if isinstance(previous, Stage):
            previous.interrupt()
        stage = self._append(toxic)
        stage.closed = previous.closed if isinstance(previous, Stage) else self.source.over
        if isinstance(previous, Stage):
            previous.start()
        stage.start()

    def update(self, toxic: Toxic) -> None:
        stage = self.stages.get(toxic)
        if stage is not None and not stage.closed:
            stage.interrupt()
            stage.start()

    def remove(self, toxic: Toxic) -> None:
        """Take a toxic off the chain, pass on what it holds, and restart the one before it."""
        stage = self.stages.pop(toxic, None)
        if stage is None or stage.closed:
            return  # a closed stage stays in place: no data may follow the end
        if stage.closes_when_removed:
            stage.interrupt()
            stage.close(f"toxic {toxic.name} removed")
            return
        stage.drain()
        before = stage.prev
        before.next, stage.next.prev = stage.next, before
        if isinstance(before, Stage) and not before.closed:
            before.interrupt()
            before.start()
        if stage.blocked:
            before.pause()
        elif not stage.roomy:
            before.resume()

    def _append(self, toxic: Toxic) -> Stage:
        previous = self.sink.prev
        stage = toxic.kind(toxic, self._owner, previous, self.sink)
        previous.next = self.sink.prev = self.stages[toxic] = stage
        stage.blocked = self.sink.waiting
        stage.roomy = not stage.blocked  # the sink has already paused its predecessor
        return stage

    def _written(self) -> None:
        self.stop()
        self._owner.link_over(self)
