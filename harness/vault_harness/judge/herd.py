"""Many instances of one client, and how they recover together after an outage."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from vault_harness.errors import SubjectError
from vault_harness.judge.driver import Driver, reading, redacted
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import still_waiting
from vault_harness.judge.running import STEADY_WITHIN
from vault_harness.judge.subjects import OperationFailed
from vault_harness.judge.verdict import NotClaimed, NotExercised

AT_ONCE = 4
"""Number of instances that start at once; more would only wait for a core."""


LOOK_EVERY = 0.2
"""Seconds between two checks of a large history."""


def open_herd(lab: Lab, count: int) -> list[Driver]:
    """Start `count` instances, each with its own token."""
    if lab.environment.subject.kind == "http":
        raise NotClaimed("a server is one instance: a herd needs many")
    first = lab.start()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        others = list(pool.map(lambda _: open_reading(lab), range(count - 1)))
    herd = [first, *(one for one in others if one is not None)]
    if len(herd) < count:
        raise NotExercised(f"of {count} instances {len(herd)} start and read")
    lab.history.clients = count
    return herd


def open_light_herd(lab: Lab, count: int) -> list[Driver]:
    """Start one process that makes `count` clients, of which only the first has a token."""
    first = lab.start()
    operation = lab.history.begin_operation("herd")
    try:
        herd = first.herd(count, timeout=lab.environment.start)
    except (OperationFailed, SubjectError) as error:
        text = redacted(lab.secrets, str(error))
        lab.history.end_operation(operation, "error", message=text)
        raise NotExercised(f"the subject claims herd, and makes none: {text}") from None
    lab.history.end_operation(operation, "ok")
    lab.history.clients = count
    return herd


def all_served(lab: Lab, *, since: float, within: float) -> None:
    """Wait until each caller that read before has had a good read after `since`.

    The history changes hundreds of times a second, so it is checked at intervals.
    """
    until = lab.history.now() + within
    while still_waiting(lab.history, since=since) and lab.history.now() < until:
        lab.watch(LOOK_EVERY)


def open_reading(lab: Lab) -> Driver | None:
    """Start an instance and return it once it reads; None if it does not in time."""
    one = lab.open()
    if one is None:
        return None
    until = lab.history.now() + max(STEADY_WITHIN, lab.environment.start / 3)
    reads = [one.read()]
    while reads[-1].failed:
        if reads[-1].outcome in ("hung", "died") or lab.history.now() > until:
            return None
        lab.history.let_pass(0.2, what="an instance that reads")
        reads.append(one.read())
    lab.mark_warm_up(reads)
    return one


@contextmanager
def herd_reading(lab: Lab, herd: list[Driver], *, every: float) -> Iterator[None]:
    """Let a caller of each instance read, at moments spread over `every` seconds."""
    stop = threading.Event()
    with ExitStack() as callers:
        for driver in herd:
            callers.enter_context(reading(driver, every=every, stop=stop))
            lab.watch(every / len(herd))
        yield
