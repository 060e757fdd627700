"""HTTP/2: all requests share the end of one connection."""

from __future__ import annotations

import contextlib

import pytest

from vault_harness.judge.helpers.connections import connections_said_to_end, dead_connections
from vault_harness.judge.helpers.lives import given_up
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import (
    failed_reads_of_each_caller_at_most,
    recovers_within,
    same_token,
)
from vault_harness.judge.verdict import NotClaimed

APART = 0.2
"""Part of the deadline between two callers' starts: one of three always waits."""


@pytest.mark.scenario("H2-01")
def test_dead_connection(lab: Lab) -> None:
    """A connection that ends (GOAWAY) costs no read, and a dead connection at most one a caller."""
    lab.start()
    if not any(one.protocol == "h2" for one in list(lab.history.handshakes)):
        raise NotClaimed("the subject speaks HTTP/1.1, although it was offered HTTP/2")
    connections_said_to_end(lab)
    with lab.reading(every=0.4, callers=3):
        lab.watch(1.0)
    lab.watch(0.3)
    with dead_connections(lab) as fault, contextlib.ExitStack() as callers:
        # Apart: a client may be able to drop a connection only while no call uses it.
        for _ in range(3):
            callers.enter_context(lab.reading(every=0.4))
            lab.watch(APART * lab.deadline)
        # Three calls of each caller wait in vain.
        lab.hold(fault, 3.2 * lab.deadline)
        # One call finds the dead connection, and the next is served. A client may rest in between.
        bound = lab.deadline + lab.or_its_pause(lab.deadline)
        lab.until_good_read(since=fault.began, within=fault.began + bound - lab.history.now())
        end = lab.history.now()
    lab.judge(
        failed_reads_of_each_caller_at_most(
            1,
            since=fault.began,
            until=end,
            at_rest=lab.declared_or_none("backoff_cap") is not None,
        ),
        recovers_within(bound, since=fault.began, begun=True),
        same_token(since=fault.began, until=given_up(lab, fault)),
    )
