"""The events of a scenario, as its record has them, and the faults among them."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final

from vault_harness.report._kinds import CUT, LATE, REFUSED, SILENT

Record = Mapping[str, Any]
Event = Mapping[str, Any]

CLOSING_ACT = "closing act"
"""The mark from which on all scenarios are alike, so that nothing there counts for one."""

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
"""What faults of the way there, and of a server that gives no answer, do to a request."""


def before_the_end(record: Record, events: str, at: str) -> list[Event]:
    """What came before the closing act."""
    marks = record.get("marks", ())
    end = next((mark["at"] for mark in marks if mark["text"] == CLOSING_ACT), inf)
    return [one for one in record.get(events, ()) if one[at] < end]


def faults_of(record: Record) -> list[Event]:
    """The faults before the closing act, in order."""
    return before_the_end(record, "faults", "began")


def way_of(fault: Event) -> str | None:
    """What a fault does to requests on their way, if it does anything there."""
    name = fault["name"]
    return REFUSED if name.endswith(" gone") else WAYS.get(name)


def meet(fault: Event, began: float, ended: float) -> bool:
    """Whether a fault was there within that time."""
    return bool(fault["began"] <= ended and began <= ended_of(fault))


def ended_of(event: Event) -> float:
    """When it ended, in seconds from the beginning; never, if nobody saw that."""
    return inf if event["ended"] is None else float(event["ended"])


def is_good(exchange: Event) -> bool:
    """Whether Vault did what was asked, and its answer got to the client."""
    status, by = exchange["status"], exchange["by"]
    return status is not None and status < 300 and by == "vault" and exchange["closed"] is None
