"""Leases: short-lived credentials for a PostgreSQL of the scenario's own.

The harness logs in with what the subject hands out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import pytest

from vault_harness.judge.conditions import Condition, Sighting
from vault_harness.judge.faults.http import HTML, JSON, NOTICE, QUOTA, a_page
from vault_harness.judge.helpers.calls import HELD_UP, WITHIN_A_CALL
from vault_harness.judge.helpers.database import (
    CREDENTIALS,
    POLICY,
    READ_ONLY,
    first_credential,
    pool,
)
from vault_harness.judge.helpers.instead import instead_of_vault
from vault_harness.judge.helpers.lives import ALL_BUT_THE_END
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import (
    Oracle,
    a_denial_costs_little,
    accepted_again,
    at_most,
    came_through,
    credential_at_hand,
    credentials_apart,
    credentials_at_most,
    failures_are,
    lease_grants,
    lease_renewals_at_most,
    lease_renewed_or_replaced,
    leased_at,
    leases_renewed_within,
    logins_at_most,
    no_refused_use,
    no_request_storm,
    nobody_waits,
    none_of,
    obeys_retry_after,
    quiet,
    renewals_hold_up_nobody,
    renewals_of_a_capped_lease_at_most,
    renewals_of_a_lost_lease_at_most,
    renews_a_lease,
    same_token,
    uses_go_on,
)
from vault_harness.judge.subjects import Credential
from vault_harness.judge.verdict import NotClaimed, NotExercised
from vault_harness.recorder.fault import Fault, Stub
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Exchange

RESTARTS, CALLERS = 3, 5

BOTH = (CREDENTIALS, READ_ONLY)

NOTHING = f"""
path "{CREDENTIALS}" {{ capabilities = ["deny"] }}
path "{READ_ONLY}" {{ capabilities = ["read"] }}
"""

NO_RENEWALS = f"""
path "{CREDENTIALS}" {{ capabilities = ["read"] }}
path "sys/leases/renew" {{ capabilities = ["deny"] }}
path "sys/renew" {{ capabilities = ["deny"] }}
"""
"""A denial of an exact path wins over `default`."""


@pytest.mark.scenario("LEASE-01")
def test_revoked_by_prefix(lab: Lab) -> None:
    """Revoked leases, and leases of a revoked token, are replaced once a caller reports them."""
    lab.start()
    first = first_credential(lab)
    bound = 5.0
    # Before any fault: a database may be slow to make its user.
    late_by = min(HANGS, WITHIN_A_CALL * lab.deadline)
    with pool(lab, connections=CALLERS):
        with lab.http.delay("credential", path=f"*{READ_ONLY}", by=late_by, first=1) as slow:
            _use(lab, READ_ONLY, bound)
        with lab.vault.leases_revoked(CREDENTIALS, optional=True) as fault:
            met = _refused_and_replaced(lab, fault, bound)
        lab.watch(1.0)
        late = lab.history.now()
        lab.client.lease(CREDENTIALS, first.username)  # no longer the current one
        lab.watch(0.5)
        _use(lab, READ_ONLY, bound)  # a report for one path says nothing about the other
        # Nobody reads, so a request for a credential has to find the dead token.
        with lab.vault.token_revoked(lab.tokens.accessor()) as lost:
            lost.optional = True  # after a report a client may log in first
            met_again = _refused_and_replaced(lab, lost, bound)
        lab.watch(1.0)
        asked = lab.history.now()
        _use(lab, READ_ONLY, bound)  # this lease ended with the token too, unreported
    for one in (fault, lost):
        lab.require(
            f"the database refused a credential after {one.name}", _a_refusal_since(one.began)
        )
    back = _first_accepted(lab.history, met)
    back_again = _first_accepted(lab.history, met_again)
    lab.judge(
        nobody_waits(
            late_by / HELD_UP,
            since=slow.began,
            until=slow.end,
            of=[CREDENTIALS],
            what="credential",
        ),
        no_refused_use(until=fault.began),
        accepted_again(since=met, within=bound),
        *([no_refused_use(since=back, until=lost.began)] if back is not None else []),
        credentials_at_most(2, since=fault.began, until=lost.began, path=CREDENTIALS),
        credentials_at_most(0, since=fault.began, until=lost.began, path=READ_ONLY),
        credentials_at_most(0, since=late, until=lost.began),
        accepted_again(since=met_again, within=bound),
        *([no_refused_use(since=back_again)] if back_again is not None else []),
        accepted_again(since=asked, within=bound, path=READ_ONLY),
        *(credentials_at_most(2, since=lost.began, path=path) for path in BOTH),
    )


@pytest.mark.scenario("LEASE-02")
def test_parent_token_at_its_max_ttl(lab: Lab) -> None:
    """A token at its max TTL takes its leases along, and no pool stays without a credential."""
    lab.start()
    began = lab.history.now()
    lab.database.lives(READ_ONLY, _a_short_life(lab))
    for path in BOTH:
        first_credential(lab, path)
    # A use may be refused for two seconds around a login, and a call may take its deadline.
    bound = lab.deadline + 2.0
    with (
        lab.reading(every=0.5),
        pool(lab, reports=False),
        pool(lab, READ_ONLY, every=0.25, reports=False),
    ):
        lab.watch(lab.entry.max_ttl + 2.0)
        until = _once_accepted(lab, bound, *BOTH)
        # The next token's lease must be kept too.
        over = began + lab.entry.max_ttl
        life = _life_on_the_next_token(lab.history, READ_ONLY, over)
        if life is not None:
            given, in_time = life
            lab.until(
                lambda: bool(lease_grants(lab.history, path=READ_ONLY, since=given)),
                within=max(0.0, in_time + 0.5 - lab.history.now()),
            )
            lab.ask(lease_renewed_or_replaced(path=READ_ONLY, since=given, before=in_time))
    lab.must_have(logins=1, since=began)
    lab.require("the first token's end was outlived", _lived_on(began, lab.entry.max_ttl + 1.5))
    logins = len(lab.history.logins())
    # A client that never renews replaces a lease whenever it is due.
    renews = bool(lab.history.find("lease", where=renews_a_lease))
    lab.judge(
        no_refused_use(around_logins=1.0),
        *(uses_go_on(bound, since=began, until=until, path=path) for path in BOTH),
        *(credentials_at_most(logins, path=path) for path in (BOTH if renews else BOTH[:1])),
    )


def _life_on_the_next_token(history: History, path: str, over: float) -> tuple[float, float] | None:
    """Return begin and end of the last lease on another token, or None.

    Only leases granted before `over`, the first token's end, are due in time.
    """
    grants = lease_grants(history, path=path, until=over)
    others = [grant for grant in grants if grant.token != grants[0].token]
    if not others:
        return None
    given = others[-1].ended or others[-1].began
    return given, given + (others[-1].ttl or 0.0)


LONGER, FOR_EVER = 5 / 3, 3
"""The other leases' life, in lives of a lease; and for how many lives and calls an answer is held
back.
"""


@pytest.mark.scenario("LEASE-03")
def test_lease_not_found(lab: Lab) -> None:
    """A lost lease is replaced, and another one kept, even if a renewal is never answered."""
    client = lab.start()
    ttl = lab.entry.lease_ttl or 0.0
    # Long enough for another call after a renewal that hangs.
    life = LONGER * ttl
    for_ever = FOR_EVER * (life + lab.deadline)
    lab.database.lives(READ_ONLY, life)
    credentials = {path: first_credential(lab, path) for path in BOTH}
    lab.database.lives(CREDENTIALS, life)
    foreign = {
        f"a user for {path} is not in its group"
        for path, one in credentials.items()
        if one.username not in lab.database.users(path)
    }
    with pool(lab, every=0.5, logs_in=False), pool(lab, READ_ONLY, every=0.5, reports=False):
        with lab.vault.leases_revoked(CREDENTIALS) as fault:
            lab.until(lambda: bool(_lost(lab.history, fault.began)), within=ttl)
            told = lab.history.now()
            lab.watch(2.0)
            new = client.lease(CREDENTIALS)
            works = new is not None and lab.database.accepts(new)
        given, other = lab.history.now(), client.lease(READ_ONLY)
        # A client that renews nothing does not notice the loss.
        replaces = _only_replaces(lab.history)
        fault.optional = replaces
        with (
            lab.http.lose_answer("credential", first=1, by=for_ever)
            if replaces
            else lab.http.lose_answer("lease", path="*renew*", first=1, by=for_ever)
        ) as silent:
            silent.optional = True  # a client that no longer renews is found on the other path
            # The other lease's thread may have ended with the lost one.
            lab.until(
                lambda: (
                    (replaces or _renewed(lab, credentials[READ_ONLY], told))
                    and bool(_hanging(lab.history))
                ),
                within=life,
            )
            renewed, looked = _renewed(lab, credentials[READ_ONLY], told), lab.history.now()
            hanging = _hanging(lab.history)
            asked = _kept_all_the_same(lab, silent, hanging[0]) if hanging else []
    changed = {} if renewed or replaces else {"it is not renewed": looked}
    if other is None or (other != credentials[READ_ONLY] and not replaces):
        text = "another is given for it" if other is not None else "none is given for it"
        changed = {text: given}
    lab.require("a renewal that nobody answers", lambda history: bool(_hanging(history)))
    hung = hanging[0].began if hanging else None
    lab.judge(
        none_of("what is leased at a path is a user of its own role", foreign, harm=True),
        none_of(
            "a new credential that works, 2 s later",
            {} if works else {"it does not work": given},
            rests_on=(),
        ),
        none_of("the other path keeps its credential", changed, rests_on=()),
        *(
            [
                credentials_apart(0.5 * ttl, since=fault.began, until=hung, path=path)
                for path in BOTH
            ]
            if replaces
            else [credentials_at_most(1, since=fault.began, until=hung)]
        ),
        *asked,
        renewals_of_a_lost_lease_at_most(2, since=fault.began),
        no_refused_use(),
        same_token(since=fault.began),  # a lost lease says nothing about the token
    )
    if replaces and lab.verdict is not None and lab.verdict.word == "pass":
        raise NotClaimed(REPLACES)  # only after that is known to work


def _hanging(history: History) -> list[Exchange]:
    return history.find("lease", "credential", where=lambda e: e.interference is not None)


def _kept_all_the_same(lab: Lab, silent: Fault, hanging: Exchange) -> list[Oracle]:
    """Wait until a lease is kept although a request hangs; return the oracles.

    The client has the rest of the lease's life, or as long as after a fault of a call's length.
    """
    path = _path_of(lab.history, hanging)
    given_up = hanging.began + lab.deadline
    ends = _over(lab.history, path, until=hanging.began)
    fault = replace(silent, began=hanging.began, ended=given_up)
    before = max(ends, given_up + lab.recovery_after(fault))
    lab.until(
        lambda: bool(lease_grants(lab.history, path=path, since=hanging.began)),
        within=max(0.0, before + 0.5 - lab.history.now()),
    )
    few = (
        credentials_at_most(1, since=hanging.began)
        if hanging.kind == "lease"
        # Vault also makes the credential whose answer is lost.
        else credentials_at_most(2, since=hanging.began, path=path)
    )
    return [lease_renewed_or_replaced(path=path, since=hanging.began, before=before), few]


DENIED_ON = 0.35
"""Part of a lease's TTL, from the first denial on."""

