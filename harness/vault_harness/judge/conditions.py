"""Conditions: what must have happened for a verdict to mean anything.

Scenarios use them with `Lab.require` and `Lab.must_have`. Each function here returns a condition,
which takes a history. Times are seconds on the history's clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from vault_harness.judge.verdict import TOO_SLOW, Seen
from vault_harness.recorder.history import History
from vault_harness.recorder.interference import RequestKind
from vault_harness.recorder.observations import Exchange, Operation


@dataclass(frozen=True)
class Sighting:
    """What a condition saw.

    Attributes:
        text: The evidence, or what was missing.
        too_slow: Whether only the machine was too slow for it: the scenario runs again.
    """

    met: bool
    text: str
    too_slow: bool = False


Condition = Callable[[History], "Sighting | str | bool | None"]
"""Checks if something happened. Its evidence is a non-empty text, True or a `Sighting`."""


def look(name: str, condition: Condition, history: History) -> Seen:
    """Evaluate a condition, in the words of a verdict."""
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
    """At least `count` renewals that Vault granted."""
    return _exchanges(count, "renew", since, until, lambda e: e.good)


def logins(count: int, *, since: float = 0.0, until: float | None = None) -> Condition:
    """At least `count` logins that Vault accepted."""
    return _exchanges(count, "login", since, until, lambda e: e.good)


def refused(
    count: int,
    kind: RequestKind = "read",
    *,
    statuses: frozenset[int] = frozenset({400, 403}),
    since: float = 0.0,
    until: float | None = None,
) -> Condition:
    """At least `count` requests of this kind that Vault answered with one of these statuses."""
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
    """At least `count` different callers, each with its own request answered 403.

    The recorder does not know the caller of a request. Each refusal is attributed to a caller
    whose read was in progress, and no caller gets two.
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
    """At least `count` different values of one secret (of any, by default) that callers read."""

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
    """At least `count` reads, or good reads, by each caller.

    `callers` is the required number of callers; by default as many as were seen.
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
    """At least one request of this kind that reached Vault, whatever the answer."""
    return _exchanges(1, kind, since, until, lambda _: True)


def _when(exchanges: list[Exchange]) -> str:
    shown = ", ".join(f"+{exchange.began:.2f} s" for exchange in exchanges[:4])
    more = f" and {len(exchanges) - 4} more" if len(exchanges) > 4 else ""
    return f"{len(exchanges)} ({shown}{more})" if exchanges else "0"
