"""Conditions: what must have happened for a verdict to mean anything.

A scenario names them with `Lab.require` and `Lab.must_have`. Each function here makes a condition:
a plain function from a history to a `Sighting`, which says whether it holds and what was seen.
Times are seconds on the history's clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from vault_harness.faults import RequestKind
from vault_harness.scenario.history import History
from vault_harness.scenario.observations import Exchange, Operation
from vault_harness.scenario.verdict import TOO_SLOW, Seen


@dataclass(frozen=True)
class Sighting:
    """What a condition saw.

    Attributes:
        met: Whether it holds.
        text: What there was: the evidence, or what was short.
        too_slow: Whether nothing but the machine kept it from holding: the scenario is run again.
    """

    met: bool
    text: str
    too_slow: bool = False


Condition = Callable[[History], "Sighting | str | bool | None"]
"""Looks whether something happened. A text is evidence; an empty one, None and False are not."""


def look(name: str, condition: Condition, history: History) -> Seen:
    """Ask a condition, in the words of a verdict."""
    found = condition(history)
    if isinstance(found, Sighting):
        if found.met:
            return Seen(name, f"{name}: {found.text}", True)
        text = f"{name}: not seen, {found.text}"
        return Seen(name, f"{TOO_SLOW}: {text}" if found.too_slow else text, False)
    if found:
        return Seen(name, name if found is True else f"{name}: {found}", True)
    return Seen(name, f"{name}: not seen", False)


def renewals(count: int, *, since: float = 0.0, until: float | None = None) -> Condition:
    """At least so many renewals that Vault granted."""
    return _exchanges(count, "renew", since, until, lambda e: e.good)


def logins(count: int, *, since: float = 0.0, until: float | None = None) -> Condition:
    """At least so many logins that Vault accepted."""
    return _exchanges(count, "login", since, until, lambda e: e.good)


def refused(
    count: int,
    kind: RequestKind = "read",
    *,
    statuses: frozenset[int] = frozenset({400, 403}),
    since: float = 0.0,
    until: float | None = None,
) -> Condition:
    """At least so many requests of this kind that Vault answered with one of these statuses."""
    return _exchanges(count, kind, since, until, lambda e: e.status in statuses)


def _exchanges(
    count: int,
    kind: RequestKind,
    since: float,
    until: float | None,
    where: Callable[[Exchange], bool],
) -> Condition:
    def condition(history: History) -> Sighting:
        found = history.find(kind, since=since, until=until, where=where)
        return Sighting(len(found) >= count, f"{_when(found)} of at least {count}")

    return condition


def readers_refused(count: int, *, since: float = 0.0, until: float | None = None) -> Condition:
    """At least so many different callers each had a request of their own answered 403.

    The recorder does not know which caller a request is for, so each refusal is given to one
    caller that had a read under way then, and no caller gets two.
    """

    def condition(history: History) -> Sighting:
        refusals = history.find(
            "read", "metadata", since=since, until=until, where=lambda e: e.status == 403
        )
        free = sorted(
            history.calls("read", "read_cached"),
            key=lambda o: o.ended if o.ended is not None else float("inf"),
        )
        met: set[int] = set()
        for refusal in refusals:
            mine = next((o for o in free if o.caller not in met and _under_way(o, refusal)), None)
            if mine is not None:
                met.add(mine.caller)
        text = f"{len(met)} of at least {count} callers ({len(refusals)} reads answered 403)"
        return Sighting(len(met) >= count, text)

    return condition


def _under_way(operation: Operation, exchange: Exchange) -> bool:
    ended = operation.ended if operation.ended is not None else float("inf")
    return operation.began <= exchange.began <= ended


def versions_served(count: int, *, path: str | None = None) -> Condition:
    """Callers were given at least so many different values of one secret, or of any."""

    def condition(history: History) -> Sighting:
        served: dict[str, set[str]] = {}
        for read in history.calls("read", "read_cached", where=lambda o: o.good):
            if path in (None, read.path) and read.value:
                served.setdefault(read.path, set()).add(read.value)
        most = max(served.values(), key=len, default=set())
        names = f" ({', '.join(sorted(most))})" if most else ""
        return Sighting(len(most) >= count, f"{len(most)} of at least {count}{names}")

    return condition


def calls_by_each_caller(
    count: int,
    *,
    callers: int | None = None,
    since: float = 0.0,
    until: float | None = None,
    good: bool = False,
) -> Condition:
    """Each caller made at least so many reads.

    Args:
        count: How many reads.
        callers: How many callers there must be; by default as many as were seen.
        since: Reads that began before do not count.
        until: Nor do those that began later.
        good: Count good reads only.
    """

    def condition(history: History) -> Sighting:
        made = Counter({o.caller: 0 for o in history.calls("read", "read_cached")})
        made.update(
            o.caller
            for o in history.calls(
                "read", "read_cached", since=since, until=until, where=lambda o: o.good or not good
            )
        )
        few = {caller: number for caller, number in made.items() if number < count}
        wanted = max(len(made), 1) if callers is None else callers
        met = not few and len(made) >= wanted
        least = min(made.values(), default=0)
        return Sighting(
            met, f"{len(made)} of {wanted} callers, the least made {least} of at least {count}"
        )

    return condition


def happened(kind: RequestKind, *, since: float = 0.0, until: float | None = None) -> Condition:
    """At least one request of this kind reached Vault, whatever it answered."""
    return _exchanges(1, kind, since, until, lambda _: True)


def _when(exchanges: list[Exchange]) -> str:
    shown = ", ".join(f"+{exchange.began:.2f} s" for exchange in exchanges[:4])
    more = f" and {len(exchanges) - 4} more" if len(exchanges) > 4 else ""
    return f"{len(exchanges)} ({shown}{more})" if exchanges else "0"
