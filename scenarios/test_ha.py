"""High availability: a leader that is lost, and redirects."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, closing

import pytest

from vault_harness.judge.helpers.calls import has_its_files
from vault_harness.judge.helpers.instead import OtherHost, instead_of_vault, other_host, silent_host
from vault_harness.judge.helpers.leaders import fails_over, leading_to, leads_again
from vault_harness.judge.helpers.lives import given_up, recovery_of_calls
from vault_harness.judge.helpers.starts import LEDGER, allow_writes, canary, version_of
from vault_harness.judge.lab import KEY, PATH, Lab
from vault_harness.judge.oracles import (
    at_most,
    failures_are,
    no_connection_storm,
    no_failed_read,
    no_request_storm,
    same_token,
    sees,
)
from vault_harness.judge.verdict import Finding

STEP_DOWN = 3.0
"""Seconds from Vault's return to a good read."""

NO_QUORUM = 10.0

UNREAD = tuple(f"backend/readers/{number}" for number in range(1, 6))

NOT_A_STANDBYS = (301, 302)
"""A client may turn such a write into a read (RFC 9110, 15.4.2 and 15.4.3)."""


def _again(lab: Lab) -> AbstractContextManager[None]:
    """Start a caller of an unread secret.

    While no node leads, a client that answers from memory may send nothing for the others.
    """
    return lab.reading(every=0.5, path=lab.entry.spare_path, key=lab.entry.spare_key)


@pytest.mark.scenario("HA-01")
def test_leader_steps_down(lab: Lab) -> None:
    """A leader that steps down and stays as a standby costs no token, and reads soon work again."""
    lab.start()
    leader = lab.stack.leader()
    with ExitStack() as callers:
        # A step-down may be short, so there are five callers.
        for _ in range(5):
            callers.enter_context(lab.reading(every=0.5))
            lab.watch(0.1)
        with lab.vault.stepped_down(leader) as fault, _again(lab):
            # A client that rests longer after a failure declares that.
            back = fails_over(lab, fault, lost=leader, within=lab.or_its_pause(STEP_DOWN))
        lab.watch(1.0)
    lab.judge(same_token(since=fault.began), no_request_storm(since=fault.began, until=back))


@pytest.mark.scenario("HA-02")
def test_leader_is_killed(lab: Lab) -> None:
    """A leader that is killed and comes back as a standby costs no token, and reads work again."""
    lab.start()
    leader = lab.stack.leader()
    with lab.reading(every=0.5, callers=2):
        with lab.process.leader_killed(leader, revive=lab.stack.unseal) as fault, _again(lab):
            back = fails_over(lab, fault, lost=leader)
        lab.watch(1.0)
    lab.judge(
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=back),
        # A dead leader answers nothing; only connections count.
        no_connection_storm(since=fault.began, until=back),
    )


@pytest.mark.scenario("HA-03")
def test_leader_stands_still(lab: Lab) -> None:
    """A stopped leader that keeps its connections costs no token, and reads work again."""
    lab.start()
    leader = lab.stack.leader()
    with lab.reading(every=0.25, callers=2):
        with lab.process.leader_paused(leader) as fault, _again(lab):
            back = fails_over(lab, fault, lost=leader)
        lab.watch(1.0)
    lab.judge(same_token(since=fault.began), no_request_storm(since=fault.began, until=back))


@pytest.mark.scenario("HA-04")
def test_redirect_to_a_dead_leader(lab: Lab) -> None:
    """A redirect (307) to a leader that never answers is followed once, without a storm."""
    lab.start()
    with silent_host(lab) as dead, lab.reading(every=0.5):
        with instead_of_vault(lab, "redirect to a dead leader", *dead.redirects()) as fault:
            lab.hold(fault, 2.5 * lab.deadline)
        lab.recovers(after=fault, within=recovery_of_calls(lab, fault))
        hops = len(dead.history.find())
    # All: the first redirect may come before the fault is noted.
    told = lab.history.find(where=lambda e: e.by == "stub")
    lab.judge(
        at_most(len(told), hops, f"requests to it for {len(told)} redirects"),
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        no_request_storm(since=fault.began, until=fault.end),
        same_token(since=fault.began, until=given_up(lab, fault)),
    )


LAG = 0.5
"""Seconds. From 1 s on, the standby would miss its leader."""


