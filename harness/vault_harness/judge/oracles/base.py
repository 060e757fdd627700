"""Define what all oracles share: their shape, words for findings, and the client's style.

TOK-21 judges whether the client logs in, or looks at its token, more often than it needs. All other
scenarios accept that as the client's style.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Exchange, Operation

Oracle = Callable[[History], list[Finding]]


@dataclass(frozen=True)
class ToTheEnd:
    """An oracle on an event that may come late, when the client already serves good reads.

    The closing act asks it again after a pause, because a late thread may still break the promise.
    """

    oracle: Oracle

    def __call__(self, history: History) -> list[Finding]:
        return self.oracle(history)


HANDOVER = 0.1
"""Seconds granted to a call beyond its deadline: the subject's timer starts after the harness has
called it, and the answer comes back through a thread or a pipe.
"""


def times(events: Iterable[Exchange | Operation], most: int = 6) -> str:
    """Return when the first `most` events began, as text for a finding."""
    shown = [f"+{event.began:.2f}" for event in events]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def counted(number: int, thing: str) -> str:
    """Return a number with its noun: ``1 login``, ``2 logins``."""
    return f"{number} {thing}{'s' * (number != 1)}"


def requests(exchanges: list[Exchange], most: int = 6) -> str:
    """Return how many requests of each kind there are, and the first `most` with their times."""
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
    """Return a window of time in words, for a finding that something is missing."""
    if until is None:
        return f"after +{since:.2f} s"
    return f"between +{since:.2f} and +{until:.2f} s"


def lacking(promise: str, what: str, since: float, until: float | None) -> list[Finding]:
    """Return the finding of an oracle that has no events to judge.

    Args:
        what: What is missing, in a word: ``read``.
    """
    seen = f"nothing shows it: there was no {what} {window(since, until)}"
    return [Finding(promise, seen, since)]


LOGINS = 3
"""If each client logs in this often with a young token before the first fault, that is its style.
"""

READS = 3
"""Number of reads before the first fault that show whether a client looks at its token each time.
"""


def logs_in_for_each_call(history: History) -> bool:
    """Return whether a client logs in for each call or refresh although its token lives."""
    logins = [e for e in history.logins(until=_calm(history)) if e.ttl]
    if not logins:
        return False
    young = [e for e in logins if e.began - logins[0].began < 0.3 * (logins[0].ttl or 0.0)]
    return len(young) >= LOGINS * holders(history)


def looks_before_each_read(history: History) -> bool:
    """Return whether a client looked at its token, or logged in, in each read before any fault."""
    until = _calm(history)
    asked = [e.began for e in history.find("lookup", "login", until=until)]
    reads = [o for o in history.calls("read", "warm-up") if o.good and (o.ended or until) <= until]
    return (
        len(reads) >= READS
        and bool(history.find("lookup", until=until))
        and all(any(o.began <= at <= (o.ended or until) for at in asked) for o in reads)
    )


def holders(history: History) -> int:
    """Return how many clients have a token of their own; each start and each child counts."""
    return max(history.clients, len(history.calls("start"))) + len(history.calls("fork"))


def _calm(history: History) -> float:
    """Return when the first fault began; now, if there was none."""
    return min((fault.began for fault in history.faults), default=history.now())
