"""The base of all toxics: their settings, and the stage that acts on one connection.

A chain of stages pushes chunks from source to sink by plain calls. A stage that waits for a timer
is *busy*. One whose successor has no room is *blocked*. One without room pauses its predecessor,
back to the source.

Pausing is only a request: `push` always accepts the chunk. So a toxic can be changed or removed at
once and pass on all that it holds, however slow the peer is.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Handle

Direction = Literal["upstream", "downstream"]

CHUNK = 32 * 1024
"""Most bytes of one chunk, as upstream.

Everything else waits while a chunk is copied, and a late fault is a wrong fault.
"""


class InvalidAttributes(ValueError):
    """Attributes that would make the toxic misbehave."""


class Receiver(Protocol):
    """The next stage, or the sink."""

    prev: Sender

    def push(self, data: bytes, when: float) -> None:
        """Accept a chunk that was read from the source at `when` (monotonic seconds)."""

    def end(self) -> None:
        """Accept the end of the stream, behind all data."""


class Sender(Protocol):
    """The previous stage, or the source."""

    next: Receiver

    def pause(self) -> None:
        """Stop sending if possible: the successor has no room."""

    def resume(self) -> None:
        """Send again: the successor has room."""


class Host(Protocol):
    """The part of the connection that its stages use."""

    @property
    def loop(self) -> AbstractEventLoop:
        """For timers."""

    def generator(self, toxic: str) -> random.Random:
        """Return the toxic's random generator, fixed by the server's seed."""

    def acted(self, toxic: str) -> None:
        """The toxic affected this connection."""

    def note_end(self, reason: str) -> None:
        """The connection is about to close; the first reason counts."""


@dataclass(slots=True, eq=False)
class Toxic:
    """One toxic of one proxy, as the API shows it.

    Attributes:
        stream: The direction in the caller's spelling.
        toxicity: Share of connections that it affects, 0 to 1 (not range-checked).
    """

    kind: type[Stage]
    _: KW_ONLY
    name: str
    stream: str
    direction: Direction
    toxicity: float
    values: Mapping[str, int]

    def __post_init__(self) -> None:
        self.kind.check(self.values)
        self.values = dict(self.values)

    def change(self, values: Mapping[str, int], toxicity: float) -> None:
        """Apply new settings, or raise `InvalidAttributes` and keep the old ones."""
        self.kind.check(values)
        self.values = dict(values)
        self.toxicity = toxicity


class Stage:
    """One toxic on one direction of one connection.

    A toxic is a subclass that overrides `work`, and if needed `begin`, `ending` and `check`.
    """

    type: ClassVar[str]
    fields: ClassVar[tuple[str, ...]] = ()
    """In the order in which they are shown. All are integers, 0 by default."""
    capacity: ClassVar[int] = 0
    """Chunks that may queue behind the current one before the source is paused."""
    closes_when_removed: ClassVar[bool] = False
    """Whether removing the toxic closes the connections of its direction."""
    resets: ClassVar[bool] = False
    """Whether connections that open while it exists are closed with RST instead of FIN."""

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
        self.current: tuple[bytes, float] | None = None  # an interrupt passes it on
        self.timer: Handle | None = None
        self.acting = False
        self.busy = False
        self.blocked = False
        self.roomy = True  # the last signal to the predecessor
        self.ended = False  # the end of the stream has arrived here
        self.closed = False  # the end has been passed on, or the stage closed the connection

    # For toxics to override.

    @classmethod
    def check(cls, values: Mapping[str, int]) -> None:
        """Raise `InvalidAttributes` for values that no connection could work with."""

    def begin(self) -> None:
        """Start: the connection opened, or the toxic was added or changed."""

    def work(self, data: bytes, when: float) -> None:
        """Process one chunk. Called only if the stage is neither busy nor blocked."""
        raise NotImplementedError

    def ending(self) -> None:
        """Process the end of the stream, behind all data."""
        self.finish()

    # For toxics to call.

    def emit(self, data: bytes, when: float) -> None:
        self.next.push(data, when)

    def wait(self, seconds: float, callback: Callable[[], None]) -> None:
        """Be busy until the callback, which calls `done`, `finish`, `close` or `wait`."""
        self.busy = True
        self.timer = self.host.loop.call_later(seconds, callback)

    def done(self) -> None:
        self.busy = False
        self.timer = None
        self.current = None
        self._pump()

    def finish(self) -> None:
        if not self.closed:
            self._stop()
            self.next.end()

    def close(self, reason: str) -> None:
        """End the connection, behind the data that later stages hold."""
        if not self.closed:
            self.host.note_end(reason)
            self._stop()
            self.prev.pause()
            self.next.end()

    @property
    def random(self) -> random.Random:
        return self.host.generator(self.toxic.name)

    def touch(self) -> None:
        self.host.acted(self.toxic.name)

    # For neighbours to call.

    def push(self, data: bytes, when: float) -> None:
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
        self.ended = True
        if not (self.busy or self.waiting or self.closed):
            self._end_reached()

    def pause(self) -> None:
        self.blocked = True
        self._signal()

    def resume(self) -> None:
        self.blocked = False
        self._pump()

    # For the link to call.

    def start(self) -> None:
        """Draw whether the toxic acts on this connection, and begin."""
        if self.closed:
            return
        toxicity = self.toxic.toxicity
        self.acting = toxicity >= 1 or (toxicity > 0 and self.random.random() < toxicity)
        if self.acting:
            self.begin()
        self._pump()

    def interrupt(self) -> None:
        """Pass on the current chunk at once and unchanged."""
        self._cancel()
        self.busy = False
        held, self.current = self.current, None
        if held is not None and not self.closed:
            self.emit(*held)

    def drain(self) -> None:
        """Pass on everything, because the toxic is removed."""
        self.interrupt()
        self.acting = False
        while self.waiting and not self.closed:
            self.emit(*self.waiting.popleft())
        if self.ended:
            self.finish()

    def discard(self) -> None:
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
