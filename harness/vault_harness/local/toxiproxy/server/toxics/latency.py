"""``latency``: delays every chunk."""

from __future__ import annotations

from vault_harness.local.toxiproxy.server.toxics.stage import Stage, now


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
        """Wait for the rest of the delay."""
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
