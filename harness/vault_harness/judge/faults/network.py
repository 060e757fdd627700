"""Faults of the network between client and Vault, made by Toxiproxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Literal

from vault_harness.local.toxiproxy.client import Proxy
from vault_harness.local.toxiproxy.toxics import (
    Attributes,
    Bandwidth,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    Timeout,
)
from vault_harness.recorder.fault import Fault, FaultLog, Signature

Stream = Literal["upstream", "downstream"]
"""``upstream`` carries the client's requests, ``downstream`` Vault's answers."""


class NetworkFaults:
    """Faults of one proxy's connections.

    Toxics act on open connections too, except `resets`, which acts on later ones only.
    """

    def __init__(self, proxy: Proxy, log: FaultLog) -> None:
        self._proxy = proxy
        self._log = log

    @contextmanager
    def down(self) -> Iterator[Fault]:
        """End open connections, and refuse new ones."""
        self._proxy.disable()
        fault = self._log.begin_fault("network down", Signature(unanswered=True, answers_late=inf))
        try:
            yield fault
        finally:
            self._proxy.enable()
            self._log.end_fault(fault)

    @contextmanager
    def black_hole(
        self, *, closes_after: float = 0.0, stream: Stream = "downstream"
    ) -> Iterator[Fault]:
        """Let the bytes of one direction vanish; connections close at the end of the fault.

        ``closes_after`` ends each connection after that many seconds; 0 means never.
        """
        toxic = Timeout(timeout=int(closes_after * 1000))
        with self._toxic("black hole", toxic, stream, late=None) as fault:
            yield fault

    @contextmanager
    def stalled(self, *, stream: Stream = "downstream") -> Iterator[Fault]:
        """Let nothing through; the held bytes arrive afterwards on the same connections."""
        with self._toxic("connection stalled", Bandwidth(rate=0), stream, late=None) as fault:
            yield fault

    @contextmanager
    def drip(self, *, pause: float, stream: Stream = "downstream") -> Iterator[Fault]:
        """Send one byte at a time, `pause` seconds apart, so that no single read times out."""
        toxic = Slicer(average_size=1, size_variation=0, delay=int(pause * 1_000_000))
        with self._toxic("answers drip", toxic, stream, late=None) as fault:
            yield fault

    @contextmanager
    def slow(
        self, *, latency: float, jitter: float = 0.0, stream: Stream = "downstream"
    ) -> Iterator[Fault]:
        """Deliver each chunk `latency` seconds late, plus or minus `jitter` seconds."""
        toxic = Latency(latency=int(latency * 1000), jitter=int(jitter * 1000))
        late, most = (latency - jitter) / 2, latency + jitter
        with self._toxic("network slow", toxic, stream, late=late, answers_late=most) as fault:
            yield fault

    @contextmanager
    def narrow(self, *, rate: int, stream: Stream = "downstream") -> Iterator[Fault]:
        """Limit the rate to `rate` kilobytes a second."""
        with self._toxic("network narrow", Bandwidth(rate=rate), stream, late=None) as fault:
            yield fault

    @contextmanager
    def truncated(self, *, after: int, stream: Stream = "downstream") -> Iterator[Fault]:
        """End connections after `after` bytes, usually in the middle of an answer."""
        with self._toxic("answers truncated", LimitData(bytes=after), stream, late=None) as fault:
            yield fault

    @contextmanager
    def resets(
        self, *, after: float = 0.0, toxicity: float = 1.0, stream: Stream = "downstream"
    ) -> Iterator[Fault]:
        """Reset later connections at their first chunk, or `after` seconds later."""
        toxic = ResetPeer(timeout=int(after * 1000))
        with self._toxic("connections reset", toxic, stream, late=None, toxicity=toxicity) as fault:
            yield fault

    def drop_connections(self) -> None:
        """End all open connections once (EOF); new ones work. This is not noted as a fault."""
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
                fault = self._log.begin_fault(
                    name, signature, {"toxic": live.name, "stream": stream}
                )
                yield fault
        finally:
            # After the toxic is gone, since promises about the time after a fault count from here.
            if fault is not None:
                self._log.end_fault(fault)
