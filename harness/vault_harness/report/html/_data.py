"""What the page is made from: journals, with each event as a short list and times in milliseconds.

A journal names every field of every event, which is right for programs and ten times too long for a
page. The positions below are read by ``page.js``, whose constants stand in the same order.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

from vault_harness.report._moments import (
    LETTERS,
    SEEN,
    in_short,
    one_line,
    why_not_exercised,
)

Journal = Mapping[str, Any]

OPERATION = ("verb", "path", "began", "ended", "outcome", "value", "message", "caller", "key")
EXCHANGE = (
    *("kind", "method", "path", "began", "ended", "status", "token", "secret_id", "ttl"),
    *("retry_after", "errors", "by", "closed", "connection", "waited"),
    *("credential", "namespace", "renewable", "interference"),
)
AUDIT = ("at", "operation", "path", "error")
ROTATION = ("at", "done", "path", "value")
TOUCH = ("toxic", "opened", "closed")
FAULT = ("name", "began", "ended", "detail")
FINDING = ("promise", "seen", "at", "harm")
MARK = ("at", "text")
USE = ("began", "ended", "credential", "accepted")
HANDSHAKE = ("at", "connection", "protocol", "refused")
STALL = ("at", "length")
RUN = ("word", "why", "seconds")

LOG_LINES = 200
"""Lines of a log that are shown from its head, and as many from its end."""

TRACE = 6000
"""Letters of a traceback that are shown, its last ones."""

MOST = 3000
"""Events of one kind that are shown of a scenario: a browser takes no hundred thousand."""

FEWER = (MOST, 1000, 300, 100, 30)
"""How many are, of a client that makes so many in each scenario that the page grew too large."""

EVENTS = 150_000
"""Events of a run that are packed to see how large they get; of more, fewer are tried at once."""

LARGEST = 1_700_000
"""Letters of a run's histories at most, as they are packed: with its table that is 2 MB."""

_OF_A_LIFE = ("login", "renew", "revoke")
"""Requests by which a token begins, lives on and ends."""

_SAID = frozenset({"message", "seen", "why"})
"""What may have a client's own words in it, of any length."""

_COUNTED = ("operations", "exchanges", "connections", "audit", "touches", "uses", "handshakes")
"""Kinds of events of which there may be any number."""

_AGES = 1e12
"""Seconds that no run takes, nor any clock tells: a journal made by hand may have more."""

_TIMES = frozenset({"began", "ended", "at", "done", "opened", "closed_at"})


def rows(events: object, fields: Sequence[str]) -> list[list[Any]]:
    """Each event as the list of these fields; times become whole milliseconds.

    A field that an event lacks becomes None, so that the journals of other versions can be shown.
    """
    return [[_short(name, event.get(name)) for name in fields] for event in _objects(events)]


def _objects(events: object) -> list[Mapping[str, Any]]:
    return [e for e in events if isinstance(e, Mapping)] if isinstance(events, list) else []


def said(text: object, letters: int = SEEN) -> str:
    """Somebody's words on the page: not too many, and none that changes how others are shown."""
    return one_line(in_short(text, letters))


def _short(name: str, value: object) -> object:
    if name in _SAID and isinstance(value, str):
        return said(value)
    if name in _TIMES or (name == "closed" and isinstance(value, (int, float))):
        return None if not isinstance(value, (int, float)) else _milliseconds(value)
    if isinstance(value, float):
        return round(value, 3)
    if name == "interference" and isinstance(value, str):
        return value.rpartition(" #")[0] or value  # its number tells alike ones apart in a journal
    if isinstance(value, list):
        return [one_line(one) if isinstance(one, str) else one for one in value]
    return one_line(value) if isinstance(value, str) else value


def _milliseconds(seconds: float) -> int:
    """A time in whole milliseconds, of which the page makes the hundredths that all texts have.

    Rounded twice 0.9648 s would be 0.97 s there, and 0.96 s in the words of what was seen.
    """
    found = round(max(-_AGES, min(seconds, _AGES)) * 1000)
    return found - 1 if found % 10 == 5 and float(f"{seconds:.2f}") * 1000 < found else found