EACH_WAY = 1.05
"""Part of a lease's TTL for each way of failing: beyond its end."""


@pytest.mark.scenario("LEASE-04")
def test_renewals_keep_failing(lab: Lab) -> None:
    """Renewals that fail (400, 500, 429, 403) cost few credentials, and no pool is without one."""
    lab.start()
    ttl = lab.entry.lease_ttl or 0.0
    first_credential(lab)
    failing = Stub(status=500, body=b'{"errors": ["internal error"]}', kinds=frozenset({"lease"}))
    # A pause that doubles from 0.3 of a life can be as long as the rest.
    bound = lab.or_its_pause(0.7 * ttl + lab.deadline)
    with pool(lab) as seen:
        with lab.vault.lease_renewals_fail(CREDENTIALS) as fault:
            lab.watch(EACH_WAY * ttl)
        with (
            instead_of_vault(lab, "renewals answered 500", failing) as failed,
            # A quota counts requests, and says nothing about a lease.
            lab.http.fail("lease", every=2, status=429, body=QUOTA, headers=JSON) as full,
        ):
            full.optional = True  # a client with few requests does not reach it
            lab.watch(EACH_WAY * ttl)
        with lab.vault.policy(POLICY, NO_RENEWALS) as denied:
            denied.optional = True  # a client may have stopped renewing
            # A new lease may be up to 0.9 of its life old.
            lab.until(lambda: lab.touched(denied), within=1.1 * ttl)
            lab.watch(DENIED_ON * ttl)
        until = _once_accepted(lab, bound)
    if replaces := _only_replaces(lab.history):
        fault.optional = failed.optional = True
    least = 0.5 * ttl
    lab.require("two lives of a lease", _lived_on(fault.began, 2 * EACH_WAY * ttl))
    lab.judge(
        no_refused_use(until=denied.began),
        # A denial may cost a login, which changes the token and its leases.
        no_refused_use(since=denied.began, around_logins=1.0),
        uses_go_on(bound, since=fault.began, until=until),
        credentials_apart(least, until=denied.began),
        *(
            lease_renewals_at_most(quiet(half.length), since=half.began, until=half.end)
            for half in (fault, failed)
        ),
        at_most(
            2 + (until - fault.began) / least, float(len(seen.users)), "users that were in pg_roles"
        ),
        same_token(since=fault.began, until=denied.began),
        logins_at_most(1, since=denied.began),
    )
    if replaces and lab.verdict is not None and lab.verdict.word == "pass":
        raise NotClaimed(REPLACES)  # only after that is known to work


