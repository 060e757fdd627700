"""Judge what the lab has measured, and the address of each request."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence

from vault_harness.judge.oracles.base import Oracle, counted
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import FIRST_ADDRESS, SLACK, History
from vault_harness.recorder.observations import Exchange


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
        seen: What the lab saw, in words; a mapping also gives the moment of each event.
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

    `what` names what is counted: ``tokens alive, as before``.
    """

    def oracle(history: History) -> list[Finding]:
        if seen <= limit:
            return []
        promise, text = f"at most {limit:g} {what}", f"{seen:g} {what}"
        return [Finding(promise, text, history.now())]

    return oracle


def takes_at_most(limit: float, what: str, *, since: float, until: float) -> Oracle:
    """Check that a time that the lab measured, on the history's clock, is within its limit.

    `what` names what took it: ``until it has ended``.
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
"""Lines that a client may log by itself in a second: more than a trace of every byte of a few
requests, and far fewer than a loop without a pause writes.
"""

LINES_FOR_A_CALL = 200
"""More lines for each call: some clients log each failure and its causes."""

SEEN_LATE = 0.1
"""The share of lines that one second may show too many, because they are seen late."""


def log_has_pauses(lines: Sequence[float], *, since: float, until: float) -> Oracle:
    """Check that the log shows no loop without a pause, which may send nothing.

    Args:
        lines: When each line was first seen, in ascending order.
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


def reads_at(
    history: History, address: str, *, since: float = 0.0, until: float | None = None
) -> list[Exchange]:
    return history.find(
        "read",
        since=since,
        until=until,
        where=lambda e: e.good and history.address_of(e.connection) == address,
    )


def reaches_address(address: str, within: float, *, since: float) -> Oracle:
    """Check that a good read comes over an address in time after the name was led there."""
    promise = f"reads go to {address} within {within:g} s after the name of Vault was led there"

    def oracle(history: History) -> list[Finding]:
        end = since + within
        came = reads_at(history, address, since=since)
        if not came:
            seen = f"none came up to +{history.now():.2f} s"
            return [Finding(promise, seen, since, until=end)]
        ended = came[0].ended if came[0].ended is not None else history.now()
        over = ended - end - SLACK
        if over <= 0:
            return []
        text = f"the first came after {ended - since:.2f} s"
        return [Finding(promise, text, since, missed=over, until=ended)]

    return oracle


def leaves_address(address: str, *, since: float) -> Oracle:
    """Check that the client opens no more connections to an address.

    Those that the machine refuses are not seen.
    """
    where = "the first address" if address == FIRST_ADDRESS else address
    promise = f"nobody asks at {where} any more once the name leads elsewhere and is followed"

    def oracle(history: History) -> list[Finding]:
        opened = [
            at
            for number, at in enumerate(list(history.connections), start=1)
            if at >= since and history.address_of(number) == address
        ]
        if not opened:
            return []
        text = f"{counted(len(opened), 'connection')}, the first at +{opened[0]:.2f} s"
        return [Finding(promise, text, opened[0], rests_on=())]

    return oracle
