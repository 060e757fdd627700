"""Standing oracles: what is promised always, asked in every scenario, after each fault too.

Their findings rest on no fault: each is an excess, whatever else happened.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from vault_harness.scenario.history import History
from vault_harness.scenario.observations import Exchange, Operation
from vault_harness.scenario.oracles._base import Oracle
from vault_harness.scenario.verdict import Finding

CLOSE_BOUND = 5.0
"""Seconds beyond a call's deadline in which a subject must have ended, even when Vault hangs."""

TWINS = 0.02
"""Seconds after a granted renewal in which another one of the same token was sent at the same time.

Vault answers in a few milliseconds, so two that were sent together need not overlap.
"""

NEWS = 0.25
"""Seconds in which a new token reaches every call that was about to be sent with the old one."""


def verbs_end_in_time(deadline: float) -> Oracle:
    """``health`` ends within the deadline, and ``close`` soon after it; reads have an oracle."""
    bounds = {"health": deadline, "close": deadline + CLOSE_BOUND}

    def oracle(history: History) -> list[Finding]:
        findings = []
        for call in history.calls(*bounds):
            bound = bounds[call.verb]
            ended = call.ended if call.ended is not None else history.now()
            over = ended - call.began - bound - history.slack(call.began, ended)
            if call.outcome == "hung" or over > 0:
                word = "had not ended" if call.outcome in ("hung", None) else "ended only"
                findings.append(
                    Finding(
                        f"{call.verb} ends within {bound:g} s",
                        f"{call.verb} {word} after {ended - call.began:.1f} s",
                        call.began,
                        rests_on=(),
                        missed=max(over, 0.0),
                        until=ended,
                    )
                )
        return findings[:3]

    return oracle


def closes_well() -> Oracle:
    """A clean end succeeds, whatever is broken then."""

    def oracle(history: History) -> list[Finding]:
        bad = history.calls("close", where=lambda o: o.failed and o.outcome != "hung")
        return [
            Finding(
                "a clean end succeeds", f"close ended {o.outcome}: {o.message}", o.began,
                rests_on=(),
            )
            for o in bad[:1]
        ]  # fmt: skip

    return oracle


def writes_succeed(grace: float) -> Oracle:
    """A write that lies outside every fault, and not soon after one, succeeds.

    Args:
        grace: Seconds after a fault in which a client may still be at a loss.
    """

    def oracle(history: History) -> list[Finding]:
        bad = [w for w in history.calls("write") if w.failed and not _disturbed(history, w, grace)]
        return [
            Finding("a write succeeds while nothing is broken",
                    f"a write to {w.path} ended {w.outcome}: {w.message}", w.began, rests_on=())
            for w in bad[:1]
        ]  # fmt: skip

    return oracle


def _disturbed(history: History, call: Operation, grace: float) -> bool:
    ended = call.ended if call.ended is not None else history.now()
    return any(
        fault.began <= ended and (fault.ended is None or call.began <= fault.ended + grace)
        for fault in history.faults
    )


def one_renewal_at_a_time() -> Oracle:
    """No token has two renewals in flight together."""
    promise = "one renewal of a token at a time"

    def oracle(history: History) -> list[Finding]:
        by_token: defaultdict[str, list[Exchange]] = defaultdict(list)
        for renewal in history.find("renew", where=lambda e: e.token is not None):
            by_token[renewal.token or ""].append(renewal)
        for token, renewals in by_token.items():
            for first, second in pairwise(renewals):
                overlap = first.ended is None or second.began < first.ended
                twins = first.good and second.began - (first.ended or 0.0) < TWINS
                if overlap or twins:
                    seen = f"two of {token}: +{first.began:.3f} s and +{second.began:.3f} s"
                    return [Finding(promise, seen, second.began, rests_on=())]
        return []

    return oracle


def no_request_with_a_dead_token() -> Oracle:
    """A token that Vault called dead, and that a new login replaced, is never sent again.

    It was called dead by a look at itself or a renewal that was answered 403, or by its own
    revocation. What was about to be sent when the new token came may still come; and an answer
    that a fault held up is news only once the fault is over.
    """
    promise = "no request with a token that is known to be dead"

    def oracle(history: History) -> list[Finding]:
        for token, known in _known_dead(history).items():
            late = [e for e in history.find(since=known) if e.token == token and e.kind != "login"]
            if late:
                first = late[0]
                seen = (
                    f"{len(late)} with {token}, the first a {first.kind} "
                    f"{first.began - known:.1f} s after its successor had come"
                )
                return [Finding(promise, seen, first.began, rests_on=())]
        return []

    return oracle


def _known_dead(history: History) -> dict[str, float]:
    """From when on each dead token must not be seen any more."""
    known: dict[str, float] = {}
    logins = history.logins()
    for exchange in history.find("lookup", "renew", "revoke"):
        if exchange.token is None or exchange.ended is None or exchange.token in known:
            continue
        given_back = exchange.kind == "revoke" and exchange.good
        if not given_back and (exchange.kind == "revoke" or exchange.status != 403):
            continue
        successor = next((e for e in logins if (e.ended or e.began) >= exchange.ended), None)
        if successor is None or successor.ended is None:
            continue
        told = successor.ended
        for fault in history.faults:
            if fault.began <= told and (fault.ended is None or fault.ended > told):
                told = float("inf") if fault.ended is None else fault.ended
        known[exchange.token] = told + NEWS + history.slack(successor.began, told + NEWS)
    return known
