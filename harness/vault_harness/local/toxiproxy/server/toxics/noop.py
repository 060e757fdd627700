"""``noop``: passes everything on."""

from __future__ import annotations

from vault_harness.local.toxiproxy.server.toxics.stage import Stage


class Noop(Stage):
    """Does nothing. Useful as a place holder and to measure the cost of a chain.

    Attributes: none.
    """

    type = "noop"
    __slots__ = ()

    def work(self, data: bytes, when: float) -> None:
        """Pass the chunk on."""
        self.emit(data, when)
