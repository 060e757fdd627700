"""``bandwidth``: limits throughput."""

from __future__ import annotations

from collections.abc import Mapping

from vault_harness.local.toxiproxy.server.toxics.stage import InvalidAttributes, Stage, now

SLICE = 0.1
"""Seconds between the parts of a long chunk."""
RESOLUTION = 0.001
"""Seconds. Timers are no finer, so a shorter wait is carried over to the next chunk."""


class Bandwidth(Stage):
    """Limits throughput to ``rate`` kilobytes a second.

    Attributes:
        rate: Kilobytes (1000 bytes) a second. 0 passes nothing on, keeps the connection open, and
            delivers the data when the rate rises or the toxic is removed. Negative values are
            refused: they kill upstream's process.

    A long chunk goes out in parts, one every 100 ms, each of a tenth of the rate. Timer errors are
    carried over, so the mean rate is exact.
    """

    type = "bandwidth"
    fields = ("rate",)
    __slots__ = ("debt", "since")

    @classmethod
    def check(cls, values: Mapping[str, int]) -> None:
        """Refuse a negative rate."""
        if values["rate"] < 0:
            raise InvalidAttributes("rate must not be negative")

    def begin(self) -> None:
        """Start without a debt."""
        self.debt = 0.0  # seconds to wait for the data that was accepted
        self.since = now()

    def work(self, data: bytes, when: float) -> None:
        """Send the chunk in parts, each at its time."""
        self.touch()
        self.current = (data, when)
        rate = self.toxic.values["rate"]
        moment = now()
        if self.debt > 0:
            # The time since the last chunk counts, but idle time gives no credit.
            self.debt = max(0.0, self.debt - (moment - self.since))
        self.since = moment
        if rate == 0:
            self.busy = True  # until an interrupt
            return
        self.debt += len(data) / (rate * 1000)
        self._next_part()

    def _next_part(self) -> None:
        if self.current is None:
            return
        if len(self.current[0]) > self.toxic.values["rate"] * 100:
            self.wait(SLICE, self._part_due)
        elif self.debt > RESOLUTION:
            self.wait(self.debt, self._rest_due)
        else:
            self._rest_due()

    def _pay(self) -> None:
        moment = now()
        self.debt -= moment - self.since
        self.since = moment

    def _part_due(self) -> None:
        if self.current is None:
            return
        data, when = self.current
        part = self.toxic.values["rate"] * 100
        self.current = (data[part:], when)
        self._pay()
        self.emit(data[:part], when)
        if not self.closed:
            self._next_part()

    def _rest_due(self) -> None:
        if self.busy:
            self._pay()
        held, self.current = self.current, None
        if held is not None:
            self.emit(*held)
        if self.busy and not self.closed:
            self.done()
