"""The name of Vault leads somewhere else: what a scenario does, and what is asked of a client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from vault_harness.faults import Fault, Signature
from vault_harness.scenario._doors import SideDoor
from vault_harness.scenario.history import FIRST_ADDRESS
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.oracles import (
    leaves_address,
    no_failed_read,
    reaches_address,
    reads_at,
)
from vault_harness.scenario.verdict import NotClaimed

LATE = 0.5
"""Seconds for which a move is watched beyond its bound; what comes then is late, and is told."""

GOES_ON = 2.0
"""Seconds for which a client that has followed is watched: four calls of each caller, or more."""


def address_beside(lab: Lab, number: int) -> SideDoor:
    """Another address of the loopback at which Vault can be reached, by the same port.

    Args:
        lab: The scenario; its entry is `named`.
        number: The last of its four numbers; the first address has 1.

    Raises:
        NotClaimed: Nothing can listen there: only Linux has all of 127.0.0.0/8 by itself.
    """
    address = f"127.0.0.{number}"
    try:
        return lab.recorder.listen_too(address, lab.name.port)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise NotClaimed(f"nothing can listen at {address}:{lab.name.port}: {why}") from None


@contextmanager
def address_gone(lab: Lab, door: SideDoor) -> Iterator[Fault]:
    """Connections to an address end, and new ones are refused; it does not come back."""
    door.shut()
    mark = Signature(unanswered=True, answers_late=inf)
    fault = lab.history.begin_fault(f"{door.address} gone", mark)
    try:
        yield fault
    finally:
        lab.history.end_fault(fault)


def follows(lab: Lab, door: SideDoor, fault: Fault, *, within: float) -> bool:
    """Lead the name to another address, and wait until the subject reads there.

    That it comes within the bound, calls the address before no more and fails no more reads, is
    asked when the scenario is judged. That it read at the address before is a required condition.

    Args:
        lab: The scenario; callers must go on reading.
        door: Where the name leads from now on.
        fault: What happened to the address before; it lasts.
        within: Seconds from the move.

    Returns:
        Whether it came.
    """
    history = lab.history
    known = set(history.addresses.values())
    left, before = (
        lab.name.address,
        lab.name.address if lab.name.address in known else FIRST_ADDRESS,
    )
    lab.require(
        f"reads at {left} before it failed",
        lambda h: f"{len(reads)}" if (reads := reads_at(h, before, until=fault.began)) else "",
    )
    moved = history.now()
    lab.name.lead_to(door.address)
    history.mark(f"the name leads to {door.address} instead of {left}")
    lab.ask(reaches_address(door.address, within, since=moved))
    came = lab.until(
        lambda: bool(reads_at(history, door.address, since=moved)),
        within=within + LATE,
    )
    if not came:
        return False
    lab.watch(lab.deadline)  # what was under way, at the address before, ends within that
    settled = history.now()
    lab.watch(GOES_ON)
    end = history.now()
    # What comes next must not be blamed on a call that was asked in time.
    lab.until(
        lambda: all(call.ended for call in history.calls("read", since=settled, until=end)),
        within=lab.deadline,
    )
    lab.ask(leaves_address(before, since=settled))
    lab.ask(no_failed_read(since=settled, until=end))
    return True
