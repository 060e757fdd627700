"""Clients that are started in the middle of a scenario."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vault_harness.faults import Fault
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.oracles import LOADS
from vault_harness.scenario.verdict import Finding


def start_meanwhile(lab: Lab) -> threading.Event:
    """Start the subject in a thread of its own and let it read once; tells when that is done.

    Whatever is broken meanwhile, that first call may load for a while (`oracles.LOADS`).
    """
    opened = threading.Event()

    def start() -> None:
        try:
            if (client := lab.open(timeout=lab.start_under_a_fault)) is not None:
                client.read()
        finally:
            opened.set()

    threading.Thread(target=start, name="start", daemon=True).start()
    return opened


def await_start(lab: Lab, opened: threading.Event) -> bool:
    """Wait for what `start_meanwhile` began, for longer than a start may take; whether it came.

    Who is slow at it is granted more, by what it took before the scenarios.
    """
    return lab.history.wait_for(opened.is_set, lab.longest_start, what="a start")


def tries_meanwhile(
    lab: Lab, opened: threading.Event, tried: Callable[[], bool], *, within: float
) -> bool:
    """Wait until who is started meanwhile has tried something; whether it has.

    Args:
        lab: The scenario.
        opened: From `start_meanwhile`.
        tried: Whether it has.
        within: Seconds that it has for that once it has started, for which it has its own time.
    """
    lab.history.wait_for(lambda: tried() or opened.is_set(), lab.longest_start, what="a start")
    return lab.until(tried, within=within)


@contextmanager
def callers_if_started(lab: Lab, fault: Fault, *, every: float, callers: int) -> Iterator[bool]:
    """Let callers read while the block runs, once the subject has started under a fault.

    A slow starter has its time until it first asks for something. Who has not started two deadlines
    after that waits for Vault: it has no callers, and a remark says so.

    Yields:
        Whether there are any.
    """
    lab.history.wait_for(lambda: lab.started or lab.touched(fault), lab.asks_within)
    if lab.until(lambda: lab.started, within=2 * lab.deadline):
        with lab.reading(every=every, callers=callers):
            yield True
    else:
        lab.history.mark("no callers in the fault: it does not start while Vault is out of reach")
        yield False


def works_after_all(lab: Lab, fault: Fault, opened: threading.Event) -> float:
    """What was started against a fault that is undone by now must come to work.

    If it refused to start, its supervisor tries again.

    Returns:
        Seconds after the fault in which a good read must come; what a start by its supervisor may
        take is among them.
    """
    await_start(lab, opened)
    took = started_again(lab)
    bound = lab.recovery_after(fault)
    if lab.started:
        lab.until_good_read_by_asking(within=bound)
    else:
        text = f"it does not start: {lab.history.operations[-1].message}"
        lab.note(Finding("it starts once Vault can serve it", text, lab.history.now()))
    return bound + took


def started_again(lab: Lab) -> float:
    """Start once more what refused to start, or was ended, as its supervisor does.

    Returns:
        Seconds that this took, and those that its first call may load for, or none where it runs: a
        start has its own time, and who is slow at it, or has a busy machine, is no slower to
        recover for that.
    """
    if lab.started and not lab.client.closed:
        return 0.0
    began = lab.history.now()
    lab.open()
    return lab.history.now() - began + LOADS
