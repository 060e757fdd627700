"""Token life: renewal, max TTL, revocation, and the clean end."""

from __future__ import annotations

import contextlib
import threading
from statistics import pstdev

import pytest

from vault_harness.errors import SubjectError
from vault_harness.scenario import Finding, Lab, NotClaimed, NotExercised
from vault_harness.scenario.driver import Driver, reading
from vault_harness.scenario.lab import KEY, PATH, ROLE
from vault_harness.scenario.oracles import (
    at_most,
    bad_logins_at_most,
    logins_at_most,
    logs_in_again,
    no_failed_read,
    no_refused_read,
    recovers_within,
    renewals_at_most,
    renews_again,
    renews_within,
    requests_at_most,
    same_token,
    says_of_its_health,
)
from vault_harness.subjects import OperationFailed

ENOUGH = 4
"""Renewals from which a spread can be told."""

SPREAD = 0.006
"""Standard deviation of renewals, as a share of the TTL. A jitter of 5 % in all gives 0.014."""


@pytest.mark.scenario("TOK-01")
def test_token_is_renewed_in_time(lab: Lab) -> None:
    """Three lives of a token pass under reads; each one is renewed between 0.3 and 0.9 of it."""
    lab.start()
    with lab.reading(every=0.5):
        lab.watch(3 * lab.ttl)
        end = lab.history.now()
    lab.judge(renews_within(0.3, 0.9, until=end), logins_at_most(1), no_failed_read())


@pytest.mark.scenario("TOK-02")
def test_renewals_are_spread(lab: Lab) -> None:
    """Three instances start together; over two lives their renewals come at different times."""
    if lab.environment.subject.kind == "http":
        raise NotClaimed("a server is one instance: several need several servers")
    instances = [lab.start(), lab.open(), lab.open()]
    with contextlib.ExitStack() as callers:
        for instance in instances:
            if instance is not None:
                callers.enter_context(reading(instance, every=0.3))
        lab.watch(2.2 * lab.ttl)
    waits = _waits(lab)
    if len(waits) < ENOUGH:
        raise NotExercised(f"only {len(waits)} renewals were seen of three instances in two lives")
    spread = pstdev(waits) / lab.ttl
    if spread < SPREAD:
        text = f"{len(waits)} renewals differ by {spread:.2%} of the TTL (standard deviation)"
        lab.note(Finding("renewals of instances that start together are spread", text))
    lab.judge(no_failed_read())


def _waits(lab: Lab) -> list[float]:
    """Seconds from each token's login or renewal to its next renewal."""
    lives = lab.history.find("login", "renew", where=lambda e: e.good and e.ended is not None)
    last: dict[str | None, float] = {}
    waits = []
    for life in lives:
        if life.kind == "renew" and life.token in last:
            waits.append(life.began - last[life.token])
        last[life.token] = life.ended or life.began
    return waits


@pytest.mark.scenario("TOK-03")
def test_max_ttl_is_met_by_a_login_in_time(lab: Lab) -> None:
    """Two and a half max TTLs pass under reads; the subject logs in anew before each end."""
    lab.start()
    with lab.reading(every=0.2):
        lab.watch(2.5 * lab.entry.max_ttl)
        alive = lab.tokens_alive()
    # One login at the start, one for each max TTL, and as many again for a careful client.
    lab.judge(
        no_failed_read(),
        no_refused_read(),
        logins_at_most(6),
        at_most(2, alive, "tokens alive at once"),
    )


@pytest.mark.scenario("TOK-06")
def test_token_that_cannot_be_renewed_is_replaced(lab: Lab) -> None:
    """Each login gives a token with `renewable` false; renewing it answers 400."""
    lab.issue_instead(renewable=False)
    lab.start()
    with lab.reading(every=0.2):
        lab.watch(2.5 * lab.ttl)
    lives = lab.history.logins()
    lab.judge(
        no_failed_read(),
        no_refused_read(),
        renewals_at_most(len(lives), since=0.0),
        logins_at_most(8),
        logs_in_again(since=lives[0].began + 0.2 * lab.ttl, within=0.8 * lab.ttl),
    )


