"""Leases: credentials of a database that live for a while, on a PostgreSQL of the scenario's own.

The harness itself logs in to the database with what the subject hands out.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from vault_harness.faults import Fault
from vault_harness.scenario import Exchange, Lab, NotClaimed, NotExercised, Stub
from vault_harness.scenario.conditions import Condition, Sighting
from vault_harness.scenario.helpers import instead_of_vault
from vault_harness.scenario.history import History
from vault_harness.scenario.leases import (
    CREDENTIALS,
    POLICY,
    READ_ONLY,
    first_credential,
    pool,
)
from vault_harness.scenario.oracles import (
    STORM_PEAK,
    Oracle,
    a_denial_costs_little,
    accepted_again,
    at_most,
    came_through,
    credentials_apart,
    credentials_at_most,
    failures_are,
    lease_renewals_at_most,
    leases_renewed_within,
    no_refused_use,
    no_request_storm,
    none_of,
    renewals_hold_up_nobody,
    renewals_of_a_capped_lease_at_most,
    renewals_of_a_lost_lease_at_most,
    renews_a_lease,
    same_token,
    uses_go_on,
)
from vault_harness.subjects import Credential

RESTARTS, CALLERS = 3, 5

NOTHING = """
path "database/*" { capabilities = ["deny"] }
"""


@pytest.mark.scenario("LEASE-01")
def test_revoked_by_prefix(lab: Lab) -> None:
    """Every lease is revoked, and then the token with its own; five connections say so at once."""
    lab.start()
    first = first_credential(lab)
    bound = 5.0
    with pool(lab, connections=CALLERS):
        lab.watch(1.0)
        with lab.vault.leases_revoked(CREDENTIALS, optional=True) as fault:
            met = _refused_and_replaced(lab, fault, bound)
        lab.watch(1.0)
        late = lab.history.now()
        lab.client.lease(CREDENTIALS, first.username)  # by then that is not the current one
        lab.watch(0.5)
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
        credentials_at_most(0, since=late, until=lost.began),
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
    """A lease is gone from Vault, which its next renewal finds out (400); another one is not."""
    client = lab.start()
    credentials = {path: first_credential(lab, path) for path in (CREDENTIALS, READ_ONLY)}
    foreign = {
        f"a user for {path} is not in its group"
        for path, one in credentials.items()
        if one.username not in lab.database.users(path)
    }
    ttl = lab.entry.lease_ttl or 0.0
    with pool(lab, every=0.5, logs_in=False), pool(lab, READ_ONLY, every=0.5, reports=False):
        with lab.vault.leases_revoked(CREDENTIALS) as fault:
            lab.until(lambda: bool(_lost(lab.history, fault.began)), within=ttl)
            told = lab.history.now()
            lab.watch(2.0)
            new = client.lease(CREDENTIALS)
            works = new is not None and lab.database.accepts(new)
        lab.watch(0.25 * ttl)
        # Whatever renewed it before may have ended with the one that was lost.
        renewed = lab.until(lambda: _renewed(lab, credentials[READ_ONLY], told), within=ttl)
        other = client.lease(READ_ONLY)
    kept = renewed and other == credentials[READ_ONLY]
    lab.judge(
        none_of("what is leased at a path is a user of its own role", foreign, harm=True),
        none_of("a new credential that works, 2 s later", set() if works else {"it does not work"}),
        none_of("the other path keeps its credential", set() if kept else {"it is not renewed"}),
        credentials_at_most(1, since=fault.began),
        renewals_of_a_lost_lease_at_most(2, since=fault.began),
        no_refused_use(),
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
        with instead_of_vault(lab, "renewals answered 500", failing) as failed:
            lab.watch(1.1 * ttl)
        until = _once_accepted(lab, bound)
    least = 0.5 * ttl
    lab.require("two lives of a lease", _lived_on(fault.began, 2.1 * ttl))
    lab.judge(
        no_refused_use(),
        uses_go_on(bound, since=fault.began, until=until),
        credentials_apart(least),
        # As in a storm: one peak, and one a second, in each half.
        *(
            lease_renewals_at_most(STORM_PEAK + int(half.length), since=half.began, until=half.end)
            for half in (fault, failed)
        ),
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


@pytest.mark.scenario("LEASE-07")
def test_lease_at_its_max_ttl(lab: Lab) -> None:
    """A lease comes to its max TTL, and its last renewals are answered with what is left."""
    lab.start()
    began = lab.history.now()
    first_credential(lab)
    bound = lab.deadline + 2.0
    with pool(lab, reports=False):
        # Past the first one's end, so that it is gone.
        lab.watch(lab.entry.lease_max_ttl + 1.5)
        until = _once_accepted(lab, bound)
    lab.require(
        "the first lease's max TTL was outlived", _lived_on(began, lab.entry.lease_max_ttl + 1.0)
    )
    lab.judge(
        no_refused_use(),
        uses_go_on(bound, since=began, until=until),
        # Who never renews takes a new one in its turn; by who renews one is due for each max TTL.
        credentials_apart(0.5 * (lab.entry.lease_ttl or 0.0)),
        # As for a token: the one that is capped and three more.
        renewals_of_a_capped_lease_at_most(4),
    )


HANGS = 2.25
"""Seconds for which a renewal of a lease hangs, before it breaks off."""

WITHIN_A_CALL = 0.75
"""Of a call's deadline: for no longer does it hang, so that nobody has to take it for an outage."""

