"""One direction of a connection: a source socket, a chain of toxics, a destination socket.

The link itself is both ends of its chain: the source, which reads and can be paused, and the sink,
which writes and pauses its predecessor while the peer does not read. With no toxics it is its own
neighbour.

Where every toxic of the chain lets data pass untouched, chunks go from socket to socket through one
shared buffer, without being copied or handed along the chain.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from vault_harness.toxiproxy.server.toxics._stage import (
    LARGE_CHUNK,
    Direction,
    Receiver,
    Sender,
    Stage,
    Toxic,
    now,
)

if TYPE_CHECKING:
    from vault_harness.toxiproxy.server.connections import Connection
    from vault_harness.toxiproxy.server.proxies import Server

FIRST_CHUNK = 64 * 1024
"""Bytes read at once at first; more once the peer is seen to take them."""
SOURCE_CLOSED = {"upstream": "client closed", "downstream": "upstream closed"}
DEST_CLOSED = {"upstream": "upstream closed", "downstream": "client closed"}

_buffer = bytearray(LARGE_CHUNK)  # used within one callback only, so one is enough for all links
_view = memoryview(_buffer)


class Link:
    """One direction of one connection.

    Attributes:
        received: Bytes read from the source.
        sent: Bytes written to the destination.
        over: Whether the destination is closed.
    """

    __slots__ = (
        "appetite",
        "chunk",
        "connection",
        "cut",
        "dest",
        "direct",
        "direction",
        "ended",
        "generators",
        "loop",
        "next",
        "order",
        "over",
        "pending",
        "poller",
        "prev",
        "reading",
        "received",
        "sent",
        "skipped",
        "source",
        "source_over",
        "stages",
        "writing",
    )

    def __init__(
        self,
        connection: Connection,
        direction: Direction,
        source: socket.socket,
        dest: socket.socket,
        server: Server,
    ) -> None:
        self.connection = connection
        self.direction = direction
        self.source = source
        self.dest = dest
        self.loop = server.loop
        self.poller = server.poller
        self.received = 0
        self.sent = 0
        self.appetite = FIRST_CHUNK
        self.next: Receiver = self
        self.prev: Sender = self
        self.stages: dict[Toxic, Stage] = {}
        self.skipped: dict[Toxic, bool] = {}  # toxics without a stage, and whether they act
        self.order: tuple[Toxic, ...] = ()  # of all toxics, while some have no stage
        self.generators: dict[str, random.Random] | None = None
        self.pending: deque[bytes] | None = None  # what the destination does not take yet
        self.chunk = LARGE_CHUNK
        self.cut = False  # a toxic has ended the stream: what the source sends goes nowhere
        self.direct = True
        self.reading = False
        self.writing = False
        self.source_over = False
        self.ended = False
        self.over = False

    # Life.

    def start(self, toxics: list[Toxic]) -> None:
        """Build the chain and start reading."""
        if toxics:
            for toxic in toxics:
                acting = self.rolls(toxic)
                if acting and not toxic.kind.inert(toxic.values):
                    self._append(toxic)
                else:
                    # It does nothing to anything: a stage is made once the chain changes.
                    self.skipped[toxic] = acting
            if self.skipped:
                self.order = tuple(toxics)
            for stage in self.stages.values():
                stage.start(acting=True)
            self._settle()
        self.resume()

    def stop(self) -> None:
        """Forget everything that is on its way; the sockets are left to the connection."""
        self.over = True
        self.source_over = True
        for stage in self.stages.values():
            if not stage.closed:
                stage.discard()
        self.pending = None

    def release(self) -> None:
        """Undo the ring once nobody calls into it, so that it needs no search to be freed."""
        receiver = self.next
        while isinstance(receiver, Stage):
            following = receiver.next
            del receiver.next, receiver.prev
            receiver = following
        del self.next, self.prev
        self.stages = {}

    def source_gone(self) -> None:
        """The source was closed; its end comes behind the data that was read before."""
        if not self.source_over:
            self.source_over = True
            self.reading = False
            self.next.end()

    def look(self) -> None:
        """Read what may be there already."""
        if self.reading:
            self._readable()

    # Toxics.

    def add(self, toxic: Toxic) -> None:
        """Put a toxic at the end of the chain; the one before it starts anew."""
        if self.over:
            return
        self._complete()
        previous = self.prev
        stage = self._append(toxic)
        if isinstance(previous, Stage):
            previous.next = self
            previous.interrupt()
            previous.next = stage
            stage.closed = previous.closed
            previous.start()
        else:
            stage.closed = self.source_over
        stage.start()
        self._settle()

    def update(self, toxic: Toxic) -> None:
        """Start a changed toxic anew."""
        if self.over:
            return
        self._complete()
        stage = self.stages.get(toxic)
        if stage is not None and not stage.closed:
            stage.interrupt()
            stage.start()
            self._settle()

    def remove(self, toxic: Toxic) -> None:
        """Take a toxic off the chain, handing on what it holds; the one before it starts anew."""
        if self.over:
            return
        self._complete()
        stage = self.stages.pop(toxic, None)
        if stage is None or stage.closed:
            return  # a closed stage stays in its place: nothing may pass behind the end
        if stage.closes_when_removed:
            stage.interrupt()
            stage.close(f"toxic {toxic.name} removed")
        else:
            stage.drain()
            self._unlink(stage)
            before = stage.prev
            if isinstance(before, Stage) and not before.closed:
                before.interrupt()
                before.start()
            if stage.blocked:
                before.pause()
            elif not stage.roomy:
                before.resume()
        self._settle()

    def _append(self, toxic: Toxic) -> Stage:
        stage = toxic.kind(toxic, self, self.prev, self)
        self.prev.next = stage
        self.prev = stage
        self.stages[toxic] = stage
        stage.blocked = bool(self.pending)
        stage.roomy = not stage.blocked  # its predecessor has been paused by the sink already
        return stage

    def _complete(self) -> None:
        """Give every toxic its stage, in order; those that were skipped hold nothing."""
        if not self.skipped:
            return
        stages: dict[Toxic, Stage] = {}
        sender: Link | Stage = self
        for toxic in self.order:
            stage = self.stages.get(toxic)
            if stage is None:
                following = sender.next
                stage = toxic.kind(toxic, self, sender, following)
                if isinstance(following, Stage):
                    stage.blocked = following.closed or not following.roomy
                else:
                    stage.blocked = bool(self.pending)
                stage.roomy = not stage.blocked
                stage.acting = self.skipped[toxic]
                stage.closed = sender.closed if isinstance(sender, Stage) else self.source_over
                sender.next = stage
                following.prev = stage
            stages[toxic] = sender = stage
        self.stages = stages
        self.skipped.clear()

    def _unlink(self, stage: Stage) -> None:
        stage.prev.next = stage.next
        stage.next.prev = stage.prev

    def _settle(self) -> None:
        acting = [stage.toxic for stage in self.stages.values() if not stage.passes()]
        self.direct = not (self.cut or acting)
        self.chunk = min(
            (toxic.kind.largest_chunk(toxic.values) for toxic in acting), default=LARGE_CHUNK
        )

    # What stages need: see `Host`.

    def after(self, seconds: float, callback: Callable[[], None]) -> asyncio.Handle:
        """Call back later."""
        return self.loop.call_later(seconds, callback)

    def soon(self, callback: Callable[[], None]) -> asyncio.Handle:
        """Call back after the loop has looked at its sockets once."""
        return self.loop.call_soon(callback)

    def rolls(self, toxic: Toxic) -> bool:
        """Whether that toxic is to act here, from now until it starts anew."""
        toxicity = toxic.toxicity
        return toxicity >= 1 or (toxicity > 0 and self.generator(toxic).random() < toxicity)

    def generator(self, toxic: Toxic) -> random.Random:
        """The random numbers of that toxic on this connection."""
        if self.generators is None:
            self.generators = {}
        found = self.generators.get(toxic.name)
        if found is None:
            found = self.generators[toxic.name] = self.connection.generator(toxic.name)
        return found

    def acted(self, toxic: Toxic) -> None:
        """That toxic has touched this connection."""
        self.connection.toxics[toxic.name] = None

    def closing(self, reason: str) -> None:
        """The connection is about to be closed for that reason."""
        self.cut = True
        self.direct = False
        self.connection.note_end(reason)

    # The source.

    def pause(self) -> None:
        """Stop reading."""
        self.quiet_source()

    def resume(self) -> None:
        """Read on."""
        if not self.reading and not self.source_over:
            self.reading = True
            self.poller.read(self.source.fileno(), self._readable)

    def quiet_source(self) -> None:
        """Take the source off the loop; needed before it is closed."""
        if self.reading:
            self.reading = False
            self.poller.ignore_read(self.source.fileno())

    def _readable(self) -> None:
        try:
            if self.direct and not self.pending:
                count = self.source.recv_into(_buffer, self.appetite)
                if count:
                    self.received += count
                    self._write_through(_view[:count])
                    if count == self.appetite:
                        self._grow()
                    return
            else:
                data = self.source.recv(min(self.appetite, self.chunk))
                if data:
                    self.received += len(data)
                    self.next.push(data, now())
                    if len(data) == self.appetite:
                        self._grow()
                    return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass  # a reset source ends as any other
        self.connection.note_end(SOURCE_CLOSED[self.direction])
        self.quiet_source()
        self.source_gone()

    def _grow(self) -> None:
        # Large reads are cheap, but what the peer does not take must be kept, so only a peer that
        # takes everything gets them.
        if self.pending is None:
            self.appetite = min(2 * self.appetite, LARGE_CHUNK)

    # The sink.

    def push(self, data: bytes, when: float) -> None:  # noqa: ARG002 - age is the toxics' affair
        """Write a chunk, or keep it until the peer reads."""
        if self.over:
            return
        if self.pending:
            self.pending.append(data)
            return
        self._write_through(memoryview(data))

    def end(self) -> None:
        """Close the destination when everything is written."""
        self.ended = True
        if not self.pending:
            self._finish()

    def quiet_dest(self) -> None:
        """Take the destination off the loop; needed before it is closed."""
        if self.writing:
            self.writing = False
            self.poller.ignore_write(self.dest.fileno())

    def _write_through(self, data: memoryview) -> None:
        try:
            count = self.dest.send(data)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError:
            self._broken()
            return
        self.sent += count
        if count < len(data):
            self.pending = deque((bytes(data[count:]),))
            self.writing = True
            self.appetite = max(self.appetite // 2, FIRST_CHUNK)
            self.poller.write(self.dest.fileno(), self._writable)
            self.prev.pause()

    def _writable(self) -> None:
        pending = self.pending
        while pending:
            data = pending[0]
            try:
                count = self.dest.send(data)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._broken()
                return
            self.sent += count
            if count < len(data):
                pending[0] = data[count:]
                return
            pending.popleft()
        self.pending = None
        self.quiet_dest()
        if self.ended:
            self._finish()
        else:
            self.prev.resume()

    def _broken(self) -> None:
        self.connection.note_end(DEST_CLOSED[self.direction])
        self._finish()

    def _finish(self) -> None:
        if not self.over:
            self.quiet_source()
            self.stop()
            self.connection.link_over(self)
