"""What happened to which kind of request in a scenario: pairs of both, read from its record.

Most of it was seen by the recorder: a status, an answer that was lost, came late or never. Of what
did not get so far, as where connections are refused, the call tells that failed for it meanwhile,
or the time at which a renewal was due.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from math import inf
from typing import Any, Final

from vault_harness.report._kinds import (
    AWAY,
    CAPABILITIES,
    CHANGED,
    CLOCK,
    CONNECTION,
    CREDENTIAL,
    CUT,
    DEAD,
    DELETED,
    DENIED,
    EXCHANGED,
    FAILED,
    FIRST_LOGIN,
    FOREIGN_NO,
    FULL,
    FULL_UNTIL,
    GATEWAY,
    GOODBYE,
    HANDSHAKE,
    HEALTH,
    KEPT,
    LAGS,
    LATE,
    LEASE_END,
    LEASE_RENEWAL,
    LOGIN,
    LOOKUP,
    LOST,
    METADATA,
    MISSING,
    MOVED,
    NO_REQUEST,
    PAGE,
    READ,
    REDIRECT,
    REFUSED,
    RENEW,
    REVOKE,
    RIGHTS,
    SHORTER,
    SILENT,
    STOPPED,
    THREADS,
    UNWRAP,
    WRITE,
    WRONG,
)
from vault_harness.scenario.vacuity import WAITED_OUT

Record = Mapping[str, Any]
Event = Mapping[str, Any]

HUNG = 1.0
"""Seconds from which on one that is lost counts as silence as well."""

NEAR = 0.1
"""Seconds within which a connection of the recorder's is the one that Toxiproxy has just taken."""

CLOSING_ACT = "closing act"
"""The mark from which on all scenarios are alike, so that nothing there counts for one."""

