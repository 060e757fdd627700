"""``timeout``: swallows all data, and closes the connection when none comes any more."""

from __future__ import annotations

from vault_harness.toxiproxy.server.toxics._stage import Stage


class Timeout(Stage):
    """Drops every chunk of its direction, and closes the connection when none comes any more.

    Attributes:
        timeout: Milliseconds *without a chunk*: each chunk that arrives starts the time anew. Zero
            or less never closes: a black hole.

    The other direction keeps working. Removing the toxic closes every connection of its direction,
    even those that it did not act on; setting its toxicity to 0 lifts it without closing.
    """

    type = "timeout"
    fields = ("timeout",)
    closes_when_removed = True
    __slots__ = ()

    def begin(self) -> None:
        """Start the clock."""
        self._cancel()
        timeout = self.toxic.values["timeout"]
        if timeout > 0:
            self.timer = self.host.loop.call_later(timeout / 1000, self._expire)

    def work(self, data: bytes, when: float) -> None:  # noqa: ARG002 - dropped
        """Drop the chunk and start the clock anew."""
        self.touch()
        self.begin()

    def _expire(self) -> None:
        self.timer = None
        self.touch()
        self.close(f"closed by toxic {self.toxic.name}")
