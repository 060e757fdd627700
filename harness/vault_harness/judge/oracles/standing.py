"""Define the oracles that every scenario checks, also after its faults.

Their findings depend on no fault.

An outage must not look like a missing secret: an application that believes this continues with a
default, makes a new key, or deletes its data. A loop without a pause can start without a fault,
after a deleted secret or a new token, where no other oracle counts requests.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from math import inf

from vault_harness.judge.oracles.base import HANDOVER, Oracle, bursts, counted, requests, times
from vault_harness.judge.oracles.callers import READ_VERBS, READS, late_end
from vault_harness.judge.oracles.profile import came_through, holders
from vault_harness.judge.oracles.requests import A_SECRET, _unbidden, kept_unasked
from vault_harness.judge.oracles.tokens import NEWS, no_request_with_a_dead_token
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.history import SLACK, History, between
from vault_harness.recorder.observations import GONE, Exchange, Operation, Rotation

__all__ = [
    "NEWS",
    "TWINS",
    "health_ends_within",
    "loops_have_pauses",
    "no_false_absence",
    "no_request_with_a_dead_token",
    "one_renewal_at_a_time",
]

TWINS = 0.02
"""Seconds after a renewal in which another one of the same token counts as simultaneous.

Vault answers in a few milliseconds, so the two need not overlap. The recorder may see a closed
connection this much later than the next request.
"""


def health_ends_within(deadline: float) -> Oracle:
    """Check that ``health`` ends within the deadline."""
    promise = f"health ends within {deadline:g} s"

    def oracle(history: History) -> list[Finding]:
        return [
            found
            for call in history.calls("health")
            for found in late_end(promise, history, call, deadline, "health", digits=1)
        ]

    return oracle


def one_renewal_at_a_time() -> Oracle:
    """Check that no token has two renewals in flight together.

    A client that gives up a renewal may ask again at once.
    """
    promise = "one renewal of a token at a time"

    def oracle(history: History) -> list[Finding]:
        by_token: defaultdict[str, list[Exchange]] = defaultdict(list)
        for renewal in history.find("renew", where=lambda e: e.token is not None):
            by_token[renewal.token or ""].append(renewal)
        for token, renewals in by_token.items():
            for first, second in pairwise(renewals):
                overlap = first.ended is None or second.began < first.ended
                twins = came_through(first) and second.began - (first.ended or 0.0) < TWINS
                if (overlap and not _gave_up(first, second)) or twins:
                    seen = f"two of {token}: +{first.began:.3f} s and +{second.began:.3f} s"
                    return [Finding(promise, seen, second.began, rests_on=())]
        return []

    return oracle


def _gave_up(first: Exchange, second: Exchange) -> bool:
    """Return whether the client gave up the first request before it sent the second.

    The recorder may see the two events in either order.
    """
    if first.closed != "client" or first.ended is None:
        return False
    return first.ended - second.began < TWINS + SLACK


ABSENT = ("missing", "deleted")

Had = dict[tuple[str, str, str], float]
"""When a value was first handed out, by path, key and label."""


def no_false_absence(*, refresh: float = 0.0) -> Oracle:
    """Check that no secret that exists is called missing or deleted.

    A secret exists if Vault has it and a caller got that version under the same key. If it was
    missing before, a caller must have got it `refresh` seconds ago: a client may remember the
    absence, and a standby may get the secret later.

    Vault's own answers during a seal or an unseal are excused: OpenBao removes a namespace's mounts
    before it answers that the namespace is sealed.
    """
    promise = "what is there is never called missing or deleted"

    def oracle(history: History) -> list[Finding]:
        calls = history.calls(*READ_VERBS, "warm-up")
        written = {call.path for call in history.calls("write", "update")}
        had: Had = {}
        for call in calls:
            if call.good and call.ended is not None:
                value = (call.path, call.key, call.value or "")
                had[value] = min(had.get(value, inf), call.ended)
        absent = [call for call in calls if call.outcome in ABSENT and call.path not in written]
        wrong = [
            call
            for call in absent
            if _is_there(history, call, had, absent, refresh)
            and not _vaults_own(history, call, refresh)
        ]
        if not wrong:
            return []
        first = wrong[0]
        text = f"{counted(len(wrong), 'read')} called an existing secret missing or deleted "
        text += f"({times(wrong)}), the first a {first.verb} of {first.path}: {first.told}"
        return [Finding(promise, text, first.began, rests_on=())]

    return oracle


def _is_there(
    history: History, call: Operation, had: Had, absent: list[Operation], refresh: float
) -> bool:
    ended = history.now() if call.ended is None else call.ended
    changes = [one for one in history.rotations if one.path == call.path and one.at <= ended]
    over = [n for n, one in enumerate(changes) if one.done is not None and one.done <= call.began]
    if not over:
        return False
    then = changes[over[-1] :]  # the version at the start of the call, and later ones
    seen = [had.get((call.path, call.key, one.value)) for one in then]
    if None in seen or any(one.value == GONE for one in then):
        return False
    if _was_there(changes[: over[-1] + 1], call, absent):
        return True
    since = then[0].done or 0.0
    remembered = since + refresh + SLACK
    return (seen[0] or inf) < call.began and call.began > remembered


def _was_there(changes: list[Rotation], call: Operation, absent: list[Operation]) -> bool:
    """Return whether the secret existed before its last change, and no call said otherwise."""
    if len(changes) < 2 or changes[-2].value == GONE:
        return False
    came = changes[-1].at
    return not any(
        (one.path, one.key) == (call.path, call.key) and one.began < came for one in absent
    )


def _vaults_own(history: History, call: Operation, refresh: float) -> bool:
    """Return whether Vault gave this answer while its state changed; clients may remember it."""
    since = call.began - refresh
    since -= SLACK if refresh else 0.0
    return any(
        _turns(fault, answer)
        for answer in history.find("read", since=since, until=call.ended)
        if answer.status == 404
        and answer.by == "vault"
        and answer.interference is None
        and answer.path.endswith(f"/{call.path}")
        for fault in history.faults
    )


def _turns(fault: Fault, answer: Exchange) -> bool:
    began = answer.began - HANDOVER
    ended = (inf if answer.ended is None else answer.ended) + HANDOVER
    return any(at is not None and began <= at <= ended for at in (fault.began, fault.ended))


Window = tuple[float, float]

MORE_OF_A_KIND = 2
"""More requests of one kind: periodic work may happen once more in one of two equal times, and
twice more at random periods.
"""

MORE_IN_ALL = 4
"""More requests of all kinds, or connections: two kinds of periodic work, twice each."""


def asks_no_more_than_before(before: Window, after: Window) -> Oracle:
    """Check that a client sends no more in a calm time after outages than before.

    An additional call may cost as many requests as a call did before.

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
"""A client's own requests in any second: far more than a storm."""