@pytest.mark.scenario("TOK-11")
def test_revoked_token_costs_one_login(lab: Lab) -> None:
    """Somebody revokes the token under reads."""
    lab.start()
    bound = min(0.1 * lab.ttl, 5.0)
    with lab.reading(every=0.2):
        lab.watch(0.5)
        with lab.vault.token_revoked(lab.accessor()) as fault:
            dead = lab.history.now()  # for sure: it was noted before Vault was asked
            lab.hold(fault, 0.0)
            refused = lab.history.find(since=fault.began, where=lambda e: e.status == 403)
            met = max(dead, refused[0].began if refused else dead)
            lab.until_good_read(since=met, within=bound + lab.deadline)
            lab.watch(1.0)
    lab.judge(
        recovers_within(bound, since=met),
        logins_at_most(1, since=fault.began),
        logs_in_again(since=fault.began, within=met - fault.began + bound),
    )


@pytest.mark.scenario("TOK-12")
def test_fifty_readers_cause_one_login(lab: Lab) -> None:
    """Fifty callers meet the same revoked token."""
    lab.start()
    with lab.reading(every=0.8, callers=50):
        lab.watch(1.0)
        before = lab.tokens_alive()
        with lab.vault.token_revoked(lab.accessor()) as fault:
            dead = lab.history.now()  # for sure: it was noted before Vault was asked
            lab.until_good_read(since=dead, within=lab.deadline + 2.0)
            lab.watch(1.0)
            after = lab.tokens_alive()
    lab.judge(
        logins_at_most(1, since=fault.began),
        logs_in_again(since=fault.began, within=2.0),
        at_most(before, after, "tokens alive, as before"),
    )


@pytest.mark.scenario("TOK-15")
def test_refused_renewal_ends_in_a_login(lab: Lab) -> None:
    """The token is revoked while nobody reads, so that a renewal is the first to meet it."""
    lab.start()
    with lab.vault.token_revoked(lab.accessor()) as fault:
        lab.history.wait_for(lambda: bool(lab.history.find(since=fault.began)), lab.ttl)
        first = lab.history.find(since=fault.began)
        met = first[0].began if first else lab.history.now()
        lab.history.wait_for(lambda: bool(lab.history.logins(since=met)), lab.recovery)
        lab.until_good_read_by_asking(within=lab.recovery)
        lab.watch(1.0)
    lab.judge(
        renewals_at_most(4, since=met, until=_first_login(lab, met)),
        logs_in_again(since=met, within=lab.recovery),
        logins_at_most(1, since=met),
    )


def _first_login(lab: Lab, since: float) -> float:
    logins = lab.history.logins(since=since)
    return logins[0].began if logins else lab.history.now()


@pytest.mark.scenario("TOK-16")
def test_failed_renewal_is_tried_again(lab: Lab) -> None:
    """The audit log cannot be written until a renewal was answered 500; then all is well."""
    lab.start()
    born = lab.history.logins()[-1]
    ends = (born.ended or born.began) + lab.ttl
    lab.watch(0.2 * lab.ttl)
    with lab.vault.audit_unwritable() as fault:
        failed = lab.history.wait_for(
            lambda: bool(
                lab.history.find("renew", since=fault.began, where=lambda e: e.status == 500)
            ),
            0.7 * lab.ttl,
        )
    if not failed:
        raise NotExercised(
            "no renewal was tried while renewals failed, up to nine tenths of the token's life"
        )
    lab.history.wait_for(
        lambda: bool(lab.history.find("renew", since=fault.ended or 0.0)), ends - lab.history.now()
    )
    lab.judge(
        renews_again(since=fault.ended or 0.0, before=ends),
        same_token(since=fault.began),
    )


