"""Oracles on callers that are served again and again."""

from __future__ import annotations

from itertools import pairwise

from vault_harness.scenario.history import History
from vault_harness.scenario.oracles._base import Oracle
from vault_harness.scenario.verdict import Finding


def reads_go_on(bound: float, *, since: float, until: float, path: str) -> Oracle:
    """From one good read of a secret to the next it is at most `bound` seconds, for that time.

    It finds fault where nobody reads: that cannot be told from one who waits.

    Args:
        bound: Seconds.
        since: When it begins, as if a good read had just ended.
        until: When it ends, as if a good read had just come.
        path: Which secret.
    """
    promise = f"no reader of {path} waits longer than {bound:g} s for a good read"

    def oracle(history: History) -> list[Finding]:
        good = [
            o.ended
            for o in history.calls("read", "read_cached", where=lambda o: o.good and o.path == path)
            if o.ended is not None and since < o.ended < until
        ]
        for one, next_one in pairwise([since, *sorted(good), until]):
            over = next_one - one - bound - history.slack(one, next_one)
            if over > 0:
                text = f"none came for {next_one - one:.2f} s, from +{one:.2f} s on"
                return [Finding(promise, text, one, missed=over, until=next_one)]
        return []

    return oracle
