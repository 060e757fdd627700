"""Many instances of one client at once, and how they come back together after an outage."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from vault_harness.scenario._running import STEADY_WITHIN
from vault_harness.scenario.driver import Driver, reading
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.verdict import NotClaimed, NotExercised

AT_ONCE = 4
"""Instances that are started side by side; more would only wait for a core."""


def open_herd(lab: Lab, count: int) -> list[Driver]:
    """Start so many instances, each of which then has a token.

    Raises:
        NotClaimed: The subject is one server, and has no instances.
        NotExercised: One of them does not start, or does not read.
    """
    if lab.environment.subject.kind == "http":
        raise NotClaimed("a server is one instance: a herd needs many")
    first = lab.start()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        others = list(pool.map(lambda _: _open(lab), range(count - 1)))
    herd = [first, *(one for one in others if one is not None)]
    if len(herd) < count:
        raise NotExercised(f"of {count} instances {len(herd)} start and read")
    return herd


def _open(lab: Lab) -> Driver | None:
    """An instance that reads, as soon as it does; None if it does not start, or takes too long."""
    one = lab.open()
    if one is None:
        return None
    until = lab.history.now() + max(STEADY_WITHIN, lab.environment.start / 3)
    while (read := one.read()).failed:
        if read.outcome in ("hung", "died") or lab.history.now() > until:
            return None
        read.verb = "warm-up"  # nobody promised that it is ready at once
        lab.history.wait_for(lambda: False, 0.2, what="an instance that reads")
    return one


@contextmanager
def herd_reading(lab: Lab, herd: list[Driver], *, every: float) -> Iterator[None]:
    """Let a caller of each instance read, no two of them at the same moment."""
    with ExitStack() as callers:
        for driver in herd:
            callers.enter_context(reading(driver, every=every))
            lab.watch(every / len(herd))
        yield
