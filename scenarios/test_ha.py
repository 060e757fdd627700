"""Standbys: a leader that is lost, and redirects.

Clients are led to the leader of three nodes, and to another one once that leads.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, closing

import pytest

from vault_harness.scenario import Finding, Lab, NotClaimed
from vault_harness.scenario.helpers import (
    OtherHost,
    allow_writes,
    canary,
    fails_over,
    given_up,
    has_its_files,
    instead_of_vault,
    leading_to,
    leads_again,
    other_host,
    recovery_of_calls,
    silent_host,
    version_of,
)
from vault_harness.scenario.lab import KEY, PATH
from vault_harness.scenario.oracles import (
    at_most,
    failures_are,
    no_connection_storm,
    no_failed_read,
    no_request_storm,
    same_token,
    sees,
)

STEP_DOWN = 3.0
"""Seconds after a step-down, and from when Vault serves again, in which a good read must come."""

NO_QUORUM = 10.0
"""Seconds without a quorum."""

UNREAD = tuple(f"backend/readers/{number}" for number in range(1, 6))
"""Secrets that nobody has read before the quorum is lost."""

SENT_ON = 2.0
"""Seconds in which reads are sent from their own host to another one."""

ELSEWHERE = (301, 302, 308)
"""Statuses that send a client elsewhere, and are no standby's: those of a captive portal, say."""


def _anew(lab: Lab) -> AbstractContextManager[None]:
    """A caller of what nobody has read yet.

    Another node leads after two seconds or three, and who answers from memory may be asked for all
    else all that time, and ask for nothing itself.
    """
    return lab.reading(every=0.5, path=lab.entry.spare_path, key=lab.entry.spare_key)


@pytest.mark.scenario("HA-01")
def test_leader_steps_down(lab: Lab) -> None:
    """An operator has the leader give its lead away; it stays on as a standby."""
    lab.start()
    leader = lab.stack.leader()
    with ExitStack() as callers:
        # A step-down may be over soon, so one comes each 0.1 s; each has the pace of all callers.
        for _ in range(5):
            callers.enter_context(lab.reading(every=0.5))
            lab.watch(0.1)
        with lab.vault.stepped_down(leader) as fault, _anew(lab):
            # Who gives Vault a rest for longer after a failure says so.
            back = fails_over(lab, fault, lost=leader, within=lab.or_its_pause(STEP_DOWN))
        lab.watch(1.0)
    lab.judge(same_token(since=fault.began), no_request_storm(since=fault.began, until=back))


@pytest.mark.scenario("HA-02")
def test_leader_is_killed(lab: Lab) -> None:
    """SIGKILL for the leader; another node leads, and the dead one comes back as a standby."""
    lab.start()
    leader = lab.stack.leader()
    with lab.reading(every=0.5, callers=2):
        with lab.process.leader_killed(leader, revive=lab.stack.unseal) as fault, _anew(lab):
            back = fails_over(lab, fault, lost=leader)
        lab.watch(1.0)
    lab.judge(
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=back),
        # A dead leader answers none: what it is asked is seen by the connections alone.
        no_connection_storm(since=fault.began, until=back),
    )


@pytest.mark.scenario("HA-03")
def test_leader_stands_still(lab: Lab) -> None:
    """SIGSTOP for the leader: connections stay open until another node leads."""
    lab.start()
    leader = lab.stack.leader()
    with lab.reading(every=0.25, callers=2):
        with lab.process.leader_paused(leader) as fault, _anew(lab):
            back = fails_over(lab, fault, lost=leader)
        lab.watch(1.0)
    lab.judge(same_token(since=fault.began), no_request_storm(since=fault.began, until=back))


@pytest.mark.scenario("HA-04")
def test_redirect_to_a_dead_leader(lab: Lab) -> None:
    """Everything is answered 307 to a leader that takes connections and never answers."""
    lab.start()
    with silent_host(lab) as dead, lab.reading(every=0.5):
        with instead_of_vault(lab, "redirect to a dead leader", *dead.redirects()) as fault:
            lab.hold(fault, 2.5 * lab.deadline)
        lab.recovers(after=fault, within=recovery_of_calls(lab, fault))
        hops = len(dead.history.find())
    # All of them: the first may have been told in the moment before the fault was noted.
    told = lab.history.find(where=lambda e: e.by == "stub")
    lab.judge(
        at_most(len(told), hops, f"requests to it for {len(told)} redirects"),
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        no_request_storm(since=fault.began, until=fault.end),
        same_token(since=fault.began, until=given_up(lab, fault)),
    )


LAG = 0.5
"""Seconds by which raft's messages to a standby are late; from 1 s on it would miss its leader."""

LEDGER = "backend/ledger"


