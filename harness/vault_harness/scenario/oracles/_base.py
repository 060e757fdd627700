"""What all oracles share: their shape, and how a finding lists what it is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vault_harness.scenario.history import History
from vault_harness.scenario.observations import Exchange, Operation
from vault_harness.scenario.verdict import Finding

Oracle = Callable[[History], list[Finding]]


@dataclass(frozen=True)
class ToTheEnd:
    """An oracle about what may come late: it is asked of the closing act too, and after a while.

    A good read shows that the client is well again, and not that it is done: one of its threads may
    still do what the oracle forbids.
    """

    oracle: Oracle

    def __call__(self, history: History) -> list[Finding]:
        """What the oracle finds."""
        return self.oracle(history)


HANDOVER = 0.1
"""Seconds granted to a call beyond its deadline. Two clocks are at work there: the subject's own
timer starts after the harness has called it, and its answer comes back through a thread or a pipe.
"""


def times(events: Iterable[Exchange | Operation], most: int = 6) -> str:
    """When those began, for a finding: the first `most` of them."""
    shown = [f"+{event.began:.2f}" for event in events]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def counted(number: int, thing: str) -> str:
    """A number of things: ``1 login``, ``2 logins``."""
    return f"{number} {thing}{'s' * (number != 1)}"


def requests(exchanges: list[Exchange], most: int = 6) -> str:
    """Which requests those were: how many of each kind, and the first `most` with their times."""
    kinds = ", ".join(
        f"{count} {kind}" for kind, count in Counter(e.kind for e in exchanges).items()
    )
    first = [
        f"{e.kind} +{e.began:.2f} ({'no answer' if e.status is None else e.status})"
        for e in exchanges[:most]
    ]
    more = f" and {len(exchanges) - most} more" if len(exchanges) > most else ""
    return f"{kinds}: {', '.join(first)}{more}"


def window(since: float, until: float | None) -> str:
    """A window of time in words, for a finding on what it lacks."""
    if until is None:
        return f"after +{since:.2f} s"
    return f"between +{since:.2f} and +{until:.2f} s"


def lacking(promise: str, what: str, since: float, until: float | None) -> list[Finding]:
    """The finding of an oracle that has nothing to look at: what holds for nothing shows nothing.

    Args:
        promise: What the oracle is about.
        what: What there should have been: ``read``.
        since: When its window begins.
        until: When its window ends.
    """
    seen = f"nothing shows it: there was no {what} {window(since, until)}"
    return [Finding(promise, seen, since)]


def surest(found: Iterable[Finding]) -> list[Finding]:
    """The first of these that counts as it is; if there is none, the first that is to be repeated.

    Or a request that came a moment late would have a second run judge what is no matter of moments.
    """
    return sorted(found, key=lambda finding: finding.repeated)[:1]
