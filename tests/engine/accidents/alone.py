from __future__ import annotations

import itertools

from tests.engine.accidents.ledger import findings
from tests.engine.accidents.load import MEET, contents_at_last, leader_of, prepared
from tests.engine.clusters import all_vote
from vault_harness.errors import named
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes
from vault_harness.waiting import wait_until


def leader(stack: LocalStack, *, without: str = "") -> str | None:
    """Return the leader by all nodes except one, which may not know that it lost its lead."""
    nodes = stack.status().nodes
    return next((n.name for n in nodes if n.role == "leader" and n.name != without), None)


def whole(stack: LocalStack) -> None:
    def meets() -> bool:
        found = stack.status().nodes
        roles = sorted(node.role for node in found)
        return roles == ["leader", "standby", "standby"] and all(node.lag == 0 for node in found)

    wait_until(meets, "three nodes that have the same log", timeout=MEET, interval=0.25)
    all_vote(stack)
    assert stack.status().obstacles == ()
    assert not any(node.cut for node in stack.status().nodes)


def a_leader_alone_confirms_nothing(stack: LocalStack) -> None:
    """Cut off the leader of a new stack: the others elect a leader and confirm writes."""
    load, nodes = prepared(stack, cuttable=True), Nodes(stack)
    before = leader_of(stack)
    address = next(node.address for node in stack.endpoints().nodes if node.name == before)
    with load.client_of(address) as alone, load.client_of(stack.endpoints().proxy) as client:
        assert load.put(client, "ledger/all", "before", 0).outcome == "confirmed"

        nodes.cut(before)
        nodes.cut(before)
        assert load.put(alone, "ledger/alone", "lost", 0, asked=before).outcome != "confirmed"
        wait_until(
            lambda: leader(stack, without=before) is not None,
            "another node to lead",
            timeout=MEET,
            interval=0.25,
        )
        said = (f"the node {before} is cut off from the others",)
        wait_until(  # status shows the balancer until it has found the new leader
            lambda: stack.status().obstacles == said,
            "nothing but the cut to be in the way",
            timeout=MEET,
            interval=0.25,
            evidence=lambda: str(stack.status().obstacles),
        )
        status = stack.status()
        assert status.state == "ready"
        assert status.next_step == named("heal")
        assert {node.name for node in status.nodes if node.cut} == {before}

        tries = itertools.count()

        def confirmed() -> bool:  # a path each: a lost answer may still be a write
            path = f"ledger/meanwhile-{next(tries)}"
            return load.put(client, path, "confirmed", 0).outcome == "confirmed"

        wait_until(confirmed, "the others to confirm a write", timeout=MEET)
        assert nodes.join(before) is True
        assert nodes.join(before) is False
        whole(stack)
        assert load.put(alone, "ledger/all", "after", 1).outcome == "confirmed"
    load.ledger.contents = contents_at_last(stack, load)
    assert load.ledger.contents["ledger/all"] == {1: "before", 2: "after"}
    assert findings(load.ledger) == []
