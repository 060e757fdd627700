"""What all toxics share: their settings, and the stage that acts on one connection.

A chain is a row of stages between a source and a sink, one row for each direction of a connection.
A chunk is pushed from stage to stage by plain calls, so a chain in which nothing waits costs no
more than those calls. A stage that waits sets a timer and is *busy*; a stage whose successor has no
room is *blocked*. Whoever has no room pauses its predecessor, back to the source, which stops
reading.

Pausing is a request, not a wall: `push` always takes the chunk. That is what lets a toxic be
updated or removed at once, handing on all that it holds, however slow the peer is.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Handle

Direction = Literal["upstream", "downstream"]

CHUNK = 32 * 1024
"""Most bytes of one chunk, as upstream.

Larger ones would carry more in a second, but all other connections, timers and requests wait while
one is copied, and a fault that comes late is a wrong one.
"""


class InvalidAttributes(ValueError):
    """Attributes that would make the toxic misbehave; the text says why."""


class Receiver(Protocol):
    """Takes chunks and the end of the stream: the next stage, or the sink."""

    prev: Sender

    def push(self, data: bytes, when: float) -> None:
        """Take a chunk that was read from the source at ``when`` (monotonic seconds)."""

    def end(self) -> None:
        """Take the end of the stream, which comes behind all data."""


class Sender(Protocol):
    """Can be asked to hold its chunks back: the previous stage, or the source."""

    next: Receiver

    def pause(self) -> None:
        """The successor has no room."""

    def resume(self) -> None:
        """The successor has room again."""


class Host(Protocol):
    """The connection, as far as its stages need it."""

    @property
    def loop(self) -> AbstractEventLoop:
        """For timers."""

    def generator(self, toxic: str) -> random.Random:
        """The random numbers of that toxic on this connection, fixed by the server's seed."""

    def acted(self, toxic: str) -> None:
        """That toxic has touched this connection."""

    def note_end(self, reason: str) -> None:
        """Why the connection is about to be closed; the first reason counts."""


class Toxic:
    """One toxic of one proxy, as the API shows it.

    Attributes:
        name: Unique within its proxy.
        stream: Direction as the caller spelt it.
        direction: The same in lower case.
        toxicity: Share of connections that it acts on, 0 to 1 (float32; not range-checked).
        values: Every attribute of its type, all integers.
    """

    __slots__ = ("direction", "kind", "name", "stream", "toxicity", "values")

    def __init__(
        self,
        kind: type[Stage],
        *,
        name: str,
        stream: str,
        direction: Direction,
        toxicity: float,
        values: Mapping[str, int],
    ) -> None:
        kind.check(values)
        self.kind = kind
        self.name = name
        self.stream = stream
        self.direction = direction
        self.toxicity = toxicity
        self.values = dict(values)

    def change(self, values: Mapping[str, int], toxicity: float) -> None:
        """Take new settings, or raise `InvalidAttributes` and keep the old ones."""
        self.kind.check(values)
        self.values = dict(values)
        self.toxicity = toxicity