class _Few:
    """What is shown of the events of one scenario, of which a client without a pause makes many.

    Args:
        about: The moments that findings are about.
        most: How many of a kind are.

    Attributes:
        left: How many events are not shown.
    """

    def __init__(self, about: Sequence[float], most: int) -> None:
        self._about = about
        self._most = most
        self.left = 0

    def of(self, events: object, when: str) -> list[Mapping[str, Any]]:
        """The first and the last of a kind, and those around what findings are about.

        Args:
            events: In order.
            when: The field that has their time.
        """
        found = _objects(events)
        if len(found) <= self._most:
            return found
        times = [at if isinstance(at := one.get(when), (int, float)) else 0.0 for one in found]
        part = max(1, self._most // (2 + len(self._about)))
        kept = {*range(part), *range(len(found) - part, len(found))}
        for moment in self._about:
            kept.update(sorted(range(len(found)), key=lambda n: abs(times[n] - moment))[:part])
        self.left += len(found) - len(kept)
        return [found[number] for number in sorted(kept)]

    def exchanges(self, events: object) -> list[Mapping[str, Any]]:
        """Requests: what gives a token its life apart, or reads would hide it."""
        found = _objects(events)
        ours = [one for one in found if one.get("kind") in _OF_A_LIFE]
        others = [one for one in found if one.get("kind") not in _OF_A_LIFE]
        if len(found) <= self._most:
            return found
        return [*self.of(ours, "began"), *self.of(others, "began")]

    def times(self, moments: object) -> list[int]:
        """Moments without anything else, in milliseconds: the first ones."""
        found = moments if isinstance(moments, list) else []
        told = [_milliseconds(at) for at in found if isinstance(at, (int, float))]
        self.left += len(told[self._most :])
        return told[: self._most]


def scenario(entry: Mapping[str, Any], most: int = MOST) -> dict[str, Any]:
    """One scenario of a journal, for the page.

    Args:
        entry: The scenario.
        most: How many events of one kind are shown, and lines of a log in proportion.
    """
    found = [*_objects(entry.get("findings")), *_objects(entry.get("leaks"))]
    few = _Few([at for one in found if isinstance(at := one.get("at"), (int, float))], most)
    shown = {
        "operations": rows(few.of(entry.get("operations"), "began"), OPERATION),
        "exchanges": rows(few.exchanges(entry.get("exchanges")), EXCHANGE),
        "connections": few.times(entry.get("connections")),
        "audit": rows(few.of(entry.get("audit"), "at"), AUDIT),
        "touches": rows(few.of(entry.get("touches"), "opened"), TOUCH),
        "uses": rows(few.of(entry.get("uses"), "began"), USE),
        "handshakes": rows(few.of(entry.get("handshakes"), "at"), HANDSHAKE),
    }
    return {
        **shown,
        "left": few.left,
        "word": str(entry.get("word", "error")),
        "rate": str(entry.get("rate") or ""),
        "why": said(entry.get("why")),
        "known": one_line(str((entry.get("known") or {}).get("reason") or "")),
        "again": one_line(str(entry.get("again") or "")),
        "started": _short("at", entry.get("started")),
        "times": dict(entry.get("times") or {}),
        "findings": rows(entry.get("findings"), FINDING),
        "leaks": rows(entry.get("leaks"), FINDING),
        "aside": _set_aside(entry.get("set_aside")),
        "runs": rows(entry.get("runs"), RUN),
        "trace": _trace(entry.get("trace")) if entry.get("word") == "error" else "",
        "no_closing": one_line(str(entry.get("no_closing") or "")),
        "untouched": [one_line(text) for text in why_not_exercised(entry)],
        "evidence": [said(text) for text in entry.get("evidence") or ()],
        "faults": rows(entry.get("faults"), FAULT),
        "rotations": rows(entry.get("rotations"), ROTATION),
        "marks": rows(entry.get("marks"), MARK),
        "stalls": rows(entry.get("stalls"), STALL),
        "log": "" if entry.get("word") == "pass" else _log(entry.get("log"), most),
    }


def _trace(text: object) -> str:
    """The end of a traceback, line by line."""
    return "\n".join(map(one_line, str(text or "")[-TRACE:].split("\n")))


def _set_aside(events: object) -> list[list[Any]]:
    """Findings that do not count: as those that do, and why."""
    return [
        [
            *(row for found in rows([one.get("finding")], FINDING) for row in found),
            said(one.get("why")),
        ]
        for one in _objects(events)
        if isinstance(one.get("finding"), Mapping)
    ]


def _log(lines: object, most: int) -> str:
    """What the subject logged, each line on the scenario's clock if its time is known.

    Of a flood its head and its end: the page is to be small, and all of it is in the journal.
    """
    told = [_line(line.get("at"), line.get("text")) for line in _objects(lines)]
    part = max(1, LOG_LINES * most // MOST)
    if (more := len(told) - 2 * part) > 0:
        told[part:-part] = [f"... {more} more lines, all of them in the journal ..."]
    return "\n".join(told)


def _line(at: object, text: object) -> str:
    told = said(text, LETTERS)
    return f"+{at:.2f} s  {told}" if isinstance(at, (int, float)) else told


def histories(journals: Sequence[Journal], ids: Sequence[str]) -> str:
    """What happened in each scenario in each run, packed: as much of it as a page may have.

    A client without a pause makes a flood in every scenario, of which a browser takes less each.

    Args:
        journals: Of the runs.
        ids: Of all their scenarios.
    """
    found = [{str(one["id"]): one for one in journal["scenarios"]} for journal in journals]
    largest = LARGEST * len(found)
    text = ""
    for most in FEWER:
        if most > FEWER[-1] and _count(found, most) > EVENTS * len(found):
            continue
        text = packed(
            {
                id: [scenario(run[id], most) if id in run else None for run in found]
                for id in ids  # noqa: A001 - it is one
            }
        )
        if len(text) <= largest:
            break
    return text


def _count(runs: Sequence[Mapping[str, Mapping[str, Any]]], most: int) -> int:
    """How many events there are, if no more of a kind are shown."""
    events = (one.get(kind) for run in runs for one in run.values() for kind in _COUNTED)
    return sum(min(most, len(found)) for found in events if isinstance(found, list))


def packed(content: object) -> str:
    """Plain data as text that may stand in a page: JSON, compressed, in base64.

    The same data give the same text: the compression notes no time.
    """
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    data = text.encode("utf-8", "backslashreplace")  # half of a character, in an old journal
    return base64.b64encode(gzip.compress(data, mtime=0)).decode("ascii")
