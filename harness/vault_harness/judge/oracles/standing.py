"""Standing oracles: promises that every scenario asks for, also after its faults.

Their findings depend on no fault: each is an excess, whatever else happened.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from vault_harness.judge.oracles.absence import no_false_absence
from vault_harness.judge.oracles.base import HANDOVER, Oracle
from vault_harness.judge.oracles.dead_tokens import NEWS, no_request_with_a_dead_token
from vault_harness.judge.oracles.lives import came_through
from vault_harness.judge.oracles.pace import loops_have_pauses
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import SLACK, History
from vault_harness.recorder.observations import Exchange

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
"""Seconds after a granted renewal in which another one of the same token counts as sent together.

Vault answers in a few milliseconds, so two such renewals need not overlap. The recorder may see a
closed connection this much later than the next request.
"""


def health_ends_within(deadline: float) -> Oracle:
    """Check that ``health`` ends within the deadline; calls for secrets have their own oracle."""
    promise = f"health ends within {deadline:g} s"

    def oracle(history: History) -> list[Finding]:
        findings = []
        for call in history.calls("health"):
            ended = call.ended if call.ended is not None else history.now()
            over = ended - call.began - deadline - HANDOVER - SLACK
            if call.outcome == "hung" or over > 0:
                word = "had not ended" if call.outcome in ("hung", None) else "ended only"
                findings.append(
                    Finding(
                        promise,
                        f"health {word} after {ended - call.began:.1f} s",
                        call.began,
                        rests_on=(),
                        missed=max(over, 0.0) if call.outcome != "hung" else None,
                        until=ended,
                    )
                )
        return findings

    return oracle


def one_renewal_at_a_time() -> Oracle:
    """Check that no token has two renewals in flight together.

    A client that gives up a renewal, because it hangs or lost its answer, may ask again at once.
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
    """Return whether the client had given up the first request when it sent the second.

    The recorder may see the two events in either order.
    """
    if first.closed != "client" or first.ended is None:
        return False
    return first.ended - second.began < TWINS + SLACK
