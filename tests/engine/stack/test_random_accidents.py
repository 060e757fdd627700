"""A cluster under load, with one accident after the other: no confirmed write is lost.

The random sequence comes from a printed seed. To repeat it, or run a longer one:

    ACCIDENTS_SEED=17 ACCIDENTS_STEPS=200 pytest -m slow tests/engine/stack/test_random_accidents.py

On the process engine a node is killed (SIGKILL), or freezes (SIGSTOP) and continues, or gives its
lead away, or is cut off from the other nodes while clients reach it, in one or both directions; see
`Nodes.cut`. At most one of the three nodes is away at a time. In containers:
tests/engine/docker/test_accidents_in_containers.py.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import partial

import pytest

from tests.engine.accidents.load import prepared
from tests.engine.accidents.sequence import Loss, nothing_is_lost
from vault_harness.local.engine.ports import ask
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes
from vault_harness.local.stack.record import StackRecord

pytestmark = pytest.mark.slow  # a minute of accidents


def process_of(stack: LocalStack, name: str) -> int | None:
    service = StackRecord.load(stack.data_dir).services.get(name, {})
    return service.get("pid")


def signalled(stack: LocalStack, number: int, name: str) -> None:
    pid = process_of(stack, name)
    assert pid is not None
    os.kill(pid, number)


@pytest.mark.long
def test_nothing_confirmed_is_lost(stack: LocalStack, haproxy: None) -> None:
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


@pytest.mark.long
def test_nothing_confirmed_is_lost_in_partitions(stack: LocalStack, haproxy: None) -> None:
    if sys.platform != "linux":
        pytest.skip("whose a connection is, only Linux says to everybody")
    nodes = Nodes(stack)
    losses = [
        Loss(name=name, ends="is back", begin=begin, end=nodes.join, alone=True)
        for name, begin in (
            ("is cut off from the others", nodes.cut),
            ("hears none of the others", partial(nodes.cut, is_heard=True)),
            ("is heard by none of the others", partial(nodes.cut, hears=True)),
        )
    ]
    nothing_is_lost(stack, prepared(stack, cuttable=True), losses)
    relay = ask(f"{StackRecord.load(stack.data_dir).services['relay']['api']}/")
    assert relay is not None
    assert json.loads(relay.body)["held"], "nothing had to wait"