_WAYS: Final[Mapping[str, str]] = {
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

_GIVEN_UP: Final[Mapping[str, str]] = {REFUSED: CUT, SILENT: SILENT, CUT: CUT, LATE: SILENT}
"""The same, to one that had come to the recorder and got no answer."""

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

_BELOW: Final[Mapping[str, str]] = {
    "client's clock set": CLOCK,
    "client paused": STOPPED,
    "client's threads ended": THREADS,
    "role changed": RIGHTS,
    "policy changed": RIGHTS,
}

_LOST = re.compile(r" lost(?=,| after| #|$)")
_LATE = re.compile(r" s late(?= #|$)")
_GOODBYE = " says goodbye"
_IN_VAULTS_PLACE = re.compile(r" answered 2\d\d(?= #|$)")
_DELIVERED = re.compile(r"(secret-id|jwt|token|wrapping)-\d+ delivered|secret-id rotated")
_DENIED = "1 error occurred"
"""How Vault begins where a policy denies what a living token asks for."""


def asked_in(record: Record) -> set[str]:
    """The kinds of requests that came to the recorder."""
    return {asked for one in record.get("exchanges", ()) if (asked := _asked(record, one))}


def touches_of(record: Record) -> set[tuple[str, str]]:
    """What happened in a scenario, up to its closing act: pairs of a request and what met it.

    Args:
        record: Of the scenario, as a journal has it.

    Raises:
        AttributeError, IndexError, KeyError, TypeError, ValueError: An event is of another form.
    """
    found = set(_met(record))
    for fault in _faults(record):
        found |= set(_unseen(record, fault))
    return found | set(_carried(record, found)) | {(NO_REQUEST, what) for what in _beside(record)}


# Seen


def _met(record: Record) -> Iterator[tuple[str, str]]:
    granted: dict[str, float] = {}
    for exchange in _before_the_end(record, "exchanges", "began"):
        asked = _asked(record, exchange)
        if asked is None:
            continue
        for what in chain(_answered(record, exchange, asked), _through(record, exchange)):
            yield asked, what
        whose = exchange["credential" if "lease" in asked or asked == CREDENTIAL else "token"]
        if exchange["ttl"] is None or whose is None or not _good(exchange):
            continue
        # Vault counts whole seconds, so that one less is no shorter life.
        if exchange["ttl"] < granted.setdefault(whose, exchange["ttl"]) - 1.0:
            yield asked, SHORTER


def _asked(record: Record, exchange: Event) -> str | None:
    kind, path = exchange["kind"], exchange["path"]
    if kind == "login":
        return FIRST_LOGIN if _is_first(record, exchange) else LOGIN
    if kind == "lease":
        return LEASE_RENEWAL if "renew" in path else LEASE_END if "revoke" in path else None
    if kind == "other":
        return UNWRAP if path.startswith("sys/wrapping/") else None
    return _FOR.get(kind)


def _is_first(record: Record, login: Event) -> bool:
    """Whether nobody was let in since a client started last; one may start meanwhile."""
    starts = [
        call["began"]
        for call in record.get("operations", ())
        if call["verb"] == "start" and call["began"] <= login["began"]
    ]
    since = max(starts, default=0.0)
    return not any(
        one["kind"] == "login"
        and _good(one)
        and since <= one["began"]
        and _ended(one) <= login["began"]
        for one in record["exchanges"]
    )


def _answered(record: Record, exchange: Event, asked: str) -> Iterator[str]:
    """What became of an answer, by what the recorder has seen of it."""
    acted, took = exchange["interference"] or "", _ended(exchange) - exchange["began"]
    ways = {
        way
        for fault in _faults(record)
        if _meet(fault, exchange["began"], _ended(exchange))
        if (way := _way(fault))
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
    """What a status says that the client has got."""
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
    """What a toxic did to a request that Vault has answered, or to its answer."""
    for fault in _faults(record):
        toxic, way = fault["detail"].get("toxic"), _way(fault)
        if toxic is None or way is None or not _is_touched(record, exchange, toxic):
            continue
        if fault["detail"].get("stream") == "downstream":
            at = exchange["ended"]
        else:
            at = exchange["began"] if way == LATE else None  # what vanishes does not come here
        if at is None or not fault["began"] <= at <= _ended(fault):
            continue
        if way != CUT or _is_last(record, exchange):  # whose connection goes on was not cut
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


# Unseen


def _unseen(record: Record, fault: Event) -> Iterator[tuple[str, str]]:
    """What a fault did to requests that nobody saw."""
    way = _way(fault)
    if way is None:
        return
    calls = [
        call
        for call in _before_the_end(record, "operations", "began")
        if _meet(fault, call["began"], _ended(call))
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
        if start["began"] <= one["began"] <= call["began"] and _good(one)
    ]
    if "login" in since:
        return None
    wrapped = any(mark["text"].startswith("wrapping-") for mark in record.get("marks", ()))
    return UNWRAP if wrapped and "unwrap" not in since else FIRST_LOGIN


def _suffers(call: Event, fault: Event, way: str) -> bool:
    """Whether a call fails beside a fault, or is held up by it."""
    if call["outcome"] in ("unavailable", "error", "hung", "stale") or call["value"] == "fallback":
        return True
    waited = min(_ended(call), _ended(fault)) - max(call["began"], fault["began"])
    return way != CUT and waited >= WAITED_OUT


def _due(record: Record, fault: Event) -> Iterator[str]:
    """What a client had to renew in a fault in which nothing gets through.

    By the longest that it has waited with such a renewal in this scenario, or by the end of that
    life. What was renewed before the fault was not due in it.
    """
    for asked, whose, grants in (
        (RENEW, "token", ("login", "renew")),
        (LEASE_RENEWAL, "credential", ("credential", "lease")),
    ):
        last_of: dict[str, Event] = {}
        given: list[Event] = []
        pace = 0.0
        for one in _before_the_end(record, "exchanges", "began"):
            if one["kind"] not in grants or not one["ttl"] or not _good(one):
                continue
            before = last_of.get(one[whose])
            if before is not None and not _meet(fault, _ended(before), one["began"]):
                pace = max(pace, one["began"] - _ended(before))  # as nothing held it up
            last_of[one[whose]] = one
            if one["began"] < fault["began"]:
                given.append(one)
        if pace and given:
            last = max(given, key=_ended)
            if fault["began"] < _ended(last) + min(pace, last["ttl"]) < _ended(fault):
                yield asked


def _over(record: Record, fault: Event) -> float:
    """When the life of the last token ends that was granted before a fault; never, if none was."""
    grants = [
        one
        for one in record["exchanges"]
        if one["kind"] in ("login", "renew") and _good(one) and one["began"] < fault["began"]
    ]
    return max((_ended(one) + (one["ttl"] or inf) for one in grants), default=inf)


def _closes_within(record: Record, fault: Event) -> bool:
    """Whether the client ends within a fault; it has a token to give back then."""
    end = _ended(fault)
    return any(
        call["verb"] == "close" and fault["began"] <= call["began"] and _ended(call) <= end
        for call in _before_the_end(record, "operations", "began")
    ) and any(one["kind"] == "login" and _good(one) for one in record["exchanges"])


# What carries requests, and what is no request


def _carried(record: Record, found: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """What happened to connections."""
    ways = {what for _, what in found}
    names = {fault["name"] for fault in _faults(record)}
    if REFUSED in ways:
        yield CONNECTION, REFUSED
    if "nobody takes connections" in names and SILENT in ways:
        yield CONNECTION, SILENT
    if "idle connections dead" in names and SILENT in ways:
        yield KEPT, SILENT
    if "connections ended" in names:
        yield KEPT, CUT
    if GOODBYE in ways:
        yield KEPT, GOODBYE
    if any(_by_words(one["refused"]) for one in _before_the_end(record, "handshakes", "at")):
        yield HANDSHAKE, REFUSED
    for fault in _faults(record):
        way, toxic = _way(fault), fault["detail"].get("toxic")
        new = any(
            touch["toxic"] == toxic and fault["began"] <= touch["opened"] <= _ended(fault)
            for touch in record.get("touches", ())
        )
        if new and way == CUT:
            yield CONNECTION, CUT
        if new and way is not None and record.get("wire", "plain") != "plain":
            yield HANDSHAKE, way


def _by_words(refused: str | None) -> bool:
    """Whether a handshake was refused, and not broken off: for that an exception stands there."""
    return refused is not None and not refused.endswith("Error")


def _beside(record: Record) -> Iterator[str]:
    """What happens to a client, or to what Vault holds, and meets no request by itself."""
    for fault in _faults(record):
        yield from (what for name, what in _BELOW.items() if fault["name"].startswith(name))
    start = next((call["began"] for call in record.get("operations", ())), inf)
    known: set[str] = set()
    for rotation in _before_the_end(record, "rotations", "at"):
        if rotation["value"].startswith("none ("):
            yield DELETED
        elif rotation["path"] in known and rotation["at"] > start:
            yield CHANGED
        known.add(rotation["path"])
    delivered: set[str] = set()
    for mark in _before_the_end(record, "marks", "at"):
        if (one := _DELIVERED.match(mark["text"])) is not None:
            if one[1] is None or one[1] in delivered:
                yield EXCHANGED
            delivered.add(one[1])
        if mark["text"].startswith("the name leads to "):
            yield MOVED


# Of records


def _before_the_end(record: Record, events: str, at: str) -> list[Event]:
    """What came before the closing act."""
    marks = record.get("marks", ())
    end = next((mark["at"] for mark in marks if mark["text"] == CLOSING_ACT), inf)
    return [one for one in record.get(events, ()) if one[at] < end]


def _faults(record: Record) -> list[Event]:
    return _before_the_end(record, "faults", "began")


def _way(fault: Event) -> str | None:
    name = fault["name"]
    return REFUSED if name.endswith(" gone") else _WAYS.get(name)


def _meet(fault: Event, began: float, ended: float) -> bool:
    """Whether a fault was there within that time."""
    return bool(fault["began"] <= ended and began <= _ended(fault))


def _ended(event: Event) -> float:
    return inf if event["ended"] is None else float(event["ended"])


def _good(exchange: Event) -> bool:
    """Whether Vault did what was asked, and its answer got to the client."""
    status, by = exchange["status"], exchange["by"]
    return status is not None and status < 300 and by == "vault" and exchange["closed"] is None
