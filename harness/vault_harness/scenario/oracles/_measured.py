"""Oracles on what the lab has counted or measured by itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping

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
