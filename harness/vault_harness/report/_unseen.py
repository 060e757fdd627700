"""What faults did to requests that came to nobody, by what a client did meanwhile or had to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import Final

from vault_harness.report._events import (
    Event,
    Record,
    before_the_end,
    ended_of,
    is_good,
    meet,
    way_of,
)
from vault_harness.report._kinds import (
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
from vault_harness.scenario.vacuity import WAITED_OUT

_CALLS: Final[Mapping[str, str]] = {
    "read": READ,
    "read_cached": READ,
    "read_all": READ,
    "write": WRITE,
    "lease": CREDENTIAL,
    "start": FIRST_LOGIN,
}
"""For what a call asks that fails where nobody could see its request. A change reads, and writes;
how well a client says that it is, it says without any request.
"""


def unseen(record: Record, fault: Event) -> Iterator[tuple[str, str]]:
    """What a fault did to requests that nobody saw."""
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
            yield LOGIN, way  # a call that needs a token, and there is none
        if _closes_within(record, fault):
            yield REVOKE, way


def _first_of_all(record: Record, call: Event) -> str | None:
    """What a call needs before anything else, where nobody has a token yet since the start."""
    verb, number, operations = call["verb"], call["instance"], record["operations"]
    start = (
        call
        if verb == "start"
        else next(
            (one for one in operations if one["verb"] == "start" and one["number"] == number), None
        )
    )
    if start is None:
        return None  # nobody knows
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
    """Whether a call fails beside a fault, or is held up by it."""
    if call["outcome"] in ("unavailable", "error", "hung", "stale") or call["value"] == "fallback":
        return True
    waited = min(ended_of(call), ended_of(fault)) - max(call["began"], fault["began"])
    return way != CUT and waited >= WAITED_OUT


def _due(record: Record, fault: Event) -> Iterator[str]:
    """What a client had to renew in a fault in which nothing gets through.

    By the largest share of a life that it has waited with such a renewal in this scenario, or with
    one of the other kind if there was none. What was renewed before the fault was not due in it.
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
                share = (one["began"] - ended_of(before)) / before["ttl"]  # nothing held it up
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
    """When the life of the last token ends that was granted before a fault; never, if none was."""
    grants = [
        one
        for one in record["exchanges"]
        if one["kind"] in ("login", "renew") and is_good(one) and one["began"] < fault["began"]
    ]
    return max((ended_of(one) + (one["ttl"] or inf) for one in grants), default=inf)


def _closes_within(record: Record, fault: Event) -> bool:
    """Whether the client ends within a fault; it has a token to give back then."""
    end = ended_of(fault)
    return any(
        call["verb"] == "close" and fault["began"] <= call["began"] and ended_of(call) <= end
        for call in before_the_end(record, "operations", "began")
    ) and any(one["kind"] == "login" and is_good(one) for one in record["exchanges"])
