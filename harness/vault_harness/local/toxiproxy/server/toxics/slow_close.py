"""``slow_close``: delays the end of the stream."""

from __future__ import annotations

from vault_harness.local.toxiproxy.server.toxics.stage import Stage


class SlowClose(Stage):
    """Delays the end of the stream in its own direction; data passes at once.

    Attributes:
        delay: Milliseconds. A change during the wait restarts it; a removal ends it.
    """

    type = "slow_close"
    fields = ("delay",)
    __slots__ = ()

    def work(self, data: bytes, when: float) -> None:
        """Pass the chunk on."""
        self.emit(data, when)

    def ending(self) -> None:
        """Wait, then pass on the end."""
        delay = self.toxic.values["delay"]
        if delay <= 0:
            self.finish()
        elif not self.busy:
            self.touch()
            self.wait(delay / 1000, self.finish)