@pytest.mark.scenario("HA-06")
def test_standby_lags(lab: Lab) -> None:
    """A new secret is seen through a lagging standby, and an existing one is read all the time."""
    allow_writes(lab, LEDGER)  # also lets the role read it
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
    return bool(lab.history.calls("read", where=lambda read: read.value == label))


@pytest.mark.scenario("HA-07")
def test_quorum_is_lost(lab: Lab) -> None:
    """Reads work again after two of three nodes stood still, without a new login or a storm."""
    client = lab.start()
    leader = lab.stack.leader()
    for path in UNREAD:
        lab.put("v1", path=path, key=KEY)
    with lab.reading(every=0.5, callers=2):
        lab.watch(0.5)
        with lab.process.quorum_lost([n for n in lab.stack.nodes if n is not leader]) as fault:
            # The remaining node answers with errors for a second only, and no cache has these.
            for path in UNREAD if not has_its_files(lab) else ():
                client.read(path, KEY)
                lab.watch(0.3)
            lab.hold(fault, max(0.0, fault.began + NO_QUORUM - lab.history.now()))
        leads_again(lab)
        lab.recovers(after=fault)
        lab.watch(1.0)
    lab.judge(same_token(since=fault.began), no_request_storm(since=fault.began, until=fault.end))


@pytest.mark.scenario("HA-05")
def test_standby_cannot_forward(lab: Lab) -> None:
    """Reads and a write succeed through a standby that redirects instead of forwarding."""
    allow_writes(lab, LEDGER)
    lab.start()
    leader = lab.stack.leader()
    standby = next(node for node in lab.stack.nodes if node is not leader)
    with leading_to(lab, standby), lab.reading(every=0.5):
        with lab.no_forwarding_to(leader) as fault:
            if lab.can("write"):
                _write_that_is_redirected(lab)
            lab.hold(fault, max(0.0, fault.began + 1.2 * lab.ttl - lab.history.now()))
        lab.recovers(after=fault)
    lab.judge(
        no_failed_read(since=fault.began, until=fault.end),
        no_request_storm(since=fault.began, until=fault.end),
    )


def _write_that_is_redirected(lab: Lab) -> None:
    with closing(lab.stack.operator_at(lab.stack.leader())) as there:
        before = version_of(lab, LEDGER, at=there)
        write = lab.client.write(LEDGER, {"entry": canary(lab)})
        made = version_of(lab, LEDGER, at=there) - before
    if write.good and not made:
        text = "the client said that it was done, and it made no version"
        lab.note(Finding("a write that is said to be done is done", text, write.began, harm=True))
    elif not write.good:
        lab.note(Finding("a redirected write is done", f"it ended {write.told}", write.began))


@pytest.mark.scenario("HA-08")
def test_redirects_that_no_standby_sends(lab: Lab) -> None:
    """A circle of redirects ends in a failure; a 301 or 302 neither loses nor repeats a write."""
    allow_writes(lab, LEDGER)
    lab.start()
    with other_host(lab) as other:
        with lab.reading(every=1.0):
            circle = {"Location": f"{lab.address}/v1/{other.paths['read']}"}
            with lab.http.fail("read", status=307, headers=circle, body=b"") as fault:
                lab.hold(fault, 2.0)
            lab.recovers(after=fault)
        for status in NOT_A_STANDBYS if lab.can("write") else ():
            _write_that_is_moved(lab, other, status)
    # A standing oracle limits the requests in a circle.
    lab.judge(failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True))


def _write_that_is_moved(lab: Lab, other: OtherHost, status: int) -> None:
    """Redirect a write with a status that lets a client turn it into a read."""
    location = f"{other.address}/v1/{lab.entry.mount}/data/{LEDGER}"
    before = version_of(lab, LEDGER)
    with lab.http.fail("write", status=status, headers={"Location": location}, body=b"") as fault:
        write = lab.client.write(LEDGER, {"entry": canary(lab)})
        lab.hold(fault, 0.0)
    if write.good and version_of(lab, LEDGER) == before:
        text = f"after a {status} the client said that it was done, and it made no version"
        lab.note(Finding("a write that is said to be done is done", text, write.began, harm=True))
    for sent in other.history.find("write", since=write.began)[:1]:
        text = f"after a {status} the write was sent to {other.address}"
        lab.note(Finding("no write is repeated after a 301 or 302", text, sent.began))
