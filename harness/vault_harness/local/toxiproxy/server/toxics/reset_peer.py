"""``reset_peer``: ends connections with a TCP reset."""

from __future__ import annotations

from vault_harness.local.toxiproxy.server.toxics.stage import Stage


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
        """Drop the chunk and start the wait."""
        self._arm()

    def ending(self) -> None:
        """Treat the end of the stream as a chunk."""
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
