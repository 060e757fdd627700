"""Lead clients to another node or address of Vault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from vault_harness.addresses import joined
from vault_harness.judge.faults.network import CUT
from vault_harness.judge.faults.vault import serves
from vault_harness.judge.helpers.connections import end_connections
from vault_harness.judge.helpers.lives import recovery_of_calls
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import (
    leaves_address,
    no_failed_read,
    reaches_address,
    reads_at,
    recovers_within,
)
from vault_harness.judge.verdict import NotClaimed
from vault_harness.local.engine.shape import Node
from vault_harness.recorder.fault import Fault, noted
from vault_harness.recorder.history import FIRST_ADDRESS, History
from vault_harness.recorder.recorder import SideDoor
from vault_harness.waiting import wait_until


@contextmanager
def leading_to(lab: Lab, node: Node) -> Iterator[None]:
    """Lead clients to a node while the block runs.

    Nobody should read when the block begins.
    """
    before, secured = lab.recorder.upstream, lab.recorder.upstream_tls
    lab.recorder.upstream = joined(node.address)
    if node.address.startswith("http:"):
        lab.recorder.upstream_tls = None
    end_connections(lab)
    try:
        yield
    finally:
        lab.recorder.upstream, lab.recorder.upstream_tls = before, secured
        lab.network.drop_connections()


_ELECTION = 30.0
"""Seconds in which another node must lead: a hundred times an idle machine's."""


def fails_over(lab: Lab, fault: Fault, *, lost: Node, within: float | None = None) -> float:
    """Wait until another node leads, and lead clients there, as a load balancer does.

    Then judge the time of a good read while the lost leader is still out. Callers must continue to
    read.

    Args:
        within: Seconds from the moment when Vault serves again. The default follows from the outage
            and the declared back-off, and is at least a call's deadline.
    """
    leader = _led(lab, without=lost)
    elected = lab.history.now()
    outage = elected - fault.began
    lab.history.mark(f"{leader.name} leads, Vault serves again after {outage:.2f} s")
    lab.require(
        "another node leads",
        lambda _: f"{leader.name} in place of {lost.name}" if leader is not lost else False,
    )
    bound = recovery_of_calls(lab, replace(fault, ended=elected)) if within is None else within
    lab.until(
        lambda: any(o.good for o in lab.history.calls("read", "read_cached", since=elected)),
        within=bound + lab.deadline,
    )
    lab.ask(recovers_within(bound, since=elected))
    return served_again(lab.history, since=fault.began, known=elected)


def served_again(history: History, *, since: float, known: float) -> float:
    """Return when Vault served the subject again, at most `known`.

    A leader that steps down forwards requests as soon as another one leads. So the first good
    request after the last bad one tells it.
    """
    sent = history.find(since=since, until=known, where=lambda e: bool(e.status or e.closed))
    bad = [number for number, one in enumerate(sent) if not one.good]
    calm = sent[bad[-1] + 1 :] if bad else []
    return min(calm[0].began, known) if calm else known


def leads_again(lab: Lab) -> None:
    """Wait until any node leads, and lead clients there."""
    lab.history.mark(f"{_led(lab).name} leads, Vault serves again")


def _led(lab: Lab, *, without: Node | None = None) -> Node:
    leader = lab.stack.leader(without=without, timeout=_ELECTION)
    wait_until(
        lambda: serves(lab.stack, leader),
        f"{leader.name} to answer a request with a token",
        timeout=_ELECTION,
    )
    lab.recorder.upstream = joined(leader.address)
    return leader


LATE = 0.5
"""Seconds beyond the bound, so that a late client is reported."""

GOES_ON = 2.0
"""Seconds after a client followed: at least four calls of each caller."""


def address_beside(lab: Lab, number: int) -> SideDoor:
    """Make Vault reachable at another loopback address, on the same port.

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
    with noted(lab.history, f"{door.address} gone", CUT) as fault:
        yield fault


def follows(lab: Lab, door: SideDoor, fault: Fault, *, within: float) -> bool:
    """Lead the name to another address, and return whether the subject read there.

    Oracles check that the subject followed in time, left the old address, and then failed no more
    reads. Callers must be reading, and the fault still in force.

    Args:
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
    # The next step must not make calls in progress fail.
    lab.until(
        lambda: all(call.ended for call in history.calls("read", since=settled, until=end)),
        within=lab.deadline,
    )
    lab.ask(leaves_address(before, since=settled))
    lab.ask(no_failed_read(since=settled, until=end))
    return True