REPLACES = "it renews no lease: it asks for a new credential in its time instead"


def _only_replaces(history: History) -> bool:
    renewals = history.find("lease", where=renews_a_lease)
    made = [lease_grants(history, path=path) for path in BOTH]
    return not renewals and any(len(grants) > 1 for grants in made)


@pytest.mark.scenario("LEASE-05")
def test_restarts_leave_no_credential(lab: Lab) -> None:
    """Restarts with five callers leave no credential behind, although leases live for 768 h."""
    lab.start()
    left: dict[str, float] = {}
    without: dict[str, float] = {}
    starts = 0
    for restart in range(RESTARTS):
        if restart and lab.open() is None:
            break
        starts += 1
        served = _five_ask(lab)
        if not served and not restart:
            first_credential(lab)
        if served < CALLERS and restart:
            served = _five_ask_once_it_is_up(lab)
        if not restart:
            lab.watch(1.0)  # a timer of 31-bit milliseconds fires at once
        if served < CALLERS:
            text = f"{CALLERS - served} of {CALLERS} were given none after start {starts}"
            without[text] = lab.history.now()
        users = lab.database.users()
        lab.client.close()
        if lab.leaves("token"):  # and its credentials with it
            continue
        if not lab.until(lambda: not lab.database.users(), within=2.0):
            text = f"{len(lab.database.users())} of {len(users)} users after close {starts}"
            left[text] = lab.history.now()
    lab.require(
        f"{CALLERS} callers who ask at once after each start",
        lambda _: Sighting(starts == RESTARTS, f"after {starts} of {RESTARTS}"),
    )
    lab.judge(
        none_of("callers that ask at once are given a credential that works", without),
        none_of("its credentials are given back at its end", left),
        credentials_at_most(RESTARTS),
        steady=False,
    )


