"""Define what all oracles share."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Exchange, Operation

Oracle = Callable[[History], list[Finding]]


@dataclass(frozen=True)
class ToTheEnd:
    """An oracle that the closing act asks again: a late thread may still break the promise."""

    oracle: Oracle

    def __call__(self, history: History) -> list[Finding]:
        return self.oracle(history)


HANDOVER = 0.1
"""Seconds granted beyond a call's deadline: the subject's timer starts later, and the answer comes
back through a thread or a pipe.
"""


def bursts(sent: Iterable[Exchange], seconds: float) -> Iterator[list[Exchange]]:
    """Yield each request with those that came at most so many seconds later, in their order."""
    ordered = sorted(sent, key=lambda e: e.came)
    came = [e.came for e in ordered]
    for number, at in enumerate(came):
        yield ordered[number : bisect_right(came, at + seconds)]


def times(events: Iterable[Exchange | Operation], most: int = 6) -> str:
    shown = [f"+{event.began:.2f}" for event in events]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def counted(number: int, thing: str) -> str:
    """Return ``1 login``, ``2 logins``."""
    return f"{number} {thing}{'s' * (number != 1)}"


def requests(exchanges: list[Exchange], most: int = 6) -> str:
    kinds = ", ".join(
        f"{count} {kind}" for kind, count in Counter(e.kind for e in exchanges).items()
    )
    first = [
        f"{e.kind} +{e.began:.2f} ({'no answer' if e.status is None else e.status})"
        for e in exchanges[:most]
    ]
    more = f" and {len(exchanges) - most} more" if len(exchanges) > most else ""
    return f"{kinds}: {', '.join(first)}{more}"


def window(since: float, until: float | None) -> str:
    if until is None:
        return f"after +{since:.2f} s"
    return f"between +{since:.2f} and +{until:.2f} s"


def lacking(promise: str, what: str, since: float, until: float | None) -> list[Finding]:
    """Return the finding that there was nothing to judge."""
    seen = f"nothing shows it: there was no {what} {window(since, until)}"
    return [Finding(promise, seen, since)]
