"""Leases: credentials of a database that live for a while, on a PostgreSQL of the scenario's own.

The harness itself logs in to the database with what the subject hands out.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from vault_harness.faults import Fault
from vault_harness.scenario import Lab, Stub
from vault_harness.scenario.conditions import Condition, Sighting
from vault_harness.scenario.helpers import instead_of_vault
from vault_harness.scenario.history import History
from vault_harness.scenario.leases import CREDENTIALS, first_credential, pool
from vault_harness.scenario.oracles import (
    accepted_again,
    at_most,
    credentials_apart,
    credentials_at_most,
    leases_renewed_within,
    no_refused_use,
    none_of,
    renewals_of_a_lost_lease_at_most,
    uses_go_on,
)
from vault_harness.subjects import Credential

RESTARTS, CALLERS = 3, 5


@pytest.mark.scenario("LEASE-01")
def test_revoked_by_prefix(lab: Lab) -> None:
    """Every lease is revoked, and then the token with its own; the pool meets it, and says so."""
    lab.start()
    first_credential(lab)
    bound = 5.0
    with pool(lab):
        lab.watch(1.0)
        with lab.vault.leases_revoked(CREDENTIALS, optional=True) as fault:
            met = _refused_and_replaced(lab, fault, bound)
        lab.watch(1.0)
        # Nobody reads: what is leased has to find out that the token is dead.
        with lab.vault.token_revoked(lab.accessor()) as lost:
            lost.optional = True  # a client that is told may log in before it asks for anything
            met_again = _refused_and_replaced(lab, lost, bound)
        lab.watch(1.0)
    for one in (fault, lost):
        lab.require(
            f"the database refused a credential after {one.name}", _a_refusal_since(one.began)
        )
    back = _first_accepted(lab.history, met)
    back_again = _first_accepted(lab.history, met_again)
    lab.judge(
        no_refused_use(until=fault.began),
        accepted_again(since=met, within=bound),
        *([no_refused_use(since=back, until=lost.began)] if back is not None else []),
        credentials_at_most(2, since=fault.began, until=lost.began),
        accepted_again(since=met_again, within=bound),
        *([no_refused_use(since=back_again)] if back_again is not None else []),
        credentials_at_most(2, since=lost.began),
    )


@pytest.mark.scenario("LEASE-02")
def test_parent_token_at_its_max_ttl(lab: Lab) -> None:
    """The token comes to its max TTL, and takes a lease of a minute with it."""
    lab.start()
    began = lab.history.now()
    first_credential(lab)
    # What is refused around a login is refused for two seconds at most, and a call takes its time.
    bound = lab.deadline + 2.0
    with lab.reading(every=0.5), pool(lab, reports=False):
        # Past the first token's end, so that its leases are gone.
        lab.watch(lab.entry.max_ttl + 2.0)
        until = _once_accepted(lab, bound)
    lab.must_have(logins=1, since=began)
    lab.require("the first token's end was outlived", _lived_on(began, lab.entry.max_ttl + 1.5))
    logins = len(lab.history.logins())
    lab.judge(
        no_refused_use(around_logins=1.0),
        uses_go_on(bound, since=began, until=until),
        credentials_at_most(logins),
    )


@pytest.mark.scenario("LEASE-03")
def test_lease_not_found(lab: Lab) -> None:
    """A lease is gone from Vault, which its next renewal finds out (400)."""
    client = lab.start()
    first_credential(lab)
    ttl = lab.entry.lease_ttl or 0.0
    with pool(lab, every=0.5, logs_in=False):
        with lab.vault.leases_revoked(CREDENTIALS) as fault:
            lab.until(lambda: bool(_lost(lab.history, fault.began)), within=ttl)
            told = lab.history.now()
            lab.watch(2.0)
            new = client.lease(CREDENTIALS)
            works = new is not None and lab.database.accepts(new)
        lab.watch(0.25 * ttl)
    lab.judge(
        none_of("a new credential that works, 2 s later", set() if works else {"it does not work"}),
        credentials_at_most(1, since=fault.began),
        renewals_of_a_lost_lease_at_most(2, since=fault.began),
        no_refused_use(since=told),
    )


@pytest.mark.scenario("LEASE-04")
def test_renewals_keep_failing(lab: Lab) -> None:
    """Each renewal is answered 400, since the database does not allow it, and later on 500."""
    lab.start()
    ttl = lab.entry.lease_ttl or 0.0
    first_credential(lab)
    failing = Stub(status=500, body=b'{"errors": ["internal error"]}', kinds=frozenset({"lease"}))
    # Pauses that double, from 0.3 of a life on, have come to what was left of it at its end.
    bound = lab.or_its_pause(0.7 * ttl + lab.deadline)
    with pool(lab) as seen:
        with lab.vault.lease_renewals_fail(CREDENTIALS) as fault:
            lab.watch(1.1 * ttl)
        with instead_of_vault(lab, "renewals answered 500", failing):
            lab.watch(1.1 * ttl)
        until = _once_accepted(lab, bound)
    least = 0.5 * ttl
    lab.require("two lives of a lease", _lived_on(fault.began, 2.1 * ttl))
    lab.judge(
        no_refused_use(),
        uses_go_on(bound, since=fault.began, until=until),
        credentials_apart(least),
        at_most(
            1 + (until - fault.began) / least, float(len(seen.users)), "users that were in pg_roles"
        ),
    )


@pytest.mark.scenario("LEASE-05")
def test_restarts_leave_no_credential(lab: Lab) -> None:
    """The subject is closed and started again, and five callers ask at once each time."""
    lab.start()
    left: set[str] = set()
    without: set[str] = set()
    starts = 0
    for restart in range(RESTARTS):
        if restart and lab.open() is None:
            break
        starts += 1
        served = _five_ask(lab)
        if not served and not restart:
            first_credential(lab)  # one who asks alone is served, or this shows nothing
        if served < CALLERS and restart:
            served = _five_ask_once_it_is_up(lab)
        if served < CALLERS:
            without |= {f"{CALLERS - served} of {CALLERS} were given none after start {starts}"}
        users = lab.database.users()
        lab.client.close()
        if not lab.until(lambda: not lab.database.users(), within=2.0):
            left |= {f"{len(lab.database.users())} of {len(users)} users after close {starts}"}
    lab.require(
        f"{CALLERS} callers who ask at once after each start",
        lambda _: Sighting(starts == RESTARTS, f"after {starts} of {RESTARTS}"),
    )
    lab.judge(
        none_of("whoever asks at once with others is given a credential that works", without),
        none_of("its credentials are given back at its end", left),
        credentials_at_most(RESTARTS),
        steady=False,
    )


@pytest.mark.scenario("LEASE-06")
def test_renewed_for_a_whole_life(lab: Lab) -> None:
    """Two lives of a lease pass; the credential is the same one all the time."""
    lab.start()
    began = lab.history.now()
    first_credential(lab)
    ttl = lab.entry.lease_ttl or 0.0
    with pool(lab):
        lab.watch(2.3 * ttl)
    until = lab.history.now()
    lab.require("two lives of the lease", _lived_on(began, 2.2 * ttl))
    lab.judge(
        leases_renewed_within(0.3, 0.9, until=until),
        credentials_at_most(1),
        no_refused_use(),
        uses_go_on(lab.deadline + 2.0, since=began, until=until),
    )


def _five_ask(lab: Lab) -> int:
    """Five callers ask at once; how many were given a credential that works."""
    with ThreadPoolExecutor(CALLERS) as callers:
        found: list[Credential | None] = list(
            callers.map(lambda _: lab.client.lease(CREDENTIALS), range(CALLERS))
        )
    return sum(one is not None and lab.database.accepts(one) for one in found)


def _five_ask_once_it_is_up(lab: Lab) -> int:
    """The same, when one who asks alone is served: nobody promised that it is ready at once."""
    end = lab.history.now() + lab.recovery
    while lab.client.lease(CREDENTIALS) is None and lab.history.now() < end:
        lab.watch(0.2)
    return _five_ask(lab)


def _refused_and_replaced(lab: Lab, fault: Fault, bound: float) -> float:
    """Wait until the database refuses a credential, and for one that works; when it refused it."""
    lab.until(lambda: _refused_after(lab.history, fault.began), within=bound)
    met = _first_refused(lab.history, fault.began)
    lab.until(lambda: _first_accepted(lab.history, met) is not None, within=bound + 0.5)
    return met


def _once_accepted(lab: Lab, bound: float) -> float:
    """Wait until the database accepts one, for longer than the bound if none; when that is."""
    since = lab.history.now()
    lab.until(lambda: _first_accepted(lab.history, since) is not None, within=bound + 0.5)
    return lab.history.now()


def _a_refusal_since(since: float) -> Condition:
    return lambda history: _refused_after(history, since)


def _refused_after(history: History, since: float) -> bool:
    # By its end: one that was under way when the user was dropped is refused for that, too.
    return any(not use.accepted and use.ended >= since for use in list(history.uses))


def _first_refused(history: History, since: float) -> float:
    """When the database first refused a credential after that; the time itself if it never did."""
    return next((u.ended for u in list(history.uses) if not u.accepted and u.ended >= since), since)


def _first_accepted(history: History, since: float) -> float | None:
    """When the first login began after that which the database accepted; None if there is none."""
    return next((u.began for u in list(history.uses) if u.accepted and u.began > since), None)


def _lost(history: History, since: float) -> bool:
    return bool(history.find("lease", since=since, where=lambda e: e.status == 400))


def _lived_on(since: float, seconds: float) -> Condition:
    return lambda history: history.now() >= since + seconds
