"""Name the requests of a record, and find what happened to them.

The recorder saw most of it. The rest is inferred from the client's calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from math import inf
from typing import Any, Final

from vault_harness.judge.conditions import WAITED_OUT

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


HUNG = 1.0
"""Seconds after which a lost answer counts as silence too."""

NEAR = 0.1
"""Seconds between Toxiproxy's and the recorder's opening of the same connection, at most."""

_GIVEN_UP: Final[Mapping[str, str]] = {REFUSED: CUT, SILENT: SILENT, CUT: CUT, LATE: SILENT}
"""What the fault did to a request that reached the recorder and got no answer."""

_FOR: Final[Mapping[str, str]] = {
    "lookup": LOOKUP,
    "renew": RENEW,
    "revoke": REVOKE,
    "capabilities": CAPABILITIES,
    "unwrap": UNWRAP,
    "credential": CREDENTIAL,
    "read": READ,
    "write": WRITE,
    "metadata": METADATA,
    "status": HEALTH,
}

_LOST = re.compile(r" lost(?=,| after| #|$)")
_LATE = re.compile(r" s late(?= #|$)")
_GOODBYE = " says goodbye"
_IN_VAULTS_PLACE = re.compile(r" answered 2\d\d(?= #|$)")
_DENIED = "1 error occurred"
"""Vault's error begins so where a policy denies a request with a living token."""


def met(record: Record) -> Iterator[tuple[str, str]]:
    granted: dict[str, float] = {}
    for exchange in before_the_end(record, "exchanges", "began"):
        asked = asked_by(record, exchange)
        if asked is None:
            continue
        for what in chain(_answered(record, exchange, asked), _through(record, exchange)):
            yield asked, what
        whose = exchange["credential" if "lease" in asked or asked == CREDENTIAL else "token"]
        if exchange["ttl"] is None or whose is None or not is_good(exchange):
            continue
        # Vault counts whole seconds: a difference of one second is no shorter life.
        if exchange["ttl"] < granted.setdefault(whose, exchange["ttl"]) - 1.0:
            yield asked, SHORTER


def asked_by(record: Record, exchange: Event) -> str | None:
    kind, path = exchange["kind"], exchange["path"]
    if kind == "login":
        return FIRST_LOGIN if _is_first(record, exchange) else LOGIN
    if kind == "lease":
        return LEASE_RENEWAL if "renew" in path else LEASE_END if "revoke" in path else None
    if kind == "other":
        return UNWRAP if path.startswith("sys/wrapping/") else None
    return _FOR.get(kind)


def _is_first(record: Record, login: Event) -> bool:
    """Another client may start during the login."""
    starts = [
        call["began"]
        for call in record.get("operations", ())
        if call["verb"] == "start" and call["began"] <= login["began"]
    ]
    since = max(starts, default=0.0)
    return not any(
        one["kind"] == "login"
        and is_good(one)
        and since <= one["began"]
        and ended_of(one) <= login["began"]
        for one in record["exchanges"]
    )


def _answered(record: Record, exchange: Event, asked: str) -> Iterator[str]:
    acted, took = exchange["interference"] or "", ended_of(exchange) - exchange["began"]
    ways = {
        way
        for fault in faults_of(record)
        if meet(fault, exchange["began"], ended_of(exchange))
        if (way := way_of(fault))
    }
    lost = bool(_LOST.search(acted))
    if lost:
        yield LOST
    if _GOODBYE in acted:
        yield GOODBYE
    if exchange["status"] is not None and exchange["closed"] is None:
        yield from _told(exchange, asked, acted)
        if took >= WAITED_OUT and (_LATE.search(acted) or ways & {SILENT, LATE}):
            yield LATE
    elif lost or _LATE.search(acted):
        if took >= HUNG:
            yield SILENT
    else:
        yield from (_GIVEN_UP[way] for way in ways)


def _told(exchange: Event, asked: str, acted: str) -> Iterator[str]:
    status, in_vaults_place = exchange["status"], exchange["by"] != "vault"
    if status < 300:
        if in_vaults_place and _IN_VAULTS_PLACE.search(acted):
            yield PAGE
    elif status < 400:
        yield REDIRECT
    elif status == 412:
        yield LAGS
    elif status == 429:
        yield FULL if exchange["retry_after"] is None else FULL_UNTIL
    elif status >= 500:
        yield GATEWAY if status in (502, 504) else AWAY if status == 503 else FAILED
    elif in_vaults_place:
        yield FOREIGN_NO
    elif status == 404:
        yield MISSING
    elif status == 403:
        denied = any(_DENIED in error for error in exchange["errors"])
        yield DENIED if denied or asked in (FIRST_LOGIN, LOGIN) else DEAD
    else:
        yield WRONG


def _through(record: Record, exchange: Event) -> Iterator[str]:
    """Yield what a toxic did to a request that Vault has answered, or to its answer."""
    for fault in faults_of(record):
        toxic, way = fault["detail"].get("toxic"), way_of(fault)
        if toxic is None or way is None or not _is_touched(record, exchange, toxic):
            continue
        if fault["detail"].get("stream") == "downstream":
            at = exchange["ended"]
        else:
            at = exchange["began"] if way == LATE else None  # a silenced request does not get here
        if at is None or not fault["began"] <= at <= ended_of(fault):
            continue
        if way != CUT or _is_last(record, exchange):  # later requests show that it was not cut
            yield way


