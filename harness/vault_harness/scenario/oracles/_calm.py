"""An oracle on what outages leave behind: two calm times, one before them and one after them."""

from __future__ import annotations

from collections import Counter

from vault_harness.scenario.history import History, between
from vault_harness.scenario.oracles._base import Oracle, times
from vault_harness.scenario.oracles._callers import READS
from vault_harness.scenario.verdict import Finding

Window = tuple[float, float]
"""When a time begins and ends, seconds on the history's clock."""

MORE_OF_A_KIND = 2
"""Requests of one kind: what is done at its own pace falls into one of two equal times once more
than into the other, and once more yet where its pace has a chance in it.
"""

MORE_IN_ALL = 4
"""Requests of all kinds, and new connections: two things at a pace of their own, both of which fall
so twice.
"""


def asks_no_more_than_before(before: Window, after: Window) -> Oracle:
    """In a calm time after some outages a client sends what it sent in an equal one before them.

    `MORE_OF_A_KIND` of each kind are granted (renewals, logins, looks at the token, reads), and
    `MORE_IN_ALL` of all, and so many new connections; for each call that there was more, as many as
    a call had cost before. Who sends less keeps it.

    Args:
        before: A time in which nothing was broken, from when a token was new.
        after: Another one, as long as that, and with the same callers.
    """
    promise = "outages leave nothing behind that asks: no more requests than before them"

    def oracle(history: History) -> list[Finding]:
        calls = len(_calls(history, before))
        more = max(0, len(_calls(history, after)) - calls)

        def granted(had: int, spare: int) -> int:
            return had + spare + more * round(had / (calls or 1))

        earlier = history.find(since=before[0], until=before[1])
        later = history.find(since=after[0], until=after[1])
        had = Counter(e.kind for e in earlier)
        findings = []
        for kind, count in Counter(e.kind for e in later).items():
            if count > granted(had[kind], MORE_OF_A_KIND):
                same = [e for e in later if e.kind == kind]
                text = _grown(f"{kind} requests", had[kind], count, after, MORE_OF_A_KIND)
                findings.append(Finding(promise, f"{text} ({times(same)})", after[0], rests_on=()))
        in_all = {"requests of all kinds": (len(earlier), len(later))}
        opened = [between(history.connections, *window) for window in (before, after)]
        in_all["new connections"] = (opened[0], opened[1])
        for what, (first, second) in in_all.items():
            if second > granted(first, MORE_IN_ALL):
                text = _grown(what, first, second, after, MORE_IN_ALL)
                findings.append(Finding(promise, text, after[0], rests_on=()))
        return findings

    return oracle


def _calls(history: History, window: Window) -> list[float]:
    return [call.began for call in history.calls(*READS, since=window[0], until=window[1])]


def _grown(what: str, first: int, second: int, window: Window, spare: int) -> str:
    seconds = window[1] - window[0]
    return f"{second} {what} in {seconds:.1f} s, {first} before; {spare} more are granted"