TWICE, CALM, SEALED_ON = 2, 1.85, 1.0
"""The other lease's life and the calm time, in lives; seconds of seal after a refused renewal."""


@pytest.mark.scenario("LEASE-06")
def test_renewed_for_a_whole_life(lab: Lab) -> None:
    """Leases are renewed for whole lives, despite a gateway's pages and a seal."""
    lab.start()
    began = lab.history.now()
    ttl = lab.entry.lease_ttl or 0.0
    lab.database.lives(READ_ONLY, TWICE * ttl)
    # The longer life first: a client with one timer for all is late for the other.
    for path in reversed(BOTH):
        first_credential(lab, path)
    with pool(lab), pool(lab, READ_ONLY, every=0.5):
        paged, in_spite = _renewed_past_pages(lab, until=lab.history.now() + CALM * ttl)
        with lab.vault.sealed() as seal:
            good_until = _over(lab.history, CREDENTIALS, share=ALL_BUT_THE_END)
            refused = _refused_in_its_turn(lab, seal)
            lab.watch(SEALED_ON)
        asked = _kept_over_a_seal(lab, seal, refused)
        _once_accepted(lab, lab.recovery_after(seal), CREDENTIALS)
    lab.require("nearly a life of each lease", _lived_on(began, CALM * ttl))
    bound = lab.or_its_pause(lab.deadline + 2.0)
    lab.judge(
        *(leases_renewed_within(0.3, 0.9, until=seal.began, path=path) for path in BOTH),
        # A client may replace a lease whose renewal failed.
        *(credentials_at_most(1 + paged.count(path), until=seal.began, path=path) for path in BOTH),
        *in_spite,
        *(uses_go_on(bound, since=began, until=seal.began, path=path) for path in BOTH),
        credential_at_hand(path=CREDENTIALS, since=seal.began, until=min(seal.end, good_until)),
        *(credentials_at_most(1, since=seal.began, path=path) for path in BOTH),
        *asked,
        no_refused_use(),
        same_token(since=began),
    )


