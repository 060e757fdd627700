"""Oracles on what the lab itself has counted or measured."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence

from vault_harness.judge.oracles.base import Oracle
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import SLACK, History


def none_of(
    what: str,
    seen: Collection[str] | Mapping[str, float],
    *,
    harm: bool = False,
    at: float | None = None,
    rests_on: tuple[str, ...] | None = None,
) -> Oracle:
    """Check that the lab saw nothing of a kind.

    Args:
        what: The promise.
        seen: What the lab saw, in words; a mapping also gives the moment of each.
        at: The moment of all of it; by default that of judging.
        rests_on: As of a finding; by default the last fault that began before that moment.
    """

    def oracle(history: History) -> list[Finding]:
        if not seen:
            return []
        when = history.now() if at is None else at
        if isinstance(seen, Mapping):
            when = min(seen.values())
            text = "; ".join(sorted(seen, key=lambda one: (seen[one], one)))
        else:
            text = "; ".join(sorted(seen))
        return [Finding(what, text, when, harm=harm, rests_on=rests_on)]

    return oracle


def at_most(limit: float, seen: float, what: str) -> Oracle:
    """Check that a number that the lab measured is within its limit.

    Args:
        what: What is counted: ``tokens alive, as before``.
    """

    def oracle(history: History) -> list[Finding]:
        if seen <= limit:
            return []
        promise, text = f"at most {limit:g} {what}", f"{seen:g} {what}"
        return [Finding(promise, text, history.now())]

    return oracle


def takes_at_most(limit: float, what: str, *, since: float, until: float) -> Oracle:
    """Check that a time that the lab measured, on the history's clock, is within its limit.

    Args:
        limit: Seconds.
        what: What took the time: ``until it has ended``.
    """

    def oracle(_: History) -> list[Finding]:
        took = until - since
        missed = took - limit - SLACK
        if missed <= 0:
            return []
        promise, text = f"at most {limit:g} seconds {what}", f"{took:.2f} seconds {what}"
        return [Finding(promise, text, since, missed=missed, until=until)]

    return oracle


LINES = 2000
"""Lines in any second that a client may log by itself. A trace of each byte of a few requests is
shorter; a loop without a pause writes several times as many.
"""

LINES_FOR_A_CALL = 200
"""Additional lines in any second for each call under way: some clients log each failure and its
causes.
"""

SEEN_LATE = 0.1
"""Seconds by which a line may be seen late, so that more than a second's lines are seen in one."""


def log_has_pauses(lines: Sequence[float], *, since: float, until: float) -> Oracle:
    """Check that no second has more log lines than only a loop without a pause writes.

    Such a loop may send nothing, for example while a circuit is open.

    Args:
        lines: When each line of the log was first seen, in order.
    """
    promise = (
        f"no log without a pause (at most {LINES} lines a second of the client's own, "
        f"and {LINES_FOR_A_CALL} for each call)"
    )

    def oracle(history: History) -> list[Finding]:
        for number, at in enumerate(lines):
            end = at + 1.0
            seen = bisect_right(lines, end) - number
            if not since <= at <= until or seen <= LINES:
                continue
            calls = history.calls(until=end, where=lambda o: o.ended is None or o.ended >= at)  # noqa: B023 - asked for at once
            most = LINES + LINES_FOR_A_CALL * len(calls)
            if seen > most * (1.0 + SEEN_LATE + SLACK):
                text = f"{seen} lines in one second, {most} are allowed"
                return [Finding(promise, text, at, rests_on=())]
        return []

    return oracle
