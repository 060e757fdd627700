"""``noop``: passes everything on."""

from __future__ import annotations

from collections.abc import Mapping

from vault_harness.toxiproxy.server.toxics._stage import Stage


class Noop(Stage):
    """Does nothing; useful as a place holder and to measure the cost of a chain.

    Attributes: none.
    """

    type = "noop"
    __slots__ = ()

    @classmethod
    def transparent(cls, values: Mapping[str, int]) -> bool:  # noqa: ARG003 - of any values
        """Always."""
        return True

    @classmethod
    def inert(cls, values: Mapping[str, int]) -> bool:  # noqa: ARG003 - of any values
        """Always."""
        return True

    def work(self, data: bytes, when: float) -> None:
        """Hand the chunk on."""
        self.emit(data, when)