PAGES = (502, 200, 403)
"""A gateway's statuses: failure, success, and Vault's for a dead token."""


def _renewed_past_pages(lab: Lab, *, until: float) -> tuple[list[str], list[Oracle]]:
    """Answer several renewals with a gateway's page; watch until `until`.

    Each lease must be kept before its end, or as soon as after any fault. Return the path that met
    each page, and these leases' oracles.
    """
    paths: list[str] = []
    asked: list[Oracle] = []
    for status in PAGES:
        with lab.http.fail(
            "lease", path="*renew*", first=1, status=status, body=a_page(status), headers=HTML
        ) as page:
            page.optional = True  # other scenarios judge a client that renews nothing
            met = _answered_with_it(lab, until=until)
        if met is None:
            break
        path = _path_of(lab.history, met)
        in_time = _over(lab.history, path, share=ALL_BUT_THE_END, until=met.began)
        since = met.ended or met.began
        fault = replace(page, began=met.began, ended=since)
        before = max(in_time, since + lab.recovery_after(fault))
        lab.until(
            partial(_is_granted, lab.history, path, met.began),
            within=max(0.0, before + 0.5 - lab.history.now()),
        )
        paths.append(path)
        asked.append(lease_renewed_or_replaced(path=path, since=met.began, before=before))
    lab.watch(max(0.0, until - lab.history.now()))
    return paths, asked


def _answered_with_it(lab: Lab, *, until: float) -> Exchange | None:
    since = lab.history.now()

    def met() -> list[Exchange]:
        return lab.history.find("lease", since=since, where=_is_answered_for_vault)

    lab.until(lambda: bool(met()), within=max(0.0, until - lab.history.now()))
    return next(iter(met()), None)


def _is_answered_for_vault(renewal: Exchange) -> bool:
    return renewal.interference is not None and renewal.ended is not None


def _is_granted(history: History, path: str, since: float) -> bool:
    return bool(lease_grants(history, path=path, since=since))


