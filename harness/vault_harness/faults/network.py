"""Faults of the network between client and Vault, made by Toxiproxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Literal

from vault_harness.faults._fault import Fault, Journal, Signature
from vault_harness.toxiproxy import (
    Attributes,
    Bandwidth,
    Latency,
    LimitData,
    Proxy,
    ResetPeer,
    Slicer,
    Timeout,
)

Stream = Literal["upstream", "downstream"]
"""``upstream`` carries the client's requests, ``downstream`` Vault's answers."""


class NetworkFaults:
    """What can happen to one proxy's connections.

    Toxics act on open connections too, except `resets`, which acts on those opened after it.

    Args:
        proxy: The Toxiproxy proxy that the client goes through.
        journal: Where faults are noted.
    """

    def __init__(self, proxy: Proxy, journal: Journal) -> None:
        self._proxy = proxy
        self._journal = journal

    @contextmanager
    def down(self) -> Iterator[Fault]:
        """Open connections end, new ones are refused."""
        self._proxy.disable()
        fault = self._journal.begin_fault(
            "network down", Signature(unanswered=True, answers_late=inf)
        )
        try:
            yield fault
        finally:
            self._proxy.enable()
            self._journal.end_fault(fault)

    @contextmanager
    def black_hole(
        self, *, closes_after: float = 0.0, stream: Stream = "downstream"
    ) -> Iterator[Fault]:
        """Bytes of one direction vanish; connections stay open, and are closed afterwards.

        Args:
            closes_after: Seconds after which each connection ends even before; 0 means never.
            stream: Which direction.
        """
        toxic = Timeout(timeout=int(closes_after * 1000))
        with self._toxic("black hole", toxic, stream, late=None) as fault:
            yield fault

    @contextmanager
    def stalled(self, *, stream: Stream = "downstream") -> Iterator[Fault]:
        """Nothing gets through; what was held is delivered afterwards on the same connections."""
        with self._toxic("connection stalled", Bandwidth(rate=0), stream, late=None) as fault:
            yield fault

    @contextmanager
    def drip(self, *, pause: float, stream: Stream = "downstream") -> Iterator[Fault]:
        """One byte at a time, `pause` seconds apart: no single read ever times out."""
        toxic = Slicer(average_size=1, size_variation=0, delay=int(pause * 1_000_000))
        with self._toxic("answers drip", toxic, stream, late=None) as fault:
            yield fault

    @contextmanager
    def slow(
        self, *, latency: float, jitter: float = 0.0, stream: Stream = "downstream"
    ) -> Iterator[Fault]:
        """Each chunk arrives `latency` seconds late, give or take `jitter` seconds."""
        toxic = Latency(latency=int(latency * 1000), jitter=int(jitter * 1000))
        late, most = (latency - jitter) / 2, latency + jitter
        with self._toxic("network slow", toxic, stream, late=late, answers_late=most) as fault:
            yield fault

    @contextmanager
    def narrow(self, *, rate: int, stream: Stream = "downstream") -> Iterator[Fault]:
        """At most `rate` kilobytes a second."""
        with self._toxic("network narrow", Bandwidth(rate=rate), stream, late=None) as fault:
            yield fault

    @contextmanager
    def truncated(self, *, after: int, stream: Stream = "downstream") -> Iterator[Fault]:
        """Connections end after `after` bytes, most often in the middle of an answer."""
        with self._toxic("answers truncated", LimitData(bytes=after), stream, late=None) as fault:
            yield fault

    @contextmanager
    def resets(
        self, *, after: float = 0.0, toxicity: float = 1.0, stream: Stream = "downstream"
    ) -> Iterator[Fault]:
        """Connections opened from now on are reset at their first chunk, or `after` s later."""
        toxic = ResetPeer(timeout=int(after * 1000))
        with self._toxic("connections reset", toxic, stream, late=None, toxicity=toxicity) as fault:
            yield fault

    def drop_connections(self) -> None:
        """End all open connections once (EOF); new ones work. Not a fault, a push."""
        self._proxy.disable()
        self._proxy.enable()

    @contextmanager
    def _toxic(
        self,
        name: str,
        toxic: Attributes,
        stream: Stream,
        *,
        late: float | None,
        answers_late: float = inf,
        toxicity: float = 1.0,
    ) -> Iterator[Fault]:
        fault: Fault | None = None
        try:
            with self._proxy.toxic(toxic, stream=stream, toxicity=toxicity) as live:
                signature = Signature(
                    unanswered=True,
                    late=late,
                    toxics=frozenset({live.name}),
                    answers_late=answers_late,
                )
                fault = self._journal.begin_fault(
                    name, signature, {"toxic": live.name, "stream": stream}
                )
                yield fault
        finally:
            # Once it is gone: what is promised for the time after a fault can be asked from here.
            if fault is not None:
                self._journal.end_fault(fault)
