"""Judge what a schedule costs a client, beyond the standing oracles.

A false alarm is worse than a miss, so each budget is about twice what correct clients need.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from vault_harness.judge import oracles
from vault_harness.judge.explore.schedule import Baseline, Schedule, Step
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import READ_VERBS, Oracle, came_through
from vault_harness.judge.oracles.base import counted
from vault_harness.judge.oracles.profile import (
    logs_in_for_each_call,
    looks_before_each_read,
    without_logins_in_turn,
)
from vault_harness.judge.oracles.tokens import given_back
from vault_harness.judge.running import PROBE
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.history import SLACK, History
from vault_harness.recorder.observations import Exchange, Operation

LOGINS = 2
"""Logins for each step: for a doubt about the token, and for a race."""

LOGINS_AGAIN = 3
"""More logins if answers to logins may be lost: each try makes a token."""

BAD_LOGINS = 4
"""Refused logins with one secret-id; the fifth locks the role for everybody."""

TIMES = 2
"""Times the requests of a fault-free life's busiest second."""

REQUESTS = 12
"""More requests in a second, for the repetitions of four callers."""

OWN = 8
"""Requests in a second without a caller."""

_UNHEARD = frozenset({"lost", "silent", "late", "refused", "cut-off", "dripping", "page-200"})
"""Faults after which a client cannot know whether a login worked."""

_DENIES = frozenset(
    {"403", "page-403", "token-revoked", "policy-narrowed", "role-locked", "secret-id-gone"}
)
"""Faults after which a read may be answered 403."""

_DOUBTS = frozenset({"403", "page-403", "page-200", "token-revoked", "policy-narrowed"})
"""Faults after which a client may take its token for dead."""

TO_RENEW = 0.75
"""Part of a life after which a client that could not renew may log in."""

SPARE = 1.0
"""Seconds that a renewal or a recovery takes beyond a client's longest pause."""

RETRY_AFTER = 1.0
"""Seconds that ``429-retry-after`` asks a client to wait."""

_READS = ("read", "metadata", "write")


def measured(history: History, *, since: float) -> Baseline:
    sent = history.find(since=since)
    own = _busiest([e for e in sent if e.kind not in _READS])[0]
    lives = _lives(history)
    keeps = len(lives) > 1 and not _lapses(lives, history.now(), lambda _: False)
    return Baseline(_busiest(sent)[0], own, keeps and not looks_before_each_read(history))


def _busiest(sent: Sequence[Exchange]) -> tuple[int, float]:
    times = sorted(e.came for e in sent)
    counts = [(bisect_right(times, at + 1.0) - n, at) for n, at in enumerate(times)]
    return max(counts, default=(0, 0.0))


