"""What faults did to requests that nobody saw, inferred from what a client did or had to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import Final

from vault_harness.judge.conditions import WAITED_OUT
from vault_harness.judge.report.events import (
    Event,
    Record,
    before_the_end,
    ended_of,
    is_good,
    meet,
    way_of,
)
from vault_harness.judge.report.kinds import (
    CREDENTIAL,
    CUT,
    FIRST_LOGIN,
    LEASE_RENEWAL,
    LOGIN,
    READ,
    REFUSED,
    RENEW,
    REVOKE,
    UNWRAP,
    WRITE,
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
"""The request behind a call that failed unseen.

A change is left out: it reads and writes. So is health: a client reports it without a request.
"""


def unseen(record: Record, fault: Event) -> Iterator[tuple[str, str]]:
    """Yield what a fault did to requests that nobody saw."""
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
            yield LOGIN, way  # the call needs a token, and the last one has expired
        if _closes_within(record, fault):
            yield REVOKE, way


def _first_of_all(record: Record, call: Event) -> str | None:
    """Return what a call needs first, if no login has succeeded since the start."""
    verb, number, operations = call["verb"], call["instance"], record["operations"]
    start = (
        call
        if verb == "start"
        else next(
            (one for one in operations if one["verb"] == "start" and one["number"] == number), None
        )
    )
    if start is None:
        return None  # the start is unknown
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
    """Return whether a call fails during a fault, or waits for its end."""
    if call["outcome"] in ("unavailable", "error", "hung", "stale") or call["value"] == "fallback":
        return True
    waited = min(ended_of(call), ended_of(fault)) - max(call["began"], fault["began"])
    return way != CUT and waited >= WAITED_OUT


def _due(record: Record, fault: Event) -> Iterator[str]:
    """Yield what a client had to renew while nothing got through.

    The due time is the largest share of a life after which the client renewed in this scenario. If
    it never renewed that kind, the other kind counts.
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
    """Return whether a client with a token closes during a fault."""
    end = ended_of(fault)
    return any(
        call["verb"] == "close" and fault["began"] <= call["began"] and ended_of(call) <= end
        for call in before_the_end(record, "operations", "began")
    ) and any(one["kind"] == "login" and is_good(one) for one in record["exchanges"])
