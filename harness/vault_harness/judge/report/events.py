"""Name the kinds of requests and what happens to them; read events and faults of a record."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final

# Requests, and what carries them

FIRST_LOGIN: Final = "first login"
LOGIN: Final = "later login"
UNWRAP: Final = "unwrapping of a secret-id"
LOOKUP: Final = "token lookup"
RENEW: Final = "token renewal"
REVOKE: Final = "token revocation"
READ: Final = "read"
WRITE: Final = "write"
METADATA: Final = "metadata"
CREDENTIAL: Final = "credential"
LEASE_RENEWAL: Final = "lease renewal"
LEASE_END: Final = "lease revocation"
CAPABILITIES: Final = "capabilities"
HEALTH: Final = "health"
CONNECTION: Final = "new connection"
KEPT: Final = "kept connection"
HANDSHAKE: Final = "TLS handshake"
NO_REQUEST: Final = "no request"

CARRIERS: Final = (CONNECTION, KEPT, HANDSHAKE)

ASKED: Final = (
    FIRST_LOGIN,
    LOGIN,
    UNWRAP,
    LOOKUP,
    RENEW,
    REVOKE,
    READ,
    WRITE,
    METADATA,
    CREDENTIAL,
    LEASE_RENEWAL,
    LEASE_END,
    CAPABILITIES,
    HEALTH,
)

# What can happen to a request

REFUSED: Final = "refused"
SILENT: Final = "silent"
CUT: Final = "cut off"
LATE: Final = "late"
LOST: Final = "done, answer lost"
GOODBYE: Final = "goodbye"

REDIRECT: Final = "redirect"
PAGE: Final = "200 of another"
FOREIGN_NO: Final = "4xx of another"
GATEWAY: Final = "502, 504"
LAGS: Final = "412"
FULL: Final = "429"
FULL_UNTIL: Final = "429, Retry-After"

AWAY: Final = "503"
FAILED: Final = "500"
WRONG: Final = "400"
DEAD: Final = "403, dead token"
DENIED: Final = "403, denied"
MISSING: Final = "404"
SHORTER: Final = "shorter life"

ON_THE_WAY: Final = (REFUSED, SILENT, CUT, LATE, LOST, GOODBYE)
NOT_BY_VAULT: Final = (REDIRECT, PAGE, FOREIGN_NO, GATEWAY, LAGS, FULL, FULL_UNTIL)
BY_VAULT: Final = (AWAY, FAILED, WRONG, DEAD, DENIED, MISSING, SHORTER)

# What happens to no request

CLOCK: Final = "the client's clock is set"
STOPPED: Final = "the client's process stands still"
CHANGED: Final = "a secret is changed"
DELETED: Final = "a secret is deleted"
EXCHANGED: Final = "a secret-id, JWT or token is exchanged"
RIGHTS: Final = "a role or policy is changed"
MOVED: Final = "Vault's name moves"

MEETING_NONE: Final = (CLOCK, STOPPED, CHANGED, DELETED, EXCHANGED, RIGHTS, MOVED)


Record = Mapping[str, Any]
Event = Mapping[str, Any]

CLOSING_ACT = "closing act"
"""A mark. From there on all scenarios are alike, so later events do not count."""

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
"""What faults of the network, and of a silent server, do to a request."""


def before_the_end(record: Record, events: str, at: str) -> list[Event]:
    marks = record.get("marks", ())
    end = next((mark["at"] for mark in marks if mark["text"] == CLOSING_ACT), inf)
    return [one for one in record.get(events, ()) if one[at] < end]


def faults_of(record: Record) -> list[Event]:
    return before_the_end(record, "faults", "began")


def way_of(fault: Event) -> str | None:
    """Return what a fault does to requests in transit, or None for nothing."""
    name = fault["name"]
    return REFUSED if name.endswith(" gone") else WAYS.get(name)


def meet(fault: Event, began: float, ended: float) -> bool:
    return bool(fault["began"] <= ended and began <= ended_of(fault))


def ended_of(event: Event) -> float:
    """Return seconds from the beginning; infinity if nobody saw the end."""
    return inf if event["ended"] is None else float(event["ended"])


def is_good(exchange: Event) -> bool:
    """Return whether a request succeeded at Vault and its answer reached the client."""
    status, by = exchange["status"], exchange["by"]
    return status is not None and status < 300 and by == "vault" and exchange["closed"] is None