def asked(lab: Lab, schedule: Schedule, faults: Sequence[Fault]) -> list[Oracle]:
    found: list[Oracle] = [oracles.bad_logins_at_most(BAD_LOGINS)]
    begun = [fault for fault in faults if fault.began]
    baseline = schedule.baseline
    if baseline is not None:
        found.append(_requests_at_most(TIMES * baseline.rate + REQUESTS, "request", _any))
        own = TIMES * baseline.own + OWN
        found.append(_requests_at_most(own, "login, renewal or look", _unasked))
    if any(step.point.phase == "closing" for step in schedule.steps):
        found.append(oracles.ToTheEnd(_ends_in_time))
    elif baseline is not None and baseline.revokes:
        found.append(oracles.ToTheEnd(_not_revoked))
    if not begun:
        since = lab.steady_since
        found.append(_no_failed_read(since))
        found.append(oracles.no_refused_read(since=since, may_be_empty=True))
        found.append(_no_false_denial)
        return found
    first = min(fault.began for fault in begun)
    planned = int(lab.history.now() // lab.entry.max_ttl)
    most = sum(map(_logins, schedule.steps)) + planned + bool(schedule.max_ttl)
    found.append(oracles.logins_at_most(most, since=first))
    # The recorder stands behind the network, so it does not know which answers got through.
    deaf = begun if schedule.by_network else []
    if baseline is not None and baseline.keeps:
        found.append(_goes_on(_no_time(lab, schedule, begun), deaf, until=lab.history.now()))
    if not any(s.fault in _DOUBTS or _is_early(s) for s in schedule.steps):
        whole = lab.entry.max_ttl - lab.ttl
        found.append(_same_token(deaf, since=first, until=lab.history.now(), whole=whole))
    if any(step.fault == "429-retry-after" for step in schedule.steps):
        until = max(lab.history.now() if f.ended is None else f.ended for f in begun)
        found += [
            oracles.obeys_retry_after(since=first, until=until, kind=kind, may_be_empty=True)
            for kind in ("read", "login", "renew")
        ]
    if not any(step.fault in _DENIES for step in schedule.steps):
        found.append(_no_false_denial)
    elif [step.fault for step in schedule.steps] == ["policy-narrowed"] and not lab.leaves("file"):
        since = begun[0].began + lab.refresh + SLACK
        found.append(_denied_gives_nothing(since, _over(begun[0]) - SLACK))
    ended = [fault for fault in begun if fault.ended is not None]
    if len(ended) == len(begun) and (calm := _calm_since(lab, ended)) is not None:
        found.append(_no_failed_read(calm))
        if not any(step.fault in _DENIES for step in schedule.steps):
            found.append(oracles.no_refused_read(since=lab.steady_since, may_be_empty=True))
    return found


def _logins(step: Step) -> int:
    unheard = step.fault in _UNHEARD and (step.lasts or step.point.kind == "login")
    return LOGINS + LOGINS_AGAIN * bool(unheard)


def _is_early(step: Step) -> bool:
    """Return whether a fault may hit the login itself, which a client then repeats."""
    return step.point.kind == "login" or step.point.phase == "start"


@dataclass(frozen=True)
class _Life:
    """The life that one login or renewal gave a token.

    Attributes:
        heard: Whether the client surely got the answer, because no network fault was in force.
    """

    began: float
    ttl: float
    came: float
    heard: bool
    first: bool

    @property
    def end(self) -> float:
        return self.began + self.ttl


def _lives(history: History, deaf: Sequence[Fault] = ()) -> list[_Life]:
    def heard(grant: Exchange) -> bool:
        return not any(f.began <= _end(grant) and grant.began <= _over(f) for f in deaf)

    grants = history.find("login", "renew", where=lambda e: came_through(e) and bool(e.ttl))
    return [_Life(_end(e), e.ttl or 0.0, e.came, heard(e), e.kind == "login") for e in grants]


def _end(event: Exchange | Operation) -> float:
    return event.began if event.ended is None else event.ended


def _over(fault: Fault) -> float:
    return math.inf if fault.ended is None else fault.ended


def _lapses(
    lives: Sequence[_Life], until: float, excused: Callable[[float], bool]
) -> list[tuple[_Life, _Life | None]]:
    return [
        (life, following)
        for life, following in pairwise((*lives, None))
        if life is not None
        and life.heard
        and life.end <= until
        and (following is None or following.came > life.end)
        and not excused(life.end)
    ]


def _goes_on(excused: Callable[[float], bool], deaf: Sequence[Fault], *, until: float) -> Oracle:
    promise = "the token is renewed, or replaced, before its end"

    def oracle(history: History) -> list[Finding]:
        found = []
        for life, following in _lapses(_lives(history, deaf), until, excused):
            missed = None if following is None else following.came - life.end
            when = "never" if missed is None else f"{missed:.2f} s after its end"
            seen = (
                f"the token of +{life.began:.2f} s ended at +{life.end:.2f} s, the next came {when}"
            )
            found.append(Finding(promise, seen, life.began, missed=missed, until=life.end))
        return found

    return oracle


def _no_time(lab: Lab, schedule: Schedule, faults: Sequence[Fault]) -> Callable[[float], bool]:
    """Tell whether a fault left no time to renew before a token's end."""
    waits = SPARE - PROBE + RETRY_AFTER * any(s.fault == "429-retry-after" for s in schedule.steps)
    spans = [
        (f.began, _over(f) + waits + (lab.recovery_after(f) if f.ended is not None else 0.0))
        for f in faults
    ]
    return lambda end: any(began <= end < over for began, over in spans)


def _same_token(deaf: Sequence[Fault], *, since: float, until: float, whole: float) -> Oracle:
    """Check that no login replaces a living token that no fault calls in doubt.

    After `whole` seconds its max TTL keeps a renewal from giving it a whole life.
    """
    promise = "the token survives: no login"

    def oracle(history: History) -> list[Finding]:
        if logs_in_for_each_call(history):
            return []
        lives = [life for life in _lives(history, deaf) if life.heard]
        tried = history.find("login", since=since, until=until)
        seen = []
        for login in without_logins_in_turn(history, tried):
            before = [life for life in lives if life.began <= login.began]
            if not before or login.began >= before[-1].began + TO_RENEW * before[-1].ttl:
                continue
            made = max((life.began for life in before if life.first), default=before[0].began)
            if login.began < made + whole:
                seen.append(login)
        if not seen:
            return []
        text = f"a login at +{seen[0].began:.2f} s, in the life of a token"
        return [Finding(promise, text, seen[0].began, rests_on=())]

    return oracle


def _calm_since(lab: Lab, ended: Sequence[Fault]) -> float | None:
    """Return when all reads must be good; None if that time has not come."""
    calm = max(fault.end + lab.recovery_after(fault) for fault in ended) + lab.deadline
    return calm if calm < lab.history.now() else None


def _no_failed_read(since: float) -> Oracle:
    return oracles.no_failed_read(since=since, verbs=READ_VERBS, may_be_empty=True)


def _no_false_denial(history: History) -> list[Finding]:
    promise = "no read is reported as denied, since Vault denies none"
    denied = history.calls(*READ_VERBS, where=lambda call: call.outcome == "denied")
    if not denied:
        return []
    first = denied[0]
    seen = f"{counted(len(denied), 'read')} ended as denied, the first a {first.verb}"
    return [Finding(promise, seen, first.began, rests_on=(), until=first.ended)]


def _denied_gives_nothing(since: float, until: float) -> Oracle:
    promise = "a read fails as denied while a policy denies it"

    def oracle(history: History) -> list[Finding]:
        calls = history.calls(*READ_VERBS, since=since, where=lambda call: _end(call) < until)
        given = [call for call in calls if call.outcome in ("ok", "stale")]
        if not given:
            return []
        first = given[0]
        seen = (
            f"{counted(len(given), 'read')} of {len(calls)} gave a value, the first a {first.verb}"
        )
        return [Finding(promise, seen, first.began, rests_on=(), until=first.ended)]

    return oracle


def _ends_in_time(history: History) -> list[Finding]:
    """Check the end, for which the closing act waits five seconds."""
    promise = "a closed client ends cleanly within 5 s, whatever Vault does"
    hung = [call for call in history.calls("close") if call.outcome == "hung"]
    return [Finding(promise, "it did not", call.began, rests_on=()) for call in hung]


def revokes(history: History) -> bool:
    return bool(history.calls("close")) and not _not_revoked(history)


def _not_revoked(history: History) -> list[Finding]:
    """Check that a client revokes at its end the token that it got or used last."""
    promise = "the last token is given back at the end"
    closes = [call.began for call in history.calls("close")]
    if not closes or any(_over(fault) + SPARE > closes[-1] for fault in history.faults):
        return []  # a fault may have kept it from that
    sent = history.find(until=closes[-1], where=lambda e: e.kind != "revoke" and came_through(e))
    used = [e.token for e in sent if e.token]
    given = {e.token for e in history.find("revoke", since=closes[-1], where=given_back)}
    if not used or used[-1] in given:
        return []
    seen = f"{used[-1]}, of its last request, was not revoked"
    return [Finding(promise, seen, closes[-1], rests_on=())]


def _any(_: Exchange) -> bool:
    return True


def _unasked(exchange: Exchange) -> bool:
    return exchange.kind not in _READS


def _requests_at_most(most: int, what: str, counts: Callable[[Exchange], bool]) -> Oracle:
    promise = f"no storm: at most {most} {what}s in a second"

    def oracle(history: History) -> list[Finding]:
        sent = [e for e in history.find() if counts(e)]
        seen, at = _busiest(sent)
        if seen <= most:
            return []
        return [Finding(promise, f"{seen} {what}s in one second", at, rests_on=())]

    return oracle
