"""Turn journals into the data of the page: short lists for events, times in milliseconds.

A journal names every field of every event, which is ten times too long for a page. ``page.js``
reads the fields by their positions below.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vault_harness.judge.report.lines import OFTEN
from vault_harness.judge.report.score import uncounted
from vault_harness.judge.report.timing import (
    FIRST_THAT,
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
MARK = ("at", "text")
USE = ("began", "ended", "credential", "accepted")
HANDSHAKE = ("at", "connection", "protocol", "refused")
STALL = ("at", "length")

LOG_LINES = 200
"""Lines shown of a log's beginning, and of its end."""

TRACE = 6000
"""Characters shown of a traceback's end."""

MOST = 3000
"""Events of one kind shown of a scenario. A browser cannot draw a hundred thousand."""

FEWER = (MOST, 1000, 300, 100, 30)

EVENTS = 150_000
"""A limit that leaves more events than this is skipped: packing them takes too long."""

LARGEST = 1_700_000
"""Characters of a run's packed histories. With the list, the page then has 2 MB."""

_OF_A_LIFE = ("login", "renew", "revoke")

_SAID = frozenset({"message", "seen", "why"})
"""Fields with a client's own words, which may have any length."""

_COUNTED = ("operations", "exchanges", "connections", "audit", "touches", "uses", "handshakes")

_AGES = 1e12
"""Largest time shown, in seconds. A journal edited by hand may have a larger one."""

_TIMES = frozenset({"began", "ended", "at", "done", "opened", "closed_at"})

_OWN, _END = "Also found", "Found as the client was closed"
_LEAKS, _UNMET = "Secrets that came out", "Conditions that were not met"

_NO_REASON = {"skipped": "It was not asked.", "error": "The harness broke down."}

_AT_THE_END = (
    "The promise of this scenario was kept. This was found in the closing act, which ends every "
    "scenario."
)
_PROVES_NOTHING = "So this scenario proves nothing about the client."
_KEPT_AND_LEAKED = (
    "The promise of this scenario was kept. The secret that came out counts in the scenario about "
    "secrets, and for the grade."
)


def rows(events: object, fields: Sequence[str]) -> list[list[Any]]:
    """A missing field becomes None, so that journals of other versions can be shown."""
    return [[_short(name, event.get(name)) for name in fields] for event in _objects(events)]


def _objects(events: object) -> list[Mapping[str, Any]]:
    return [e for e in events if isinstance(e, Mapping)] if isinstance(events, list) else []


def said(text: object, letters: int = SEEN) -> str:
    return one_line(in_short(text, letters))


def _short(name: str, value: object) -> object:
    if name in _SAID and isinstance(value, str):
        return said(value)
    if name in _TIMES or (name == "closed" and isinstance(value, (int, float))):
        return None if not isinstance(value, (int, float)) else _milliseconds(value)
    if isinstance(value, float):
        return round(value, 3)
    if name == "interference" and isinstance(value, str):
        return value.rpartition(" #")[0] or value  # drop the number that only the journal needs
    if isinstance(value, list):
        return [one_line(one) if isinstance(one, str) else one for one in value]
    return one_line(value) if isinstance(value, str) else value


def _milliseconds(seconds: float) -> int:
    """Return milliseconds that the page rounds to the same hundredth as the texts.

    Otherwise 0.9648 s would become 0.97 s on the page and 0.96 s in a text.
    """
    found = round(max(-_AGES, min(seconds, _AGES)) * 1000)
    return found - 1 if found % 10 == 5 and float(f"{seconds:.2f}") * 1000 < found else found


class _Few:
    """Chooses the events of one scenario that are shown."""

    def __init__(self, about: Sequence[float], most: int) -> None:
        self._about = about
        self._most = most
        self.left = 0

    def of(self, events: object, when: str) -> list[Mapping[str, Any]]:
        """Return the first and last events, and those around each finding; `when` is their time."""
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
        """Choose the requests of a token's life apart from the many reads."""
        found = _objects(events)
        ours = [one for one in found if one.get("kind") in _OF_A_LIFE]
        others = [one for one in found if one.get("kind") not in _OF_A_LIFE]
        if len(found) <= self._most:
            return found
        return [*self.of(ours, "began"), *self.of(others, "began")]

    def times(self, moments: object) -> list[int]:
        found = moments if isinstance(moments, list) else []
        told = [_milliseconds(at) for at in found if isinstance(at, (int, float))]
        self.left += len(told[self._most :])
        return told[: self._most]


def scenario(
    entry: Mapping[str, Any], most: int = MOST, shared: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return one scenario of a journal for the page.

    Args:
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
        "known": one_line(str((entry.get("known") or {}).get("reason") or "")),
        "again": one_line(str(entry.get("again") or "")),
        "started": _short("at", entry.get("started")),
        "times": dict(entry.get("times") or {}),
        **_story(entry, shared or {}),
        "no_closing": one_line(str(entry.get("no_closing") or "")),
        "trace": _trace(entry.get("trace")) if entry.get("word") == "error" else "",
        "faults": rows(entry.get("faults"), FAULT),
        "rotations": rows(entry.get("rotations"), ROTATION),
        "marks": rows(entry.get("marks"), MARK),
        "stalls": rows(entry.get("stalls"), STALL),
        "log": "" if entry.get("word") == "pass" else _log(entry.get("log"), most),
    }


Told = dict[str, Any]
"""An event: ``seen``, ``at`` in milliseconds, ``promise``, ``harm``, ``note``."""