@pytest.mark.scenario("HA-06")
def test_standby_lags(lab: Lab) -> None:
    """Clients are led to a standby, to which raft's messages come late, and a secret is new."""
    allow_writes(lab, LEDGER)  # which lets the role read it too
    lab.start()
    leader = lab.stack.leader()
    standby = next(node for node in lab.stack.nodes if node is not leader)
    with (
        leading_to(lab, standby),
        lab.reading(every=0.25),
        lab.reading(every=0.1, path=LEDGER, key="entry"),
        lab.link_is_late(standby, LAG) as fault,
        closing(lab.stack.operator_at(standby)) as there,
    ):
        lab.watch(1.0)
        label = lab.put("new", path=LEDGER, key="entry")
        written = lab.history.now()
        lab.until(lambda: version_of(lab, LEDGER, at=there) > 0, within=10 * LAG)
        arrived = lab.history.now()
        lab.until(lambda: _given(lab, label), within=lab.refresh + lab.deadline)
        lab.watch(0.5)
    lab.require(
        "a standby that had a new secret later than the leader",
        lambda _: f"{arrived - written:.2f} s later" if arrived - written > LAG / 2 else "",
    )
    lab.judge(
        sees(label, LEDGER, since=arrived, within=lab.refresh),
        failures_are("missing", since=fault.began, until=fault.end, path=LEDGER, may_be_empty=True),
        no_failed_read(since=fault.began, until=fault.end, path=PATH),
        same_token(since=fault.began),
    )


def _given(lab: Lab, label: str) -> bool:
    """Whether a read has given the value of this label."""
    return bool(lab.history.calls("read", where=lambda read: read.value == label))


@pytest.mark.scenario("HA-07")
def test_quorum_is_lost(lab: Lab) -> None:
    """Two of three nodes stand still; the third answers what it can alone until they are back."""
    client = lab.start()
    leader = lab.stack.leader()
    for path in UNREAD:
        lab.put("v1", path=path, key=KEY)
    with lab.reading(every=0.5, callers=2):
        lab.watch(0.5)
        with lab.process.quorum_lost([n for n in lab.stack.nodes if n is not leader]) as fault:
            # The third node fails reads for a second only: no memory answers these meanwhile.
            for path in UNREAD if not has_its_files(lab) else ():
                client.read(path, KEY)
                lab.watch(0.3)
            lab.hold(fault, max(0.0, fault.began + NO_QUORUM - lab.history.now()))
        leads_again(lab)
        lab.recovers(after=fault)
        lab.watch(1.0)
    lab.judge(same_token(since=fault.began), no_request_storm(since=fault.began, until=fault.end))


@pytest.mark.scenario("HA-05")
def test_redirect_to_another_host(lab: Lab) -> None:
    """All is answered 307 to a host that was never configured; then reads by other ways to it."""
    allow_writes(lab, LEDGER)
    lab.start()
    if lab.can("redirects"):
        raise NotClaimed("it follows redirects to any host, as it says (`redirects`)")
    with other_host(lab) as other, lab.reading(every=0.5), ExitStack() as callers:
        if lab.can("read_all"):  # often a second piece of code, as what writes is
            callers.enter_context(lab.reading(every=0.5, verb="read_all"))
        with instead_of_vault(lab, "redirect to another host", *other.redirects()) as fault:
            if lab.can("write"):
                _write_that_is_sent_on(lab)
            lab.hold(fault, max(0.0, fault.began + 1.2 * lab.ttl - lab.history.now()))
        lab.recovers(after=fault)
        with (
            lab.http.fail("read", status=307, headers=_to(lab.address, other), body=b"") as home,
            lab.http.fail(
                "read", every=2, status=307, headers=_to(other.address, other), body=b""
            ) as away,
        ):
            away.optional = True  # who follows none, and asks seldom, is sent home alone
            lab.hold(home, SENT_ON)
        lab.recovers(after=home)
        for status in ELSEWHERE:
            headers = _to(other.address, other)
            with lab.http.fail("read", status=status, headers=headers, body=b"") as elsewhere:
                lab.hold(elsewhere, 0.0)
            # Who follows has got there by the next good read.
            lab.recovers(after=elsewhere)
        lab.note(*other.findings())
    lab.judge(no_request_storm(since=fault.began, until=fault.end))


def _write_that_is_sent_on(lab: Lab) -> None:
    """Have something written that is redirected: who does not follow has written nothing."""
    before = version_of(lab, LEDGER)
    write = lab.client.write(LEDGER, {"entry": canary(lab)})
    if write.good and version_of(lab, LEDGER) == before:
        promise = "a write that is said to be done is done"
        text = "it was said to be done, and made no version"
        lab.note(Finding(promise, text, write.began, harm=True))


def _to(address: str, other: OtherHost) -> dict[str, str]:
    """Headers that send a read to that base URL."""
    return {"Location": f"{address}/v1/{other.paths['read']}"}
