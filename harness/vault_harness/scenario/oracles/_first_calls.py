"""The first calls of an instance: who is late for what a virtual machine loads only then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from vault_harness.scenario.history import History
from vault_harness.scenario.observations import Operation

LOADS = 2.0
"""Seconds beyond its deadline for the first call of an instance, whatever is broken meanwhile: what
a virtual machine loads, or an interpreter imports, takes up to one and a half on a busy machine.
"""


def slow_at_first(
    calls: Sequence[Operation], deadline: float, *, ready: Operation
) -> list[Operation]:
    """The calls that were late for what is loaded once: one of them, or all that waited for it.

    Those had begun before everything was loaded, which was late itself, and had a call's deadline
    after it at most.

    Args:
        calls: The first ones of an instance.
        deadline: Seconds that each has.
        ready: The call whose end shows that everything is loaded.
    """
    loaded = ready.ended or ready.began
    late = [o for o in calls if o.began <= loaded and (o.ended or loaded) - o.began > deadline]
    if ready not in late:
        return late[:1]
    return [o for o in late if (o.ended or loaded) <= loaded + deadline]


def late_by_loading(history: History, verbs: Sequence[str], deadline: float) -> list[Operation]:
    """Of each instance the calls that may be late, by `LOADS`, for what it loads once.

    In an outage none need be good: the first that ends, as whatever, shows that all is loaded.

    Args:
        history: With every call; those that were let off before any fault count as first ones.
        verbs: What is asked of an instance.
        deadline: Seconds that each call has.
    """
    instances: defaultdict[int, list[Operation]] = defaultdict(list)
    for call in history.calls(*verbs, "warm-up"):
        if call.instance is not None:
            instances[call.instance].append(call)
    found = []
    for calls in instances.values():
        ended = [call for call in calls if call.ended is not None]
        if ended:
            ready = min(ended, key=lambda o: o.ended or o.began)
            found += slow_at_first(calls, deadline, ready=ready)
    return found
