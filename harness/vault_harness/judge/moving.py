"""Move the name of Vault to another address, and check that a client follows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import leaves_address, no_failed_read, reaches_address, reads_at
from vault_harness.judge.verdict import NotClaimed
from vault_harness.recorder.fault import Fault, Signature
from vault_harness.recorder.history import FIRST_ADDRESS
from vault_harness.recorder.recorder import SideDoor

LATE = 0.5
"""Seconds that a move is watched beyond its bound, so that a late client is reported."""

GOES_ON = 2.0
"""Seconds that a client is watched after it followed, for at least four calls of each caller."""


def address_beside(lab: Lab, number: int) -> SideDoor:
    """Make Vault reachable at another loopback address, which ends in `number`, on the same port.

    Only Linux has all of 127.0.0.0/8 without configuration.
    """
    address = f"127.0.0.{number}"
    try:
        return lab.recorder.listen_too(address, lab.name.port)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise NotClaimed(f"nothing can listen at {address}:{lab.name.port}: {why}") from None


@contextmanager
def address_gone(lab: Lab, door: SideDoor) -> Iterator[Fault]:
    """End connections to an address and refuse new ones, for good."""
    door.shut()
    mark = Signature(unanswered=True, answers_late=inf)
    fault = lab.history.begin_fault(f"{door.address} gone", mark)
    try:
        yield fault
    finally:
        lab.history.end_fault(fault)


def follows(lab: Lab, door: SideDoor, fault: Fault, *, within: float) -> bool:
    """Lead the name to another address, and return whether the subject read there.

    Oracles check that it came in time, then left the old address and failed no more reads. A
    condition requires that it read at the old address before. Callers must be reading.

    Args:
        fault: The fault of the old address, still in force.
        within: Seconds from the move.
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
    lab.watch(lab.deadline)  # calls at the old address end within that
    settled = history.now()
    lab.watch(GOES_ON)
    end = history.now()
    # What comes next must not make calls in progress fail.
    lab.until(
        lambda: all(call.ended for call in history.calls("read", since=settled, until=end)),
        within=lab.deadline,
    )
    lab.ask(leaves_address(before, since=settled))
    lab.ask(no_failed_read(since=settled, until=end))
    return True