def _story(entry: Mapping[str, Any], shared: Mapping[str, int]) -> dict[str, Any]:
    findings = _objects(entry.get("findings"))
    unmet = [text for text in why_not_exercised(entry) if text != FIRST_THAT]
    folds: dict[str, list[Told]] = {
        _OWN: [_told(one) for one in findings if not one.get("closing")],
        _END: [_told(one) for one in findings if one.get("closing")],
        _LEAKS: [{**_told(one), "harm": True} for one in _objects(entry.get("leaks"))],
        _UNMET: [{"seen": one_line(text)} for text in unmet],
        "Findings that do not count": _set_aside(entry.get("set_aside")),
        "Conditions that were met": [{"seen": said(text)} for text in entry.get("evidence") or ()],
        "Each run": [{"seen": _run(one)} for one in _objects(_runs(entry))],
    }
    reason = _reason(entry, folds)
    if (
        reason is not None
        and (often := shared.get(uncounted(reason.get("promise", "")), 0)) >= OFTEN
    ):
        reason["note"] = f"{reason.get('note', '')} {often} scenarios of this run found it.".strip()
    kept = {name: [one for one in told if one is not reason] for name, told in folds.items()}
    return {"reason": reason, "folds": [[name, told] for name, told in kept.items() if told]}


def _reason(entry: Mapping[str, Any], folds: Mapping[str, list[Told]]) -> Told | None:
    """Return None for a pass without a leak.

    Harm comes first, then the scenario's own promise, then findings of the closing act.
    """
    word = str(entry.get("word", "error"))
    found: Told | None = None
    if word in ("fail", "flaky"):
        found = max([*folds[_OWN], *folds[_END]], key=lambda one: bool(one["harm"]), default=None)
        if found is not None and not folds[_OWN]:
            found["note"] = _AT_THE_END
    elif word == "not exercised" and folds[_UNMET]:
        found = folds[_UNMET][0]
        early = FIRST_THAT in why_not_exercised(entry)
        found["note"] = one_line(FIRST_THAT) if early else _PROVES_NOTHING
    elif word == "pass":
        found = next(iter(folds[_LEAKS]), None)
        if found is not None:
            found["note"] = _KEPT_AND_LEAKED
        return found
    text = said(entry.get("why")) or _NO_REASON.get(word, "")
    return found or ({"seen": text} if text else None)


def _runs(entry: Mapping[str, Any]) -> object:
    """Return the runs of --repeat, or those that confirmed the verdict."""
    return entry.get("runs") or entry.get("confirmation")


def _run(one: Mapping[str, Any]) -> str:
    took = f", {one['seconds']} s" if one.get("seconds") is not None else ""
    why = f": {one['why']}" if one.get("why") else ""
    slow = f" (does not count: {one['too_slow']})" if one.get("too_slow") else ""
    return said(f"{one.get('word')}{took}{why}{slow}")


def shared_rules(entries: Iterable[Mapping[str, Any]]) -> Counter[str]:
    return Counter(
        rule
        for entry in entries
        if entry.get("word") == "fail"
        for rule in {uncounted(str(one.get("promise"))) for one in _objects(entry.get("findings"))}
    )


def _told(finding: Mapping[str, Any]) -> Told:
    return {
        "seen": said(finding.get("seen")),
        "at": _short("at", finding.get("at")),
        "promise": one_line(str(finding.get("promise") or "")),
        "harm": bool(finding.get("harm")),
    }


def _trace(text: object) -> str:
    return "\n".join(map(one_line, str(text or "")[-TRACE:].split("\n")))


def _set_aside(events: object) -> list[Told]:
    return [
        {**_told(one["finding"]), "note": f"It does not count: {said(one.get('why'))}."}
        for one in _objects(events)
        if isinstance(one.get("finding"), Mapping)
    ]


def _log(lines: object, most: int) -> str:
    """Of a long log only the beginning and the end are shown."""
    told = [_line(line.get("at"), line.get("text")) for line in _objects(lines)]
    part = max(1, LOG_LINES * most // MOST)
    if (more := len(told) - 2 * part) > 0:
        told[part:-part] = [f"... {more} more lines, all of them in the journal ..."]
    return "\n".join(told)


def _line(at: object, text: object) -> str:
    told = said(text, LETTERS)
    return f"+{at:.2f} s  {told}" if isinstance(at, (int, float)) else told


def histories(journals: Sequence[Journal], ids: Sequence[str]) -> str:
    found = [{str(one["id"]): one for one in journal["scenarios"]} for journal in journals]
    shared = [shared_rules(run.values()) for run in found]
    largest = LARGEST * len(found)
    text = ""
    for most in FEWER:
        if most > FEWER[-1] and _count(found, most) > EVENTS * len(found):
            continue
        text = packed(
            {
                id: [
                    scenario(run[id], most, rules) if id in run else None
                    for run, rules in zip(found, shared, strict=True)
                ]
                for id in ids  # noqa: A001 - it is one
            }
        )
        if len(text) <= largest:
            break
    return text


def _count(runs: Sequence[Mapping[str, Mapping[str, Any]]], most: int) -> int:
    events = (one.get(kind) for run in runs for one in run.values() for kind in _COUNTED)
    return sum(min(most, len(found)) for found in events if isinstance(found, list))


def packed(content: object) -> str:
    """Return JSON, compressed, in base64. Equal data give equal text."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    data = text.encode("utf-8", "backslashreplace")  # an old journal may hold half a surrogate pair
    return base64.b64encode(gzip.compress(data, mtime=0)).decode("ascii")
