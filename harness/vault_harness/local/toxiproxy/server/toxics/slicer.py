"""``slicer``: cuts data into small pieces."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping

from vault_harness.local.toxiproxy.server.toxics.stage import InvalidAttributes, Stage, now

RESOLUTION = 0.001
"""Seconds. Timers are no finer."""


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
        """Refuse sizes that cannot be cut."""
        average, variation = values["average_size"], values["size_variation"]
        if average < 1:
            raise InvalidAttributes("average_size must be at least 1: pieces of no bytes never end")
        if not 0 <= variation <= average:
            raise InvalidAttributes("size_variation must be between 0 and average_size")

    def work(self, data: bytes, when: float) -> None:
        """Cut, and send the first piece."""
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
        """Pass the rest on as one piece."""
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
            # Too short for a timer, so check again in the next round of the loop.
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