def _refused_in_its_turn(lab: Lab, seal: Fault) -> list[Exchange]:
    def refused() -> list[Exchange]:
        return lab.history.find(
            "lease",
            "credential",
            since=seal.began,
            where=lambda e: e.status is not None and not e.good and "/revoke" not in e.path,
        )

    latest = _over(lab.history, CREDENTIALS, share=AT_LAST)
    lab.until(lambda: bool(refused()), within=max(0.0, latest - lab.history.now()))
    return refused()


def _kept_over_a_seal(lab: Lab, seal: Fault, refused: list[Exchange]) -> list[Oracle]:
    path = _path_of(lab.history, refused[0]) if refused else CREDENTIALS
    since = refused[0].began if refused else seal.began
    ends = _over(lab.history, path, until=since)
    before = max(ends, seal.end + lab.recovery_after(replace(seal, began=since)))
    lab.until(
        lambda: bool(lease_grants(lab.history, path=path, since=since)),
        within=max(0.0, before + 0.5 - lab.history.now()),
    )
    return [lease_renewed_or_replaced(path=path, since=since, before=before)]


@pytest.mark.scenario("LEASE-07")
def test_lease_at_its_max_ttl(lab: Lab) -> None:
    """A lease that reaches its max TTL is replaced in time, with few renewals for what is left."""
    lab.start()
    began = lab.history.now()
    first_credential(lab)
    bound = lab.deadline + 2.0
    with pool(lab, reports=False):
        lab.watch(lab.entry.lease_max_ttl + 1.5)
        until = _once_accepted(lab, bound)
    lab.require(
        "the first lease's max TTL was outlived", _lived_on(began, lab.entry.lease_max_ttl + 1.0)
    )
    lab.judge(
        no_refused_use(),
        uses_go_on(bound, since=began, until=until),
        # A client that never renews asks once a life, any other once a max TTL.
        credentials_apart(0.5 * (lab.entry.lease_ttl or 0.0)),
        renewals_of_a_capped_lease_at_most(4),
        same_token(since=began),
    )


HANGS = 2.25
"""Seconds before the renewal's connection ends."""

A_DOUBLE = 0.5

ASKERS = 4
"""Beside the pool: only one may wait, to renew within its call."""

AT_LAST = 0.9
"""Part of a life until a renewal has come; calls are judged until `ALL_BUT_THE_END`."""


@pytest.mark.scenario("LEASE-09")
def test_renewal_that_hangs_and_breaks_off(lab: Lab) -> None:
    """A renewal that hangs and loses its answer holds up no caller and costs one credential."""
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
        # Vault has renewed the lease, but the client does not know that.
        ends = first.began + ttl
        lab.until(
            lambda: bool(lease_grants(lab.history, since=first.began)),
            within=max(0.0, ends + 1.0 - lab.history.now()),
        )
        until = _once_accepted(lab, bound)
        lab.watch(A_DOUBLE)
    lab.judge(
        no_refused_use(),
        uses_go_on(bound, since=began, until=until),
        credentials_apart(0.5 * ttl),
        renewals_hold_up_nobody(hangs / HELD_UP, since=first.began, until=good_until, of="lease"),
        same_token(since=began),
    )


def _first_that_is_lost(lab: Lab, ttl: float) -> Exchange:
    def met() -> list[Exchange]:
        return lab.history.find("lease", where=lambda e: e.interference is not None)

    def replaced() -> bool:
        return len(lab.history.find("credential", where=came_through)) > 1

    latest = _granted_last(lab.history) + AT_LAST * ttl
    lab.until(lambda: bool(met()) or replaced(), within=max(0.0, latest - lab.history.now()))
    if renewals := met():
        return renewals[0]
    if replaced():
        raise NotClaimed(REPLACES)
    raise NotExercised(f"no renewal was tried up to {AT_LAST:g} of a lease's life")


def _granted_last(history: History, until: float | None = None) -> float:
    last = lease_grants(history, until=until)[-1]
    return last.ended or last.began