A_DOUBLE = 0.5
"""Seconds after a new credential in which one too many would be asked for, and has to be seen."""

HELD_UP = 3
"""Who waits for more than one such part of that time is held up by it."""

ASKERS = 4
"""Callers beside the pool: one of them may renew in its own call, the others are not to wait."""

AT_LAST, ALL_BUT_THE_END = 0.9, 0.95
"""Of a life: until when a renewal is waited for, and calls are judged beside it."""


@pytest.mark.scenario("LEASE-09")
def test_renewal_that_hangs_and_breaks_off(lab: Lab) -> None:
    """A lease's renewal hangs, and its answer is lost; five callers want the credential."""
    lab.start()
    began = lab.history.now()
    first_credential(lab)
    ttl = lab.entry.lease_ttl or 0.0
    hangs = min(HANGS, WITHIN_A_CALL * lab.deadline)
    bound = lab.deadline + 2.0
    with ExitStack() as callers:
        callers.enter_context(pool(lab))
        for _ in range(ASKERS):
            callers.enter_context(pool(lab, every=0.3, logs_in=False))
        with lab.http.lose_answer("lease", path="*renew*", first=1, by=hangs):
            first = _first_that_is_lost(lab, ttl)
            good_until = _granted_last(lab.history, first.began) + ALL_BUT_THE_END * ttl
            lab.until(lambda: first.ended is not None, within=hangs + 1.0)
        # Vault has renewed it, of which the client knows nothing: so long it lives.
        ends = first.began + ttl
        lab.until(
            lambda: bool(_grants(lab.history, since=first.began)),
            within=max(0.0, ends + 1.0 - lab.history.now()),
        )
        until = _once_accepted(lab, bound)
        lab.watch(A_DOUBLE)
    lab.judge(
        no_refused_use(),
        uses_go_on(bound, since=began, until=until),
        credentials_apart(0.5 * ttl),
        renewals_hold_up_nobody(hangs / HELD_UP, since=first.began, until=good_until, of="lease"),
    )


def _first_that_is_lost(lab: Lab, ttl: float) -> Exchange:
    """The first renewal on which the fault acts, waited for up to `AT_LAST` of the life."""

    def met() -> list[Exchange]:
        return lab.history.find("lease", where=lambda e: e.interference is not None)

    def replaced() -> bool:
        return len(lab.history.find("credential", where=came_through)) > 1

    latest = _granted_last(lab.history) + AT_LAST * ttl
    lab.until(lambda: bool(met()) or replaced(), within=max(0.0, latest - lab.history.now()))
    if renewals := met():
        return renewals[0]
    if replaced():
        raise NotClaimed("it renews no lease: it asks for a new credential in its time instead")
    raise NotExercised(f"no renewal was tried up to {AT_LAST:g} of a lease's life")


def _granted_last(history: History, until: float | None = None) -> float:
    """When the answer came that gave the lease in use its life."""
    last = _grants(history, until=until)[-1]
    return last.ended or last.began


def _grants(history: History, *, since: float = 0.0, until: float | None = None) -> list[Exchange]:
    """What gave a lease its life, and whose answer came: new ones, and renewals."""
    return history.find(
        "credential",
        "lease",
        since=since,
        until=until,
        where=lambda e: came_through(e) and (e.kind == "credential" or renews_a_lease(e)),
    )


@pytest.mark.scenario("LEASE-08")
def test_no_credential_to_be_had(lab: Lab) -> None:
    """The engine fails under a pool, before it has a credential; later on the policy denies one."""
    lab.start()
    with ExitStack() as callers:
        with lab.http.fail("credential", status=500) as failing:
            callers.enter_context(pool(lab, every=0.5))
            lab.watch(4.0)
        _once_accepted(lab, lab.recovery_after(failing))
        with (
            lab.vault.policy(POLICY, NOTHING) as denied,
            lab.vault.leases_revoked(CREDENTIALS, optional=True),
        ):
            lab.until(lambda: lab.touched(denied), within=5.0)
            lab.watch(4.0)
        _once_accepted(lab, lab.recovery_after(denied))
    lab.judge(
        same_token(since=failing.began, until=denied.began),
        no_request_storm(since=failing.began, until=failing.end),
        _are("unavailable", failing),
        accepted_again(since=failing.end, within=lab.recovery_after(failing)),
        a_denial_costs_little(
            since=denied.began, until=denied.end, path=CREDENTIALS, kind="credential"
        ),
        _are("denied", denied),
        accepted_again(since=denied.end, within=lab.recovery_after(denied)),
    )


def _are(outcome: str, fault: Fault) -> Oracle:
    """Whoever asks for a credential in vain is told why, where the subject tells it."""
    return failures_are(
        outcome, since=fault.began, until=fault.end, verbs=("lease",), may_be_empty=True
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


def _renewed(lab: Lab, credential: Credential, since: float) -> bool:
    label = lab.secrets.label(credential.password)
    return bool(
        lab.history.find(
            "lease",
            since=since,
            where=lambda e: e.good and e.credential == label and "renew" in e.path,
        )
    )


def _lived_on(since: float, seconds: float) -> Condition:
    return lambda history: history.now() >= since + seconds
