"""The standing oracle on loops without a pause: far more requests than any event calls for.

A storm is much less and is looked for during faults (`no_request_storm`). A loop can also start
without a fault, after a deleted secret or a new token, where nothing else counts requests.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from math import inf

from vault_harness.judge.oracles.base import Oracle, requests, times
from vault_harness.judge.oracles.callers import READS
from vault_harness.judge.oracles.requests import A_SECRET, _unbidden, kept_unasked
from vault_harness.judge.oracles.style import holders
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import History, between

Window = tuple[float, float]

MORE_OF_A_KIND = 2
"""Additional requests of one kind: periodic work may fall once more into one of two equal times,
and twice more if its period is random.
"""

MORE_IN_ALL = 4
"""Additional requests of all kinds, and new connections: two kinds of periodic work, with two
requests each.
"""


def asks_no_more_than_before(before: Window, after: Window) -> Oracle:
    """Check that a client sends no more in a calm time after outages than in one before.

    Each kind of request may grow by `MORE_OF_A_KIND`, all of them and new connections by
    `MORE_IN_ALL`. An additional call may cost as many requests as a call did before.

    Args:
        before: A time without faults that begins when a token is new.
        after: Another time of the same length, with the same callers.
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


OF_ITS_OWN = 20
"""Requests in any second that a client may send by itself: far more than a storm."""

FOR_A_CALL = 6
"""Requests in any second for each call under way: as many as a call has tries."""

FROM_LOOK_TO_LOOK = 0.1
"""Seconds between the starts of the seconds that are looked at: a loop is in all of them."""


def loops_have_pauses() -> Oracle:
    """Check that no second has more requests than only a loop without a pause sends.

    Each client and each of its children may send `OF_ITS_OWN`. Each call in that second adds
    `FOR_A_CALL`, and each secret that is kept fresh without a caller adds `A_SECRET`.
    """
    promise = (
        f"no loop without a pause (at most {OF_ITS_OWN} requests a second of the client's own, "
        f"and {FOR_A_CALL} for each call)"
    )

    def oracle(history: History) -> list[Finding]:
        sent = sorted(_unbidden(history.find()), key=lambda e: e.came)
        times = [e.came for e in sent]
        own, looked = OF_ITS_OWN * holders(history), -inf
        for number, at in enumerate(times):
            over = bisect_right(times, at + 1.0)
            if at < looked or over - number <= own:
                continue
            looked = at + FROM_LOOK_TO_LOOK
            most = own + _asked_for(history, at, at + 1.0)
            if over - number > most:
                text = f"{over - number} requests in one second, {most} are allowed: "
                text += requests(sent[number:over])
                # The finding is dated by the first request too many: its second may begin before a
                # fault.
                return [Finding(promise, text, sent[number + most].began, rests_on=())]
        return []

    return oracle


def _asked_for(history: History, since: float, until: float) -> int:
    """Return the requests allowed for calls in that time, and for secrets without a caller."""
    calls = history.calls(until=until, where=lambda o: o.ended is None or o.ended >= since)
    kept = kept_unasked(history, since, until) * history.clients
    return FOR_A_CALL * len(calls) + A_SECRET * kept
