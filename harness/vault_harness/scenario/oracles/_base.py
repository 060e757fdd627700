"""What all oracles share: their shape, and what is granted to a busy machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vault_harness.scenario.history import Exchange, History, Operation
from vault_harness.scenario.verdict import Finding

TOLERANCE = 1.0

STORM_PEAK = 5
"""Requests a second that a client may send while a fault lasts, beyond its callers' own."""

Oracle = Callable[[History], list[Finding]]


def times(events: Iterable[Exchange | Operation], most: int = 6) -> str:
    """When those began, for a finding: the first `most` of them."""
    shown = [f"+{event.began:.2f}" for event in events]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")
