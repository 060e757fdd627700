"""Define what all oracles share."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
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


SHOWN = 6
"""Events that a finding lists."""


def times(events: Iterable[Exchange | Operation]) -> str:
    return _shortened([f"+{event.began:.2f}" for event in events])


def _shortened(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def counted(number: int, thing: str) -> str:
    """Return ``1 login``, ``2 logins``."""
    return f"{number} {thing}{'s' * (number != 1)}"


def requests(exchanges: list[Exchange]) -> str:
    kinds = ", ".join(
        f"{count} {kind}" for kind, count in Counter(e.kind for e in exchanges).items()
    )
    each = [
        f"{e.kind} +{e.began:.2f} ({'no answer' if e.status is None else e.status})"
        for e in exchanges
    ]
    return f"{kinds}: {_shortened(each)}"


def window(since: float, until: float | None) -> str:
    if until is None:
        return f"after +{since:.2f} s"
    return f"between +{since:.2f} and +{until:.2f} s"


def too_many(
    promise: str,
    count: int,
    seen: Sequence[Exchange | Operation],
    text: str = "",
    *,
    rests_on: tuple[str, ...] | None = (),
) -> list[Finding]:
    """Return the finding that there are more than `count` of these events, if there are."""
    if len(seen) <= count:
        return []
    text = text or f"{len(seen)} ({times(seen)})"
    return [Finding(promise, text, seen[count].began, rests_on=rests_on)]


def lacking(promise: str, what: str, since: float, until: float | None) -> list[Finding]:
    """Return the finding that there was nothing to judge."""
    seen = f"nothing shows it: there was no {what} {window(since, until)}"
    return [Finding(promise, seen, since)]