def _is_touched(record: Record, exchange: Event, toxic: str) -> bool:
    opened = record["connections"][exchange["connection"] - 1]
    return any(
        touch["toxic"] == toxic and abs(opened - touch["opened"]) <= NEAR
        for touch in record["touches"]
    )


def _is_last(record: Record, exchange: Event) -> bool:
    return not any(
        one["connection"] == exchange["connection"] and one["number"] > exchange["number"]
        for one in record["exchanges"]
    )


_CALLS: Final[Mapping[str, str]] = {
    "read": READ,
    "read_cached": READ,
    "read_all": READ,
    "write": WRITE,
    "lease": CREDENTIAL,
    "static": CREDENTIAL,
    "start": FIRST_LOGIN,
}
"""For each call that failed unseen, the request behind it.

A change reads and writes, and a client may report its health without a request.
"""


def unseen(record: Record, fault: Event) -> Iterator[tuple[str, str]]:
    """Yield what a fault did to requests that never reached the recorder."""
    way = way_of(fault)
    if way is None:
        return
    calls = [
        call
        for call in before_the_end(record, "operations", "began")
        if meet(fault, call["began"], ended_of(call))
    ]
    for call in calls:
        if (asked := _CALLS.get(call["verb"])) and _suffers(call, fault, way):
            yield _first_of_all(record, call) or asked, way
    if way == REFUSED or fault["detail"].get("stream") == "upstream":
        yield from ((asked, way) for asked in _due(record, fault))
        over = _over(record, fault)
        if any(call["began"] >= over and _suffers(call, fault, way) for call in calls):
            yield LOGIN, way  # the call needs a token, and the last token has expired
        if _closes_within(record, fault):
            yield REVOKE, way


def _first_of_all(record: Record, call: Event) -> str | None:
    """Return None if a login has succeeded since the start."""
    verb, number, operations = call["verb"], call["instance"], record["operations"]
    start = (
        call
        if verb == "start"
        else next(
            (one for one in operations if one["verb"] == "start" and one["number"] == number), None
        )
    )
    if start is None:
        return None
    since = [
        one["kind"]
        for one in record["exchanges"]
        if start["began"] <= one["began"] <= call["began"] and is_good(one)
    ]
    if "login" in since:
        return None
    wrapped = any(mark["text"].startswith("wrapping-") for mark in record.get("marks", ()))
    return UNWRAP if wrapped and "unwrap" not in since else FIRST_LOGIN


def _suffers(call: Event, fault: Event, way: str) -> bool:
    if call["outcome"] in ("unavailable", "error", "hung", "stale") or call["value"] == "fallback":
        return True
    waited = min(ended_of(call), ended_of(fault)) - max(call["began"], fault["began"])
    return way != CUT and waited >= WAITED_OUT


def _due(record: Record, fault: Event) -> Iterator[str]:
    """Yield what a client had to renew while nothing got through.

    A renewal is due after the largest share of a life after which the client renewed in this
    scenario. If it never renewed tokens, leases count, and the reverse.
    """
    shares: dict[str, float] = {}
    lasts: dict[str, Event] = {}
    for asked, whose, grants in (
        (RENEW, "token", ("login", "renew")),
        (LEASE_RENEWAL, "credential", ("credential", "lease")),
    ):
        last_of: dict[str, Event] = {}
        given: list[Event] = []
        for one in before_the_end(record, "exchanges", "began"):
            if one["kind"] not in grants or not one["ttl"] or not is_good(one):
                continue
            before = last_of.get(one[whose])
            if before is not None and not meet(fault, ended_of(before), one["began"]):
                share = (one["began"] - ended_of(before)) / before["ttl"]  # no fault delayed it
                shares[asked] = max(shares.get(asked, 0.0), share)
            last_of[one[whose]] = one
            if one["began"] < fault["began"]:
                given.append(one)
        if given:
            lasts[asked] = max(given, key=ended_of)
    for asked, last in lasts.items():
        share = shares.get(asked, max(shares.values(), default=0.0))
        due = ended_of(last) + min(share, 1.0) * last["ttl"]
        if share and fault["began"] < due < ended_of(fault):
            yield asked


def _over(record: Record, fault: Event) -> float:
    """Return when the last token granted before a fault expires; infinity if there is none."""
    grants = [
        one
        for one in record["exchanges"]
        if one["kind"] in ("login", "renew") and is_good(one) and one["began"] < fault["began"]
    ]
    return max((ended_of(one) + (one["ttl"] or inf) for one in grants), default=inf)


def _closes_within(record: Record, fault: Event) -> bool:
    end = ended_of(fault)
    return any(
        call["verb"] == "close" and fault["began"] <= call["began"] and ended_of(call) <= end
        for call in before_the_end(record, "operations", "began")
    ) and any(one["kind"] == "login" and is_good(one) for one in record["exchanges"])