FOR_A_CALL = 6
"""Requests in any second for each call: as many as a call has tries."""

FROM_LOOK_TO_LOOK = 0.1
"""Seconds between two checked seconds: a loop shows in all of them."""


def loops_have_pauses() -> Oracle:
    """Check that no second has so many requests that only a loop without a pause sends them."""
    promise = (
        f"no loop without a pause (at most {OF_ITS_OWN} requests a second of the client's own, "
        f"and {FOR_A_CALL} for each call)"
    )

    def oracle(history: History) -> list[Finding]:
        own, looked = OF_ITS_OWN * holders(history), -inf
        for burst in bursts(_unbidden(history.find()), 1.0):
            at = burst[0].came
            if at < looked or len(burst) <= own:
                continue
            looked = at + FROM_LOOK_TO_LOOK
            most = own + _asked_for(history, at, at + 1.0)
            if len(burst) > most:
                text = f"{len(burst)} requests in one second, {most} are allowed: "
                text += requests(burst)
                # The first request too many, because its second may begin before a fault.
                return [Finding(promise, text, burst[most].began, rests_on=())]
        return []

    return oracle


def _asked_for(history: History, since: float, until: float) -> int:
    calls = history.calls(until=until, where=lambda o: o.ended is None or o.ended >= since)
    kept = kept_unasked(history, since, until) * history.clients
    return FOR_A_CALL * len(calls) + A_SECRET * kept
