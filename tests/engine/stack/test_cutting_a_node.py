"""`node.cut` and `node.join`: a node that clients reach and other nodes do not."""

from __future__ import annotations

import sys

import pytest

from tests.engine.accidents.alone import a_leader_alone_confirms_nothing, leader, whole
from tests.engine.accidents.load import MEET
from tests.engine.clusters import THREE
from tests.engine.stack.conftest import servers
from vault_harness.errors import StackError
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes
from vault_harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,  # a cluster takes ten seconds
    pytest.mark.usefixtures("haproxy"),
    pytest.mark.skipif(
        sys.platform != "linux", reason="whose a connection is, only Linux says to everybody"
    ),
]


def test_a_leader_that_is_cut_off_confirms_nothing(stack: LocalStack) -> None:
    a_leader_alone_confirms_nothing(stack)


def test_a_cut_ends_with_what_was_cut(stack: LocalStack) -> None:
    """`heal`, a restart, the node's death and `down` end a cut without leftovers."""
    stack.up(ha=True, cuttable=True)
    nodes = Nodes(stack)
    for name in THREE:
        nodes.cut(name)
    assert {node.name for node in stack.status().nodes if node.cut} == set(THREE)
    assert [line for line in stack.heal() if "joined" in line] == [
        f"joined {name} to the other nodes again" for name in THREE
    ]
    whole(stack)

    nodes.cut("vault-2")
    nodes.kill("vault-2")
    nodes.start("vault-2")
    whole(stack)

    nodes.cut("vault-3")
    stack.restart()
    stack.unseal()
    whole(stack)

    made = nodes.add()
    nodes.cut(made.name)
    nodes.remove(made.name)
    whole(stack)

    nodes.cut("vault")
    (relay,) = [process for process in servers(stack) if "relay.json" in str(process.cmdline())]
    relay.kill()
    relay.wait(timeout=10)
    assert stack.status().services["relay"] == ""
    stack.up()
    whole(stack)

    nodes.cut("vault")
    stack.down()
    assert servers(stack) == []
    stack.up()
    whole(stack)
    stack.destroy()
    assert servers(stack) == []
    assert not stack.data_dir.exists()


def test_a_stopped_cluster_can_become_cuttable(stack: LocalStack) -> None:
    stack.up(ha=True)
    nodes = Nodes(stack)
    with pytest.raises(StackError, match="run already, and reach each other directly"):
        stack.up(ha=True, cuttable=True)
    whole(stack)

    stack.down()
    stack.up(cuttable=True)
    whole(stack)
    before = leader(stack)
    assert before is not None
    nodes.cut(before)
    wait_until(
        lambda: bool(leader(stack, without=before)), "another to lead", timeout=MEET, interval=0.25
    )
    nodes.join(before)
    whole(stack)