class Stage:
    """One toxic acting on one direction of one connection.

    A subclass is a toxic. It names its ``type`` and ``fields`` and overrides `work`, and as needed
    `begin`, `ending` and `check`. What it may call: `emit` (hand a chunk on), `wait`
    (be busy for some time), `done` (take the next chunk), `finish` (pass the end of the stream on)
    and `close` (end the connection by itself).
    """

    type: ClassVar[str]
    """The name of the toxic in the API."""
    fields: ClassVar[tuple[str, ...]] = ()
    """Its attributes, in the order in which they are shown. All are integers, 0 by default."""
    capacity: ClassVar[int] = 0
    """How many chunks may queue behind the one being worked on before the source is paused."""
    closes_when_removed: ClassVar[bool] = False
    """Whether taking the toxic away closes the connections of its direction."""
    resets: ClassVar[bool] = False
    """Whether connections that open under it are closed with RST instead of FIN."""

    __slots__ = (
        "acting",
        "blocked",
        "busy",
        "closed",
        "current",
        "ended",
        "host",
        "next",
        "prev",
        "roomy",
        "timer",
        "toxic",
        "waiting",
    )

    def __init__(self, toxic: Toxic, host: Host, prev: Sender, following: Receiver) -> None:
        self.toxic = toxic
        self.host = host
        self.prev = prev
        self.next = following
        self.waiting: deque[tuple[bytes, float]] = deque()
        self.current: tuple[bytes, float] | None = None  # what an interrupt must hand on
        self.timer: Handle | None = None
        self.acting = False
        self.busy = False
        self.blocked = False
        self.roomy = True  # what the predecessor was told
        self.ended = False  # the end of the stream has arrived here
        self.closed = False  # and has been passed on, or the stage closed by itself

    # What a toxic overrides.

    @classmethod
    def check(cls, values: Mapping[str, int]) -> None:
        """Raise `InvalidAttributes` for values that no connection could be served with."""

    def begin(self) -> None:
        """Start acting: the connection opened, or the toxic was added or changed."""

    def work(self, data: bytes, when: float) -> None:
        """Take one chunk. Called only when the stage is neither busy nor blocked."""
        raise NotImplementedError

    def ending(self) -> None:
        """The end of the stream has arrived and everything before it is handed on."""
        self.finish()

    # What a toxic calls.

    def emit(self, data: bytes, when: float) -> None:
        """Hand a chunk on."""
        self.next.push(data, when)

    def wait(self, seconds: float, callback: Callable[[], None]) -> None:
        """Be busy until the callback, which calls `done`, `finish`, `close` or `wait`."""
        self.busy = True
        self.timer = self.host.loop.call_later(seconds, callback)

    def done(self) -> None:
        """Be free again and take the next chunk."""
        self.busy = False
        self.timer = None
        self.current = None
        self._pump()

    def finish(self) -> None:
        """Pass the end of the stream on."""
        if not self.closed:
            self._stop()
            self.next.end()

    def close(self, reason: str) -> None:
        """End the connection, behind what the later stages hold."""
        if not self.closed:
            self.host.note_end(reason)
            self._stop()
            self.prev.pause()
            self.next.end()

    @property
    def random(self) -> random.Random:
        """The random numbers of this toxic on this connection."""
        return self.host.generator(self.toxic.name)

    def touch(self) -> None:
        """Note that the toxic had an effect on this connection."""
        self.host.acted(self.toxic.name)

    # What the neighbours call.

    def push(self, data: bytes, when: float) -> None:
        """Take a chunk from the predecessor."""
        if self.closed:
            return
        if self.busy or self.blocked or self.waiting:
            self.waiting.append((data, when))
            self._signal()
        elif self.acting:
            self.work(data, when)
            self._signal()
        else:
            self.next.push(data, when)

    def end(self) -> None:
        """Take the end of the stream from the predecessor."""
        self.ended = True
        if not (self.busy or self.waiting or self.closed):
            self._end_reached()

    def pause(self) -> None:
        """The successor has no room."""
        self.blocked = True
        self._signal()

    def resume(self) -> None:
        """The successor has room again."""
        self.blocked = False
        self._pump()

    # What the link calls.

    def start(self) -> None:
        """Act, or let everything pass; the dice of toxicity say which."""
        if self.closed:
            return
        toxicity = self.toxic.toxicity
        self.acting = toxicity >= 1 or (toxicity > 0 and self.random.random() < toxicity)
        if self.acting:
            self.begin()
        self._pump()

    def interrupt(self) -> None:
        """Hand on what is being worked on, at once and unchanged."""
        self._cancel()
        self.busy = False
        held, self.current = self.current, None
        if held is not None and not self.closed:
            self.emit(*held)

    def drain(self) -> None:
        """Hand on everything, the end of the stream included: the toxic is taken away."""
        self.interrupt()
        self.acting = False
        while self.waiting and not self.closed:
            self.emit(*self.waiting.popleft())
        if self.ended:
            self.finish()

    def discard(self) -> None:
        """Forget everything: the connection is gone."""
        self._stop()

    def _end_reached(self) -> None:
        if self.acting:
            self.ending()
        else:
            self.finish()

    def _pump(self) -> None:
        while self.waiting and not (self.busy or self.blocked or self.closed):
            data, when = self.waiting.popleft()
            if self.acting:
                self.work(data, when)
            else:
                self.next.push(data, when)
        if self.closed:
            return
        if self.ended and not (self.busy or self.waiting):
            self._end_reached()
        else:
            self._signal()

    def _signal(self) -> None:
        roomy = not (self.busy or self.blocked) or len(self.waiting) < self.capacity
        if roomy != self.roomy:
            self.roomy = roomy
            if roomy:
                self.prev.resume()
            else:
                self.prev.pause()

    def _stop(self) -> None:
        self.closed = True
        self.current = None
        if self.timer is not None:
            self._cancel()
        if self.waiting:
            self.waiting.clear()

    def _cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


now = time.monotonic
"""The clock of chunks: seconds, never going backwards."""