def _over(history: History, path: str, *, share: float = 1.0, until: float | None = None) -> float:
    grants = lease_grants(history, path=path, until=until)
    if not grants:
        return history.now()
    return (grants[-1].ended or grants[-1].began) + share * (grants[-1].ttl or 0.0)


def _path_of(history: History, asked: Exchange) -> str:
    other = asked.credential in leased_at(history, READ_ONLY) or asked.path.endswith(READ_ONLY)
    return READ_ONLY if other else CREDENTIALS


A_SHORT_LIFE = 2 / 15
"""8 s of a minute."""


ENDED = 1.5
"""Seconds after a lease's end without a refused use."""


@pytest.mark.scenario("LEASE-08")
def test_no_credential_can_be_made(lab: Lab) -> None:
    """Callers are told why there is no credential, and are given one again soon afterwards."""
    lab.start()
    lab.database.lives(READ_ONLY, _a_short_life(lab))
    with ExitStack() as callers:
        with lab.http.fail("credential", status=500) as failing:
            callers.enter_context(pool(lab, every=0.5))
            lab.watch(4.0)
        _once_accepted(lab, lab.recovery_after(failing), CREDENTIALS)
        with _others_answer(lab) as others:
            # Nobody reports a refusal: the client must notice the end itself.
            callers.enter_context(pool(lab, READ_ONLY, every=0.5, reports=False))
            lab.until(lambda: all(map(lab.touched, others)), within=4.0)
        elsewhere = others[-1]
        _once_accepted(lab, lab.recovery_after(elsewhere), READ_ONLY)
        with (
            lab.vault.policy(POLICY, NOTHING) as denied,
            lab.vault.leases_revoked(CREDENTIALS, optional=True),
        ):
            lab.until(lambda: lab.touched(denied), within=5.0)
            lab.watch(4.0)
            in_time = _over(lab.history, READ_ONLY, share=AT_LAST, until=denied.began)
            lab.until(
                lambda: bool(lease_grants(lab.history, path=READ_ONLY, since=denied.began)),
                within=max(0.0, in_time + 1.0 - lab.history.now()),
            )
        _once_accepted(lab, lab.recovery_after(denied), CREDENTIALS)
        with lab.http.fail("credential", "lease", status=503) as away:
            away.optional = True  # a client that hands out an ended lease sends no request
            over = _over(lab.history, READ_ONLY, until=away.began)
            # Vault ends the lease in time.
            lab.watch(max(0.0, over + lab.deadline + ENDED - lab.history.now()))
    lab.judge(
        same_token(since=failing.began, until=denied.began),
        no_request_storm(since=failing.began, until=failing.end),
        _are("unavailable", failing),
        no_request_storm(since=elsewhere.began, until=elsewhere.end),
        _are("unavailable", elsewhere),
        obeys_retry_after(
            since=others[0].began, until=denied.began, kind="credential", may_be_empty=True
        ),
        accepted_again(since=elsewhere.end, within=lab.recovery_after(elsewhere), path=READ_ONLY),
        # An answer that is not Vault's holds no credential.
        no_refused_use(since=failing.began, until=denied.began, may_be_empty=True),
        accepted_again(since=failing.end, within=lab.recovery_after(failing), path=CREDENTIALS),
        a_denial_costs_little(
            since=denied.began, until=denied.end, path=CREDENTIALS, kind="credential"
        ),
        _are("denied", denied),
        # A client must fail if it has only a refused credential.
        no_refused_use(
            since=_first_refused(lab.history, denied.began) + lab.deadline,
            until=denied.end,
            path=CREDENTIALS,
            may_be_empty=True,
        ),
        accepted_again(since=denied.end, within=lab.recovery_after(denied), path=CREDENTIALS),
        lease_renewed_or_replaced(path=READ_ONLY, since=denied.began, before=in_time),
        no_refused_use(
            since=denied.began, until=min(away.end, over), around_logins=1.0, path=READ_ONLY
        ),
        # A call may return it until the client knows that Vault gives no other.
        no_refused_use(
            since=over + lab.deadline, around_logins=1.0, path=READ_ONLY, may_be_empty=True
        ),
    )


