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

Journal = Mapping[str, Any]

OPERATION = ("verb", "path", "began", "ended", "outcome", "value", "message", "caller")
EXCHANGE = (
    *("kind", "method", "path", "began", "ended", "status", "token", "secret_id", "ttl"),
    *("retry_after", "errors", "by", "closed", "connection", "waited"),
)
AUDIT = ("at", "operation", "path", "error")
ROTATION = ("at", "done", "path", "value")
TOUCH = ("toxic", "opened", "closed")
FAULT = ("name", "began", "ended", "detail")
FINDING = ("promise", "seen", "at", "harm")
MARK = ("at", "text")

LOG_LINES = 200
"""Lines of a log that are shown from its head, and as many from its end."""

_TIMES = frozenset({"began", "ended", "at", "done", "opened", "closed_at"})


def rows(events: object, fields: Sequence[str]) -> list[list[Any]]:
    """Each event as the list of these fields; times become whole milliseconds.

    A field that an event lacks becomes None, so that the journals of other versions can be shown.
    """
    return [[_short(name, event.get(name)) for name in fields] for event in _objects(events)]


def _objects(events: object) -> list[Mapping[str, Any]]:
    return [e for e in events if isinstance(e, Mapping)] if isinstance(events, list) else []


def _short(name: str, value: object) -> object:
    if name in _TIMES or (name == "closed" and isinstance(value, (int, float))):
        return None if not isinstance(value, (int, float)) else round(value * 1000)
    if isinstance(value, float):
        return round(value, 3)
    return value


def scenario(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One scenario of a journal, for the page."""
    return {
        "word": str(entry.get("word", "error")),
        "why": str(entry.get("why") or ""),
        "known": str((entry.get("known") or {}).get("reason") or ""),
        "again": str(entry.get("again") or ""),
        "times": dict(entry.get("times") or {}),
        "findings": rows(entry.get("findings"), FINDING),
        "leaks": rows(entry.get("leaks"), FINDING),
        "no_closing": str(entry.get("no_closing") or ""),
        "untouched": [str(text) for text in entry.get("untouched") or ()],
        "evidence": [str(text) for text in entry.get("evidence") or ()],
        "faults": rows(entry.get("faults"), FAULT),
        "operations": rows(entry.get("operations"), OPERATION),
        "exchanges": rows(entry.get("exchanges"), EXCHANGE),
        "connections": [
            round(at * 1000)
            for at in entry.get("connections") or ()
            if isinstance(at, (int, float))
        ],
        "audit": rows(entry.get("audit"), AUDIT),
        "rotations": rows(entry.get("rotations"), ROTATION),
        "touches": rows(entry.get("touches"), TOUCH),
        "marks": rows(entry.get("marks"), MARK),
        "log": "" if entry.get("word") == "pass" else _log(entry.get("log")),
    }


def _log(lines: object) -> str:
    """What the subject logged, each line on the scenario's clock if its time is known.

    Of a flood its head and its end: the page is to be small, and all of it is in the journal.
    """
    told = [_line(line.get("at"), line.get("text")) for line in _objects(lines)]
    if (more := len(told) - 2 * LOG_LINES) > 0:
        told[LOG_LINES:-LOG_LINES] = [f"... {more} more lines, all of them in the journal ..."]
    return "\n".join(told)


def _line(at: object, text: object) -> str:
    return f"+{at:.2f} s  {text or ''}" if isinstance(at, (int, float)) else str(text or "")


def packed(content: object) -> str:
    """Plain data as text that may stand in a page: JSON, compressed, in base64.

    The same data give the same text: the compression notes no time.
    """
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    data = text.encode("utf-8", "backslashreplace")  # half of a character, in an old journal
    return base64.b64encode(gzip.compress(data, mtime=0)).decode("ascii")
