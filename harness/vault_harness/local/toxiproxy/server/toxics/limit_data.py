"""``limit_data``: closes the connection after a number of bytes."""

from __future__ import annotations

from vault_harness.local.toxiproxy.server.toxics.stage import Stage


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
        """Keep an earlier count."""
        self.passed = getattr(self, "passed", 0)

    def work(self, data: bytes, when: float) -> None:
        """Cut the chunk at the limit."""
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