FOR_A_CREDENTIAL = (
    Stub(status=200, body=NOTICE, headers=JSON),
    Stub(status=403, body=a_page(403), headers=HTML),
    Stub(status=429, body=QUOTA, headers={**JSON, "Retry-After": "1"}),
    Stub(status=502, body=a_page(502), headers=HTML),
)
"""None is a credential or a denial by Vault."""


@contextmanager
def _others_answer(lab: Lab) -> Iterator[list[Fault]]:
    with ExitStack() as answered:
        others = [
            answered.enter_context(
                lab.http.fail(
                    "credential",
                    path=f"*{READ_ONLY}",
                    nth=number,
                    status=one.status,
                    body=one.body,
                    headers=one.headers,
                )
            )
            for number, one in enumerate(FOR_A_CREDENTIAL, start=1)
        ]
        for seldom in others[1:]:
            seldom.optional = True  # a client with few requests does not meet it
        yield others


def _a_short_life(lab: Lab) -> float:
    short = A_SHORT_LIFE * (lab.entry.lease_ttl or 0.0)
    return max(short, math.ceil(lab.declared("min_ttl", 0.0)))


def _are(outcome: str, fault: Fault) -> Oracle:
    return failures_are(
        outcome, since=fault.began, until=fault.end, verbs=("lease",), may_be_empty=True
    )


def _five_ask(lab: Lab) -> int:
    with ThreadPoolExecutor(CALLERS) as callers:
        found: list[Credential | None] = list(
            callers.map(lambda _: lab.client.lease(CREDENTIALS), range(CALLERS))
        )
    return sum(one is not None and lab.database.accepts(one) for one in found)


def _five_ask_once_it_is_up(lab: Lab) -> int:
    """One caller first: a client need not be ready at once."""
    end = lab.history.now() + lab.recovery
    while lab.client.lease(CREDENTIALS) is None and lab.history.now() < end:
        lab.watch(0.2)
    return _five_ask(lab)


def _use(lab: Lab, path: str, bound: float) -> None:
    since = lab.history.now()
    credential = lab.client.lease(path)
    while credential is None and lab.history.now() < since + bound:
        lab.watch(0.2)
        credential = lab.client.lease(path)
    if credential is not None:
        lab.database.accepts(credential)


def _refused_and_replaced(lab: Lab, fault: Fault, bound: float) -> float:
    """Wait for a refused credential and a good one; return when it was refused."""
    lab.until(lambda: _refused_after(lab.history, fault.began), within=bound)
    met = _first_refused(lab.history, fault.began)
    lab.until(lambda: _first_accepted(lab.history, met) is not None, within=bound + 0.5)
    return met


def _once_accepted(lab: Lab, bound: float, *paths: str) -> float:
    """Wait until the database accepts a credential, of each path if given; return when."""
    since = lab.history.now()

    def accepted() -> bool:
        firsts = [_first_accepted(lab.history, since, path) for path in paths or (None,)]
        return None not in firsts

    lab.until(accepted, within=bound + 0.5)
    return lab.history.now()


def _a_refusal_since(since: float) -> Condition:
    return lambda history: _refused_after(history, since)


def _refused_after(history: History, since: float) -> bool:
    # A login under way when the user was dropped is refused, so its end counts.
    return any(not use.accepted and use.ended >= since for use in list(history.uses))


def _first_refused(history: History, since: float) -> float:
    return next((u.ended for u in list(history.uses) if not u.accepted and u.ended >= since), since)


def _first_accepted(history: History, since: float, path: str | None = None) -> float | None:
    uses = [u for u in list(history.uses) if u.accepted and u.began > since]
    if path is not None:
        labels = leased_at(history, path)
        uses = [u for u in uses if u.credential in labels]
    return uses[0].began if uses else None


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
