"""``reset_peer``: ends connections with a TCP reset."""

from __future__ import annotations

from vault_harness.toxiproxy.server.toxics._stage import Stage


class ResetPeer(Stage):
    """Drops the first chunk (or the end of the stream), waits, and closes with RST to both peers.

    Attributes:
        timeout: Milliseconds between the first chunk and the reset.

    RST is sent only on connections that were *opened* while the toxic existed, and then on every
    close of such a connection, whatever the toxicity and even after the toxic is gone. On older
    connections the peers see a plain end of stream. An idle connection is never reset.

    Unlike upstream's, the wait can be interrupted: a change starts the new wait afresh, and removal
    lets the connection live, without the dropped chunk.
    """

    type = "reset_peer"
    fields = ("timeout",)
    resets = True
    __slots__ = ("armed",)

    def begin(self) -> None:
        """Go on waiting if a chunk has been dropped already."""
        if getattr(self, "armed", False):
            self._arm()
        else:
            self.armed = False

    def work(self, data: bytes, when: float) -> None:  # noqa: ARG002 - dropped
        """Drop the chunk and start the wait."""
        self._arm()

    def ending(self) -> None:
        """The end of the stream counts as a chunk."""
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
