"""The events and faults of a scenario's record."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final

from vault_harness.judge.report.kinds import CUT, LATE, REFUSED, SILENT

Record = Mapping[str, Any]
Event = Mapping[str, Any]

CLOSING_ACT = "closing act"
"""The mark of the closing act. All scenarios are alike from it on, so later events do not count."""

WAYS: Final[Mapping[str, str]] = {
    "network down": REFUSED,
    "Vault gone behind its proxy": REFUSED,
    "server killed": REFUSED,
    "leader killed": REFUSED,
    "nobody takes connections": SILENT,
    "black hole": SILENT,
    "connection stalled": SILENT,
    "idle connections dead": SILENT,
    "server paused": SILENT,
    "leader paused": SILENT,
    "quorum lost": SILENT,
    "audit log blocked": SILENT,
    "answers truncated": CUT,
    "connections reset": CUT,
    "connections ended": CUT,
    "leader stepped down": CUT,
    "network slow": LATE,
    "network narrow": LATE,
    "answers drip": LATE,
}
"""What faults of the network, and of a server that does not answer, do to a request."""


def before_the_end(record: Record, events: str, at: str) -> list[Event]:
    """Return the events before the closing act."""
    marks = record.get("marks", ())
    end = next((mark["at"] for mark in marks if mark["text"] == CLOSING_ACT), inf)
    return [one for one in record.get(events, ()) if one[at] < end]


def faults_of(record: Record) -> list[Event]:
    """Return the faults before the closing act, in order."""
    return before_the_end(record, "faults", "began")


def way_of(fault: Event) -> str | None:
    """Return what a fault does to requests in transit, or None if it does nothing to them."""
    name = fault["name"]
    return REFUSED if name.endswith(" gone") else WAYS.get(name)


def meet(fault: Event, began: float, ended: float) -> bool:
    """Return whether a fault was active during an interval."""
    return bool(fault["began"] <= ended and began <= ended_of(fault))


def ended_of(event: Event) -> float:
    """Return when an event ended, in seconds from the beginning; infinity if nobody saw the end."""
    return inf if event["ended"] is None else float(event["ended"])


def is_good(exchange: Event) -> bool:
    """Return whether Vault did what was asked and its answer reached the client."""
    status, by = exchange["status"], exchange["by"]
    return status is not None and status < 300 and by == "vault" and exchange["closed"] is None
