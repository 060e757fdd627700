"""A cluster under load, and one accident after the other: nothing that was confirmed is lost.

The sequence is random and comes from a seed, which is printed. The same again, or a longer one:

    ACCIDENTS_SEED=17 ACCIDENTS_STEPS=200 pytest -m slow tests/engine/stack/test_random_accidents.py

What can happen on the process engine: a node is killed (SIGKILL), stands still (SIGSTOP) and goes
on, or gives its lead away; what was killed is started and unsealed. Or it is cut off from the other
nodes while it runs and clients reach it: in both directions, or so that it hears nothing or nobody
hears it; see `Links`. At most one of the three is away at a time. In containers:
tests/engine/docker/test_accidents_in_containers.py.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from tests.engine.accidents.load import prepared
from tests.engine.accidents.sequence import Loss, nothing_is_lost
from tests.engine.stack.links import Links
from vault_harness.engine._configuration import Place
from vault_harness.engine.process._node import ProcessNode
from vault_harness.stack import LocalStack, Nodes, StackRecord

pytestmark = pytest.mark.slow  # a minute of accidents


def process_of(stack: LocalStack, name: str) -> int | None:
    """The process number of a node that was started."""
    service = StackRecord.load(stack.data_dir).services.get(name, {})
    return service.get("pid")


def signalled(stack: LocalStack, number: int, name: str) -> None:
    """Send a signal to a node."""
    pid = process_of(stack, name)
    assert pid is not None
    os.kill(pid, number)


def test_nothing_confirmed_is_lost(stack: LocalStack, haproxy: None) -> None:
    """Whatever happens to one node at a time, under load; and the cluster is whole at the end."""
    nodes = Nodes(stack)
    losses = [
        Loss(name="is killed", ends="is started", begin=nodes.kill, end=nodes.start, brief=False),
        Loss(
            name="stands still",
            ends="goes on",
            begin=partial(signalled, stack, signal.SIGSTOP),
            end=partial(signalled, stack, signal.SIGCONT),
        ),
    ]
    nothing_is_lost(stack, prepared(stack), losses)


@pytest.fixture
def links(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Links]:
    """The nodes of the stack reach each other by these alone."""
    if sys.platform != "linux":
        pytest.skip("whose a connection is, only Linux says to everybody")
    links = Links(partial(process_of, stack))

    class Linked(ProcessNode):
        """One that tells the others another address than the one at which it listens."""

        def _place(self) -> Place:
            place = super()._place()
            return replace(place, cluster_address=links.lead(self.name, place.cluster))

    monkeypatch.setattr("vault_harness.engine.process._launching.ProcessNode", Linked)
    with links.running():
        yield links
        stack.provider().stop()  # they would go on for a while to dial what is gone


def test_nothing_confirmed_is_lost_in_partitions(
    stack: LocalStack, haproxy: None, links: Links
) -> None:
    """A node that runs on and is reached by clients confirms nothing alone, and catches up."""
    losses = [
        Loss(name=name, ends="is back", begin=begin, end=links.open, alone=True)
        for name, begin in (
            ("is cut off from the others", links.shut),
            ("hears none of the others", partial(links.shut, is_heard=True)),
            ("is heard by none of the others", partial(links.shut, hears=True)),
        )
    ]
    nothing_is_lost(stack, prepared(stack), losses)
    assert links.held, "nothing had to wait"
