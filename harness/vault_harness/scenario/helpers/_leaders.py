"""Which node of a cluster clients are led to, and how a scenario waits for another leader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from vault_harness.addresses import joined
from vault_harness.engine import Node
from vault_harness.errors import OperatorError
from vault_harness.faults import Fault
from vault_harness.scenario.helpers._connections import end_connections
from vault_harness.scenario.helpers._lives import recovery_of_calls
from vault_harness.scenario.history import History
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.oracles import recovers_within
from vault_harness.vault import Operator
from vault_harness.waiting import wait_until


@contextmanager
def leading_to(lab: Lab, node: Node) -> Iterator[None]:
    """Clients are led to this node while the block runs, and back afterwards.

    Nobody should read when it begins.
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
"""Seconds in which another node must lead: a hundred times what an idle machine takes."""


def fails_over(lab: Lab, fault: Fault, *, lost: Node, within: float | None = None) -> float:
    """Wait until another node leads, and lead clients there, as a load balancer does.

    From then on the subject has its time: a good read is waited for, and an oracle says whether it
    came while the lost leader was still out. That another node leads is a required condition.

    Args:
        lab: The scenario; callers must go on reading.
        fault: What the leader was lost by; it lasts.
        lost: The node that led.
        within: Seconds from the moment that Vault serves again; by default what the length of the
            outage and the declared back-off give, or a call's deadline, if that is more.

    Returns:
        When Vault served the subject again, on the history's clock (`served_again`).

    Raises:
        DeadlineExceeded: No other node leads.
    """
    leader = lab.stack.leader(without=lost, timeout=_ELECTION)
    wait_until(
        lambda: _serves(lab, leader),
        f"{leader.name} to answer a request with a token",
        timeout=_ELECTION,
    )
    lab.recorder.upstream = joined(leader.address)
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
    """When Vault served the subject again: the moment may be over before it is known here.

    A leader that steps down forwards what it is asked as soon as another one leads, and finding
    that one out takes a busy machine a second. What the callers read well meanwhile is no storm.

    Args:
        history: With what the subject sent; what is on its way still is neither good nor bad.
        since: When Vault was lost.
        known: When it was known to serve again.

    Returns:
        When the first request began that was answered well after the last that was not; `known`
        if there is none of either.
    """
    sent = history.find(since=since, until=known, where=lambda e: bool(e.status or e.closed))
    bad = [number for number, one in enumerate(sent) if not one.good]
    calm = sent[bad[-1] + 1 :] if bad else []
    return min(calm[0].began, known) if calm else known


def leads_again(lab: Lab) -> None:
    """Wait until any node leads and serves, and lead clients there, as a load balancer does.

    Raises:
        DeadlineExceeded: None does.
    """
    leader = lab.stack.leader(timeout=_ELECTION)
    wait_until(
        lambda: _serves(lab, leader),
        f"{leader.name} to answer a request with a token",
        timeout=_ELECTION,
    )
    lab.recorder.upstream = joined(leader.address)
    lab.history.mark(f"{leader.name} leads, Vault serves again")


def _serves(lab: Lab, node: Node) -> bool:
    """Whether a node answers a request with a token."""
    token = lab.stack.keyring.root_token
    with closing(Operator(node.address, token, node.ca_cert, timeout=1.0)) as operator:
        try:
            return bool(operator.request("GET", "auth/token/lookup-self"))
        except OperatorError:
            return False