@pytest.mark.scenario("TOK-17")
def test_deleted_role_ends_nothing_at_once(lab: Lab) -> None:
    """The role is deleted, then made again with a new secret-id; renewals answer 500 meanwhile."""
    client = lab.start()
    born = lab.history.logins()[-1]
    ends = (born.ended or born.began) + lab.ttl
    asks = "health" in client.subject.capabilities
    with lab.reading(every=0.3):
        with lab.vault.role_deleted(ROLE) as fault:
            lab.watch(ends + 1.0 - lab.history.now())
            if asks:
                client.healthy()
            told = lab.history.now()
            lab.watch(0.5)
        lab.new_secret_id()
        back = lab.history.now()
        lab.until_good_read(since=back, within=lab.recovery)
    lab.judge(
        # The last tenth of a life is left for a busy machine.
        no_failed_read(until=ends - 0.1 * lab.ttl),
        renewals_at_most(7, since=fault.began, until=ends),
        bad_logins_at_most(4),
        says_of_its_health(well=False, since=fault.began, until=told),
        recovers_within(lab.recovery, since=back),
    )


@pytest.mark.scenario("TOK-19")
def test_clean_end_revokes_the_token(lab: Lab) -> None:
    """The subject is ended as a deployment would."""
    before = lab.tokens_alive()
    client = lab.start()
    ended = client.close(timeout=5.0)
    if ended.outcome != "ok":
        text = f"it {ended.outcome}: {ended.message}"
        lab.note(Finding("a clean end within five seconds", text, ended.began))
    lab.history.wait_for(lambda: lab.tokens_alive() <= before, 5.0)
    lab.judge(
        at_most(before, lab.tokens_alive(), "tokens alive five seconds after the end"), steady=False
    )


@pytest.mark.scenario("TOK-20")
def test_restarts_leak_no_token(lab: Lab) -> None:
    """Ended after reads, ended at once, and ended while it logs in over a slow network."""
    before = lab.tokens_alive()
    for _ in range(2):
        lab.start().close(timeout=5.0)
    if (idle := lab.open()) is not None:
        idle.close(timeout=5.0)
    with lab.network.slow(latency=0.4) as slow:
        for _ in range(2):
            _end_while_it_logs_in(lab)
    if not lab.history.find("login", since=slow.began):
        raise NotExercised("the subject did not log in, so it was not ended while it did")
    lab.history.wait_for(lambda: lab.tokens_alive() <= before, 5.0)
    lab.judge(
        at_most(before, lab.tokens_alive(), "tokens alive five seconds after the last end"),
        steady=False,
    )


def _end_while_it_logs_in(lab: Lab) -> None:
    began = lab.history.now()
    client = lab.open()
    if client is None:
        return
    reader = threading.Thread(target=_read_in_vain, args=(client,), daemon=True)
    reader.start()
    lab.history.wait_for(lambda: bool(lab.history.find("login", since=began)), 3.0)
    client.close(timeout=5.0)
    reader.join(timeout=10.0)


def _read_in_vain(client: Driver) -> None:
    """A read that nobody hears the end of, since the subject is ended first."""
    with contextlib.suppress(OperationFailed, SubjectError):
        client.subject.read(PATH, KEY, timeout=8.0)


@pytest.mark.scenario("TOK-21")
def test_no_login_for_each_read(lab: Lab) -> None:
    """Four callers read four secrets, from the cache too where there is one, for many calls."""
    client = lab.start()
    others = {"backend/database": "DB_PASSWORD", "backend/redis": "REDIS_PASSWORD"}
    for path, key in others.items():
        lab.put("v1", path=path, key=key)
    cached = "cached" in client.subject.capabilities
    with (
        lab.reading(every=0.3, callers=2),
        lab.reading(every=0.3, verb="read_cached" if cached else "read"),
        lab.reading(every=0.3, path="backend/database", key="DB_PASSWORD"),
        lab.reading(every=0.3, path="backend/redis", key="REDIS_PASSWORD"),
    ):
        lab.watch(4.0)
        alive = lab.tokens_alive()
    calls = len(lab.history.calls("read", "read_cached"))
    lab.judge(
        logins_at_most(1),
        at_most(1, alive, "tokens alive"),
        requests_at_most(3 + calls // 4, "lookup", "capabilities", since=0.0),
        no_failed_read(),
    )
