"""The eight toxics of the API."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping

from vault_harness.local.toxiproxy.server.stage import InvalidAttributes, Stage, now

RESOLUTION = 0.001
"""Seconds. Timers are no finer. A bandwidth's shorter wait is carried over to the next chunk."""


class Noop(Stage):
    """Does nothing. Useful as a place holder and to measure the cost of a chain.

    Attributes: none.
    """

    type = "noop"
    __slots__ = ()

    def work(self, data: bytes, when: float) -> None:
        self.emit(data, when)


class Latency(Stage):
    """Delays every chunk by ``latency`` plus or minus ``jitter``, without limiting throughput.

    Attributes (milliseconds):
        latency: The delay, counted from when the chunk was read. Several latency toxics add up.
        jitter: If positive, a random number from ``[-jitter, jitter)`` is added for each chunk.

    Up to 1024 chunks of 32 KiB wait for each connection; then the source is paused. The end of the
    stream has no delay of its own, but stays behind the data.
    """

    type = "latency"
    fields = ("latency", "jitter")
    capacity = 1024
    __slots__ = ()

    def work(self, data: bytes, when: float) -> None:
        values = self.toxic.values
        delay = values["latency"]
        jitter = values["jitter"]
        if jitter > 0:
            delay += self.random.randrange(2 * jitter) - jitter
        if delay > 0:
            self.touch()
        wait = when + delay / 1000 - now()
        # The time stamp moves with the chunk, so that a second latency toxic adds its delay.
        when += wait
        if wait <= 0:
            self.emit(data, when)
        else:
            self.current = (data, when)
            self.wait(wait, self._due)

    def _due(self) -> None:
        if self.current is not None:
            self.emit(*self.current)
        self.done()


SLICE = 0.1


class Bandwidth(Stage):
    """Limits throughput to ``rate`` kilobytes a second.

    Attributes:
        rate: Kilobytes (1000 bytes) a second. 0 passes nothing on, keeps the connection open, and
            delivers the data when the rate rises or the toxic is removed. Negative values are
            refused: they kill upstream's process.

    A long chunk goes out in parts, one every 100 ms, each of a tenth of the rate. Timer errors are
    carried over, so the mean rate is exact.
    """

    type = "bandwidth"
    fields = ("rate",)
    __slots__ = ("debt", "since")

    @classmethod
    def check(cls, values: Mapping[str, int]) -> None:
        if values["rate"] < 0:
            raise InvalidAttributes("rate must not be negative")

    def begin(self) -> None:
        self.debt = 0.0  # seconds to wait for the data that was accepted
        self.since = now()

    def work(self, data: bytes, when: float) -> None:
        self.touch()
        self.current = (data, when)
        rate = self.toxic.values["rate"]
        moment = now()
        if self.debt > 0:
            # The time since the last chunk counts, but idle time gives no credit.
            self.debt = max(0.0, self.debt - (moment - self.since))
        self.since = moment
        if rate == 0:
            self.busy = True  # until an interrupt
            return
        self.debt += len(data) / (rate * 1000)
        self._next_part()

    def _next_part(self) -> None:
        if self.current is None:
            return
        if len(self.current[0]) > self.toxic.values["rate"] * 100:
            self.wait(SLICE, self._part_due)
        elif self.debt > RESOLUTION:
            self.wait(self.debt, self._rest_due)
        else:
            self._rest_due()

    def _pay(self) -> None:
        moment = now()
        self.debt -= moment - self.since
        self.since = moment

    def _part_due(self) -> None:
        if self.current is None:
            return
        data, when = self.current
        part = self.toxic.values["rate"] * 100
        self.current = (data[part:], when)
        self._pay()
        self.emit(data[:part], when)
        if not self.closed:
            self._next_part()

    def _rest_due(self) -> None:
        if self.busy:
            self._pay()
        held, self.current = self.current, None
        if held is not None:
            self.emit(*held)
        if self.busy and not self.closed:
            self.done()


class SlowClose(Stage):
    """Delays the end of the stream in its own direction; data passes at once.

    Attributes:
        delay: Milliseconds. A change during the wait restarts it; a removal ends it.
    """

    type = "slow_close"
    fields = ("delay",)
    __slots__ = ()

    def work(self, data: bytes, when: float) -> None:
        self.emit(data, when)

    def ending(self) -> None:
        delay = self.toxic.values["delay"]
        if delay <= 0:
            self.finish()
        elif not self.busy:
            self.touch()
            self.wait(delay / 1000, self.finish)


class Timeout(Stage):
    """Drops all chunks of its direction, and closes the connection after a time without any.

    Attributes:
        timeout: Milliseconds *without a chunk*: each chunk restarts the time. Zero or less never
            closes the connection.

    The other direction keeps working. Removing the toxic closes every connection of its direction,
    even those that it did not affect. Setting its toxicity to 0 ends its effect without closing
    them.
    """

    type = "timeout"
    fields = ("timeout",)
    closes_when_removed = True
    __slots__ = ()

    def begin(self) -> None:
        self._cancel()
        timeout = self.toxic.values["timeout"]
        if timeout > 0:
            self.timer = self.host.loop.call_later(timeout / 1000, self._expire)

    def work(self, data: bytes, when: float) -> None:  # noqa: ARG002 - dropped
        self.touch()
        self.begin()

    def _expire(self) -> None:
        self.timer = None
        self.touch()
        self.close(f"closed by toxic {self.toxic.name}")


