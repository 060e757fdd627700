"""What a schedule may cost a client, beyond the standing oracles.

A false alarm is worse than a miss: each budget is what correct clients need, and about as much
again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vault_harness.judge import oracles
from vault_harness.judge.explore.schedule import Schedule, Step
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import Oracle
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Exchange

LOGINS = 2
"""Logins for a step: one for a doubt about the token, and one for a lost race."""

LOGINS_AGAIN = 3
"""Further logins if answers to logins may not arrive: each try makes a token."""

BAD_LOGINS = 4
"""Refused logins with one secret-id; the fifth locks the role for everybody."""

TIMES = 2
"""Times the busiest second of a fault-free life that a second may hold."""

REQUESTS = 12
"""Requests in a second beyond that, for the repetitions of four callers."""

OWN = 8
"""Requests in a second that no caller asks for: logins, renewals and looks."""

_UNHEARD = frozenset({"lost", "silent", "late", "refused", "cut-off", "dripping", "page-200"})
"""Faults after which a client cannot know whether a login worked."""

_DENIES = frozenset(
    {"403", "page-403", "token-revoked", "policy-narrowed", "role-locked", "secret-id-gone"}
)
"""Faults after which a read may be answered 403 through no fault of the client."""

_READS = ("read", "metadata", "write")


@dataclass(frozen=True)
class Baseline:
    """What fault-free lives cost.

    Attributes:
        rate: Requests in the busiest second.
        own: Those in it that no caller asks for.
    """

    rate: int = 0
    own: int = 0

    def joined(self, other: Baseline) -> Baseline:
        """Return what the costlier of two lives costs."""
        return Baseline(max(self.rate, other.rate), max(self.own, other.own))


def measured(history: History, *, since: float) -> Baseline:
    """Return what a life cost after its steady state."""
    sent = history.find(since=since)
    return Baseline(_busiest(sent)[0], _busiest([e for e in sent if e.kind not in _READS])[0])


def _busiest(sent: Sequence[Exchange]) -> tuple[int, float]:
    times = sorted(e.came for e in sent)
    counts = [(bisect_right(times, at + 1.0) - n, at) for n, at in enumerate(times)]
    return max(counts, default=(0, 0.0))


def asked(
    lab: Lab, schedule: Schedule, faults: Sequence[Fault], baseline: Baseline | None
) -> list[Oracle]:
    """Return the oracles for a run, beyond those that every scenario asks."""
    found: list[Oracle] = [oracles.bad_logins_at_most(BAD_LOGINS)]
    begun = [fault for fault in faults if fault.began]
    if baseline is not None:
        found.append(_requests_at_most(TIMES * baseline.rate + REQUESTS, "request", _any))
        own = TIMES * baseline.own + OWN
        found.append(_requests_at_most(own, "login, renewal or look", _unasked))
    if any(step.point.phase == "closing" for step in schedule.steps):
        found.append(oracles.ToTheEnd(_ends_in_time))
    if not begun:
        return found
    first = min(fault.began for fault in begun)
    found.append(oracles.logins_at_most(sum(map(_logins, schedule.steps)), since=first))
    if any(step.fault == "429-retry-after" for step in schedule.steps):
        until = max(lab.history.now() if f.ended is None else f.ended for f in begun)
        found += [
            oracles.obeys_retry_after(since=first, until=until, kind=kind, may_be_empty=True)
            for kind in ("read", "login", "renew")
        ]
    ended = [fault for fault in begun if fault.ended is not None]
    if len(ended) == len(begun) and (calm := _calm_since(lab, ended)) is not None:
        found.append(oracles.no_failed_read(since=calm, may_be_empty=True))
        if not any(step.fault in _DENIES for step in schedule.steps):
            found.append(oracles.no_refused_read(since=lab.steady_since, may_be_empty=True))
    return found


def _logins(step: Step) -> int:
    unheard = step.fault in _UNHEARD and (step.lasts or step.point.kind == "login")
    return LOGINS + LOGINS_AGAIN * bool(unheard)


def _calm_since(lab: Lab, ended: Sequence[Fault]) -> float | None:
    """Return when reads must be good for good: after a good read that follows recovery's time."""
    calm = max(fault.end + lab.recovery_after(fault) for fault in ended) + lab.deadline
    return calm if calm < lab.history.now() else None


def _ends_in_time(history: History) -> list[Finding]:
    """Check that the client ended when it was closed. The closing act waits for five seconds."""
    promise = "a closed client ends cleanly within 5 s, whatever Vault does"
    hung = [call for call in history.calls("close") if call.outcome == "hung"]
    return [Finding(promise, "it did not", call.began, rests_on=()) for call in hung]


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
