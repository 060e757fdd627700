"""Standing oracles: what is promised always, asked in every scenario, after each fault too.

Their findings rest on no fault: each is an excess, whatever else happened.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from vault_harness.scenario.history import History
from vault_harness.scenario.observations import Exchange
from vault_harness.scenario.oracles._absence import no_false_absence
from vault_harness.scenario.oracles._base import HANDOVER, Oracle
from vault_harness.scenario.oracles._dead_tokens import NEWS, no_request_with_a_dead_token
from vault_harness.scenario.oracles._lives import came_through
from vault_harness.scenario.oracles._pace import loops_have_pauses
from vault_harness.scenario.verdict import Finding

__all__ = [
    "CLOSE_BOUND",
    "NEWS",
    "TWINS",
    "closes_well",
    "loops_have_pauses",
    "no_false_absence",
    "no_request_with_a_dead_token",
    "one_renewal_at_a_time",
    "verbs_end_in_time",
]

CLOSE_BOUND = 5.0
"""Seconds beyond a call's deadline in which a subject must have ended, even when Vault hangs."""

TWINS = 0.02
"""Seconds after a granted renewal in which another one of the same token was sent at the same time.

Vault answers in a few milliseconds, so two that were sent together need not overlap. And the end of
a connection that a client gives up may be seen so much later than the next one, with its request.
"""


def verbs_end_in_time(deadline: float) -> Oracle:
    """``health`` ends within the deadline, and ``close`` soon after it; reads have an oracle."""
    bounds = {"health": deadline, "close": deadline + CLOSE_BOUND}

    def oracle(history: History) -> list[Finding]:
        findings = []
        for call in history.calls(*bounds):
            bound = bounds[call.verb]
            ended = call.ended if call.ended is not None else history.now()
            over = ended - call.began - bound - HANDOVER - history.slack(call.began, ended)
            if call.outcome == "hung" or over > 0:
                word = "had not ended" if call.outcome in ("hung", None) else "ended only"
                findings.append(
                    Finding(
                        f"{call.verb} ends within {bound:g} s",
                        f"{call.verb} {word} after {ended - call.began:.1f} s",
                        call.began,
                        rests_on=(),
                        missed=max(over, 0.0) if call.outcome != "hung" else None,
                        lacks=call.outcome == "hung",
                        until=ended,
                    )
                )
        return findings

    return oracle


def closes_well() -> Oracle:
    """A clean end succeeds, whatever is broken then."""

    def oracle(history: History) -> list[Finding]:
        bad = history.calls("close", where=lambda o: o.failed and o.outcome != "hung")
        return [
            Finding(
                "a clean end succeeds", f"close ended {o.told}", o.began,
                rests_on=(),
            )
            for o in bad[:1]
        ]  # fmt: skip

    return oracle


def one_renewal_at_a_time() -> Oracle:
    """No token has two renewals in flight together.

    Who gives one up that hangs, or lost its answer, may ask again at once.
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
                if (overlap and not _gave_up(history, first, second)) or twins:
                    seen = f"two of {token}: +{first.began:.3f} s and +{second.began:.3f} s"
                    return [Finding(promise, seen, second.began, rests_on=())]
        return []

    return oracle


def _gave_up(history: History, first: Exchange, second: Exchange) -> bool:
    """Whether the client ended the first one when it sent the second, whichever was seen first."""
    if first.closed != "client" or first.ended is None:
        return False
    return first.ended - second.began < TWINS + history.slack(second.began, first.ended)