class ResetPeer(Stage):
    """Drops the first chunk or end of stream, waits, and closes both sides with RST.

    Attributes:
        timeout: Milliseconds between the first chunk and the reset.

    RST is sent only on connections that were *opened* while the toxic existed, then at every close,
    whatever the toxicity, even after the toxic is removed. On older connections the peers see a
    plain end of stream. An idle connection is never reset.

    Unlike upstream's, the wait can be interrupted. A change restarts it. After a removal the
    connection lives on without the dropped chunk.
    """

    type = "reset_peer"
    fields = ("timeout",)
    resets = True
    __slots__ = ("armed",)

    def begin(self) -> None:
        """Restart the wait if a chunk was dropped already."""
        if getattr(self, "armed", False):
            self._arm()
        else:
            self.armed = False

    def work(self, data: bytes, when: float) -> None:  # noqa: ARG002 - dropped
        self._arm()

    def ending(self) -> None:
        if not self.busy:
            self._arm()

    def _arm(self) -> None:
        self.armed = True
        self.touch()
        timeout = self.toxic.values["timeout"]
        if timeout > 0:
            self.wait(timeout / 1000, self._reset)
        else:
            self._reset()

    def _reset(self) -> None:
        self.close(f"reset by toxic {self.toxic.name}")


class Slicer(Stage):
    """Cuts every chunk into pieces that are sent one by one.

    Attributes:
        average_size: Bytes of a piece, at least 1.
        size_variation: A piece may be this many bytes longer or shorter; at most ``average_size``.
        delay: *Microseconds* to wait after each piece, also after the last one.

    Other values are refused, also the default, so ``average_size`` is required: they kill
    upstream's process or make it cut for ever. If the toxic changes in the middle of a chunk, the
    rest goes out as one piece.
    """

    type = "slicer"
    fields = ("average_size", "size_variation", "delay")
    __slots__ = ("chunk", "cuts", "due", "sent")

    @classmethod
    def check(cls, values: Mapping[str, int]) -> None:
        average, variation = values["average_size"], values["size_variation"]
        if average < 1:
            raise InvalidAttributes("average_size must be at least 1: pieces of no bytes never end")
        if not 0 <= variation <= average:
            raise InvalidAttributes("size_variation must be between 0 and average_size")

    def work(self, data: bytes, when: float) -> None:
        values = self.toxic.values
        average, variation = values["average_size"], values["size_variation"]
        if len(data) - average > variation or values["delay"] > 0:
            self.touch()
        generator = self.random if variation else None
        cuts = cut(len(data), average, variation, generator)
        if values["delay"] <= 0:
            start = 0
            for end in cuts:
                self.emit(data[start:end], when)
                start = end
            return
        self.chunk = (data, when)
        self.cuts = deque(cuts)
        self.sent = 0
        self.busy = True
        self._send()

    def interrupt(self) -> None:
        if self.busy:
            data, when = self.chunk
            if self.sent < len(data):
                self.current = (data[self.sent :], when)
        super().interrupt()

    def _send(self) -> None:
        data, when = self.chunk
        start, self.sent = self.sent, self.cuts.popleft()
        delay = self.toxic.values["delay"] / 1e6
        self.due = now() + delay
        self.emit(data[start : self.sent], when)
        if self.closed:
            return
        if delay >= RESOLUTION:
            self.wait(delay, self._proceed)
        else:
            self.timer = self.host.loop.call_soon(self._proceed)

    def _proceed(self) -> None:
        if now() < self.due:
            # Too short for a timer.
            self.timer = self.host.loop.call_soon(self._proceed)
        elif self.cuts:
            self._send()
        else:
            self.done()


def cut(length: int, average: int, variation: int, generator: random.Random | None) -> list[int]:
    """Return the ends of the pieces: halved until none exceeds average plus variation."""
    ends: list[int] = []
    todo = [(0, length)]
    while todo:
        start, end = todo.pop()
        if end - start - average <= variation:
            if end > start:
                ends.append(end)
            continue
        middle = start + (end - start) // 2
        if generator is not None:
            middle += generator.randrange(2 * variation) - variation
        todo.append((middle, end))
        todo.append((start, middle))
    return ends


class LimitData(Stage):
    """Passes ``bytes`` bytes of its direction on, then closes both sides.

    Attributes:
        bytes: Bytes for each connection, counted from when the toxic was added to it. Zero or less:
            the first chunk closes the connection without a byte.

    The count survives changes of the toxic. A toxic that is removed before the limit has no effect.
    """

    type = "limit_data"
    fields = ("bytes",)
    __slots__ = ("passed",)

    def begin(self) -> None:
        self.passed = getattr(self, "passed", 0)

    def work(self, data: bytes, when: float) -> None:
        remaining = self.toxic.values["bytes"] - self.passed
        if len(data) < remaining:
            self.passed += len(data)
            self.emit(data, when)
            return
        self.touch()
        if remaining > 0:
            self.passed += remaining
            self.emit(data[:remaining], when)
        self.close(f"closed by toxic {self.toxic.name}")


TOXICS: Mapping[str, type[Stage]] = {
    toxic.type: toxic
    for toxic in (Noop, Latency, Bandwidth, SlowClose, Timeout, ResetPeer, Slicer, LimitData)
}
