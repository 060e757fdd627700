"""``timeout``: drops all data, and closes the connection after a time without data."""

from __future__ import annotations

from vault_harness.local.toxiproxy.server.toxics.stage import Stage


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
        """Start the timer."""
        self._cancel()
        timeout = self.toxic.values["timeout"]
        if timeout > 0:
            self.timer = self.host.loop.call_later(timeout / 1000, self._expire)

    def work(self, data: bytes, when: float) -> None:  # noqa: ARG002 - dropped
        """Drop the chunk and restart the timer."""
        self.touch()
        self.begin()

    def _expire(self) -> None:
        self.timer = None
        self.touch()
        self.close(f"closed by toxic {self.toxic.name}")
