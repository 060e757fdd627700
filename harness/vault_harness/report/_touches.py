"""What happened to which kind of request in a scenario: pairs of both, read from its record.

Most of it was seen by the recorder: a status, an answer that was lost, came late or never. Of what
did not get so far, as where connections are refused, the call tells that failed for it meanwhile,
or the time at which a renewal was due.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import inf
from typing import Final

from vault_harness.report._events import Record, before_the_end, ended_of, faults_of, way_of
from vault_harness.report._kinds import (
    CHANGED,
    CLOCK,
    CONNECTION,
    CUT,
    DELETED,
    EXCHANGED,
    GOODBYE,
    HANDSHAKE,
    KEPT,
    MOVED,
    NO_REQUEST,
    REFUSED,
    RIGHTS,
    SILENT,
    STOPPED,
    THREADS,
)
from vault_harness.report._seen import asked_by, met
from vault_harness.report._unseen import unseen

_BELOW: Final[Mapping[str, str]] = {
    "client's clock set": CLOCK,
    "client paused": STOPPED,
    "client's threads ended": THREADS,
    "role changed": RIGHTS,
    "policy changed": RIGHTS,
}

_DELIVERED = re.compile(r"(secret-id|jwt|token|wrapping)-\d+ delivered|secret-id rotated")


def asked_in(record: Record) -> set[str]:
    """The kinds of requests that came to the recorder."""
    return {asked for one in record.get("exchanges", ()) if (asked := asked_by(record, one))}


def touches_of(record: Record) -> set[tuple[str, str]]:
    """What happened in a scenario, up to its closing act: pairs of a request and what met it.

    Args:
        record: Of the scenario, as a journal has it.

    Raises:
        AttributeError, IndexError, KeyError, TypeError, ValueError: An event is of another form.
    """
    found = set(met(record))
    for fault in faults_of(record):
        found |= set(unseen(record, fault))
    return found | set(_carried(record, found)) | {(NO_REQUEST, what) for what in _beside(record)}


def _carried(record: Record, found: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """What happened to connections."""
    ways = {what for _, what in found}
    names = {fault["name"] for fault in faults_of(record)}
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
    if any(_by_words(one["refused"]) for one in before_the_end(record, "handshakes", "at")):
        yield HANDSHAKE, REFUSED
    for fault in faults_of(record):
        way, toxic = way_of(fault), fault["detail"].get("toxic")
        new = any(
            touch["toxic"] == toxic and fault["began"] <= touch["opened"] <= ended_of(fault)
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
    for fault in faults_of(record):
        yield from (what for name, what in _BELOW.items() if fault["name"].startswith(name))
    start = next((call["began"] for call in record.get("operations", ())), inf)
    known: set[str] = set()
    for rotation in before_the_end(record, "rotations", "at"):
        if rotation["value"].startswith("none ("):
            yield DELETED
        elif rotation["path"] in known and rotation["at"] > start:
            yield CHANGED
        known.add(rotation["path"])
    delivered: set[str] = set()
    for mark in before_the_end(record, "marks", "at"):
        if (one := _DELIVERED.match(mark["text"])) is not None:
            if one[1] is None or one[1] in delivered:
                yield EXCHANGED
            delivered.add(one[1])
        if mark["text"].startswith("the name leads to "):
            yield MOVED
