"""``slow_close``: delays the end of the stream."""

from __future__ import annotations

from vault_harness.toxiproxy.server.toxics._stage import Stage


class SlowClose(Stage):
    """Delays the end of the stream that travels in its own direction; data passes at once.

    Attributes:
        delay: Milliseconds. Changing it during the wait starts the new delay afresh; removing the
            toxic ends the wait.
    """

    type = "slow_close"
    fields = ("delay",)
    __slots__ = ()

    def work(self, data: bytes, when: float) -> None:
        """Hand the chunk on."""
        self.emit(data, when)

    def ending(self) -> None:
        """Wait, then pass the end on."""
        delay = self.toxic.values["delay"]
        if delay <= 0:
            self.finish()
        elif not self.busy:
            self.touch()
            self.wait(delay / 1000, self.finish)
