"""Oracles on what the lab has counted or measured by itself."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence

from vault_harness.scenario.history import History
from vault_harness.scenario.oracles._base import Oracle
from vault_harness.scenario.verdict import Finding


def none_of(
    what: str,
    seen: Collection[str] | Mapping[str, float],
    *,
    harm: bool = False,
    at: float | None = None,
    rests_on: tuple[str, ...] | None = None,
) -> Oracle:
    """A promise about something that the lab counted by itself: nothing of it was seen.

    Args:
        what: The promise.
        seen: What was, in words; with the moment of each, where those differ.
        harm: As of a finding.
        at: The moment of all of it; where none is given that of judging, for what is so to the end.
        rests_on: As of a finding: by default the fault that had begun last by that moment.
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


def at_most(limit: float, seen: float, what: str, *, late: float = 0.0) -> Oracle:
    """A promise about a number that the lab measured by itself.

    Args:
        limit: What is granted.
        seen: What was measured.
        what: What is counted: ``tokens alive, as before``.
        late: An excess of no more than this may be the machine's doing, and counts if it is found
            again.
    """

    def oracle(history: History) -> list[Finding]:
        if seen <= limit:
            return []
        promise, text = f"at most {limit:g} {what}", f"{seen:g} {what}"
        return [Finding(promise, text, history.now(), repeated=0 < seen - limit <= late)]

    return oracle


def takes_at_most(limit: float, what: str, *, since: float, until: float) -> Oracle:
    """A promise about a time that the lab measured by itself, on the history's clock.

    Args:
        limit: Seconds that are granted, beyond what the machine was late by.
        what: What took so long: ``until it has ended``.
        since: When it began.
        until: When it was done.
    """

    def oracle(history: History) -> list[Finding]:
        took = until - since
        missed = took - limit - history.slack(since, until)
        if missed <= 0:
            return []
        promise, text = f"at most {limit:g} seconds {what}", f"{took:.2f} seconds {what}"
        return [Finding(promise, text, since, missed=missed, until=until)]

    return oracle


LINES = 2000
"""Lines in any second of a client's own, whoever calls: what traces each byte of a few requests
writes fewer, and a loop without a pause several times as many."""

LINES_FOR_A_CALL = 200
"""Lines in any second for each call that goes on in it: some write where they failed, and why, and
why that was, each time."""

SEEN_LATE = 0.1
"""Seconds by which a line may be seen late: so much more than a second's are seen in one."""


def log_has_pauses(lines: Sequence[float], *, since: float, until: float) -> Oracle:
    """In no second of that time is more logged than only a loop without a pause logs.

    Such a loop need send nothing: Vault is away, a circuit is open, and it waits for neither. It
    holds for silence.

    Args:
        lines: When each line of the log was first seen, in order.
        since: When it begins.
        until: When it ends.
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
            if seen > most * (1.0 + SEEN_LATE + history.slack(at, end)):
                text = f"{seen} lines in one second, {most} are allowed"
                return [Finding(promise, text, at, rests_on=())]
        return []

    return oracle
