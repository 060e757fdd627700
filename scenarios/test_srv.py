"""A sick server or gateway: hanging, failing, rate-limited, lagging."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from vault_harness.judge.faults.http import HTML, JSON, NEVER, NOTICE, QUOTA, SEALED, a_page
from vault_harness.judge.helpers.calls import (
    ask_for_a_whole,
    has_its_files,
    reading_keys,
    reading_with_all_verbs,
    recovers_with_all_verbs,
)
from vault_harness.judge.helpers.leaders import leading_to
from vault_harness.judge.helpers.lives import given_up
from vault_harness.judge.helpers.starts import LEDGER, allow_writes, canary, turns, version_of
from vault_harness.judge.lab import KEY, Lab
from vault_harness.judge.oracles import (
    LOGS_IN_INSTEAD,
    READ_VERBS,
    at_most,
    failures_are,
    last_grant,
    logins_at_most,
    never_renews,
    no_failed_read,
    no_request_storm,
    none_of,
    obeys_retry_after,
    pauses_between_tries,
    renews_again,
    requests_a_call_at_most,
    requests_at_most,
    same_token,
    says_of_its_health,
)
from vault_harness.judge.verdict import Finding, NotClaimed, NotExercised
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Exchange, Operation

WRITTEN = "backend/ledger-written"
"""Written while callers read `LEDGER`, which stays the same."""

DENIED, DENIALS = "ai/openai", 3
"""A path that the client may neither read nor write; number of tries."""

INTERVAL = 3.0

# Hanging and failing behind a green health check


@pytest.mark.scenario("SRV-01")
def test_blocked_audit_log(lab: Lab) -> None:
    """A blocked audit log, with a green sys/health, costs no login and no storm."""
    lab.start()
    with reading_keys(lab, every=0.5, callers=2):
        lab.watch(0.5)
        with lab.vault.audit_blocked() as fault:
            lab.hold(fault, 1.5 * lab.deadline)
            if lab.can("health"):
                turns(lab, well=False, within=0.06 * lab.ttl, every=1.0)  # a check may be a request
                told = lab.history.now()
                lab.judge_later(says_of_its_health(well=False, since=fault.began, until=told))
            lab.watch(0.5 * lab.deadline)
        recovers_with_all_verbs(lab, after=fault)
    lab.judge(
        no_request_storm(since=fault.began, until=fault.end),
        same_token(since=fault.began, until=given_up(lab, fault)),
    )


@pytest.mark.scenario("SRV-02")
def test_unwritable_audit_log(lab: Lab) -> None:
    """An unwritable audit log, with a green sys/health, is an outage that costs no login."""
    lab.start()
    with reading_keys(lab, every=0.5):
        with lab.vault.audit_unwritable() as fault:
            lab.hold(fault, 3.0)
        recovers_with_all_verbs(lab, after=fault)
    lab.judge(
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=fault.end),
    )


@pytest.mark.scenario("SRV-03")
def test_storage_is_gone(lab: Lab) -> None:
    """A lost storage, with a green sys/health, is an outage that costs no login."""
    lab.start()
    with lab.reading(every=0.5):
        lab.watch(0.5)
        with lab.process.storage_stopped(lab.storage) as fault:
            health = lab.stack.operator.health()
            bound = max(0.1 * lab.ttl, lab.refresh + 1.0)
            if lab.can("health") and not turns(
                lab,
                well=False,
                within=bound,
                every=1.0,  # a check may be a request
            ):
                text = f"it said well for {bound:g} s without a storage"
                lab.note(Finding("health tells the truth", text, fault.began))
            lab.hold(fault, max(0.0, fault.began + 3.0 - lab.history.now()))
        lab.recovers(after=fault)
    lab.require(
        "the server's health is green without its storage",
        lambda _: f"sys/health answered {health}" if health == 200 else "",
    )
    lab.judge(
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=fault.end),
    )


@pytest.mark.scenario("SRV-04")
def test_paused_server(lab: Lab) -> None:
    """A stopped server that accepts connections costs no storm, and reads work again."""
    lab.start()
    with ExitStack() as callers:
        callers.enter_context(lab.reading(every=0.5, callers=3))
        lab.watch(0.5)
        with lab.process.server_paused(lab.stack.node) as fault, ExitStack() as lost:
            if lab.can("cached"):
                _first_answer_never_comes(lab, callers, lost)
            ask_for_a_whole(lab)  # has a deadline too, and no cache answers it
            if lab.can("health"):
                lab.client.healthy()  # has a deadline too; SRV-01 judges the answer
            lab.hold(fault, max(0.0, fault.began + 3 * lab.deadline - lab.history.now()))
        lab.recovers(after=fault)
        if lab.can("cached"):
            within = lab.recovery_after(fault) + lab.refresh
            spare = lab.entry.spare_path
            lab.recovers(after=fault, within=within, path=spare, verb="read_cached")
    lab.judge(no_request_storm(since=fault.began, until=fault.end))


def _first_answer_never_comes(lab: Lab, callers: ExitStack, lost: ExitStack) -> None:
    path, key = lab.entry.spare_path, lab.entry.spare_key
    one = lost.enter_context(lab.http.delay("read", by=NEVER, path=f"*/data/{path}", first=1))
    one.optional = True  # a client may send one request at a time
    want = lab.reading(every=0.5, callers=3, verb="read_cached", path=path, key=key)
    callers.enter_context(want)
    lab.until(lambda: lab.touched(one), within=lab.deadline)  # before another request for it


# Rate limits


@pytest.mark.scenario("SRV-05")
def test_retry_after_is_obeyed(lab: Lab) -> None:
    """A quota's Retry-After is obeyed in each way of reading, and by writes."""
    allow_writes(lab, WRITTEN)
    lab.start()
    for path in UNREAD:
        lab.put("v1", path=path, key=KEY)
    with reading_keys(lab, every=0.5):
        with lab.vault.rate_limited("ecommerce/", rate=2, interval=INTERVAL) as fault:
            lab.hold(fault, 7.0)
            # In an interval's last second the wait is 0; a client with few requests may meet only
            # that.
            lab.until(lambda: bool(_answers_with_retry_after(lab.history)), within=lab.reach)
            _read_what_is_new(lab, until=lambda: bool(_answers_with_retry_after(lab.history)))
            for first in _answers_with_retry_after(lab.history)[:1]:
                lab.watch(max(0.0, (first.ended or first.began) + INTERVAL - lab.history.now()))
        recovers_with_all_verbs(lab, after=fault)
    if lab.can("read_all") or lab.can("write"):
        _others_wait_too(lab)
    if not has_its_files(lab):
        _retry_after_exceeds_the_deadline(lab)
    lab.require(
        "a read that was told how long to wait",
        lambda history: f"{len(told)} were" if (told := _answers_with_retry_after(history)) else "",
    )
    lab.judge(
        obeys_retry_after(since=fault.began, until=fault.end, may_be_empty=True),
        # The same quota turns away requests for the secret's version.
        obeys_retry_after(since=fault.began, until=fault.end, kind="metadata", may_be_empty=True),
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=fault.end),
    )


UNREAD = tuple(f"backend/readers/{number}" for number in range(1, 9))


def _read_what_is_new(lab: Lab, *, until: Callable[[], bool]) -> None:
    for path in UNREAD:
        if not until() and not has_its_files(lab):
            lab.client.read(path, KEY)


OTHERS_WAIT = 2.0
"""Seconds in which a quota admits one request; the next is told to wait."""


def _others_wait_too(lab: Lab) -> None:
    """Change and read secrets until the wait that Vault names is over.

    Without other callers: of two requests at once the second cannot know the wait.
    """
    where, writes = f"{lab.entry.mount}/data/{LEDGER}*", lab.can("write")
    lab.put("v1", path=LEDGER, key="entry")

    def told(since: float) -> list[Exchange]:
        asked = lab.history.find("write", "read", since=since)
        return [one for one in asked if one.status == 429 and one.retry_after]

    def asks_on(ask: Callable[[], object]) -> None:
        began = lab.history.now()
        end = began + OTHERS_WAIT
        while lab.history.now() < end:
            ask()
            lab.watch(0.1)
            for one in told(began)[:1]:
                end = (one.ended or one.began) + (one.retry_after or 0.0)

    with lab.vault.rate_limited(where, rate=1, interval=OTHERS_WAIT) as fault:
        fault.optional = not writes  # from memory a whole secret may come at once
        if writes:
            asks_on(lambda: lab.client.write(WRITTEN, {"entry": canary(lab)}))
        if lab.can("read_all"):
            asks_on(lambda: lab.client.read_all(LEDGER, ("entry",)))
    if writes:
        lab.require(
            "a write, or a whole secret, that was told how long to wait",
            lambda _: f"{len(found)} were" if (found := told(fault.began)) else "",
        )
    lab.judge_later(
        obeys_retry_after(since=fault.began, until=fault.end, may_be_empty=True),
        obeys_retry_after(since=fault.began, until=fault.end, kind="write", may_be_empty=True),
    )


A_LONG_WAIT = "backend/readers/told"
"""Nobody has read it. Its first read is told to wait for very long."""


def _retry_after_exceeds_the_deadline(lab: Lab) -> None:
    """Tell a read to wait for longer than a call: it must still end in time.

    An HTTP library may sleep for as long as the header says. Its name is in small letters, as over
    HTTP/2.
    """
    lab.put("v1", path=A_LONG_WAIT, key=KEY)
    headers = {**JSON, "retry-after": f"{math.ceil(lab.deadline) + 1}"}
    where = f"*/data/{A_LONG_WAIT}"
    with lab.http.fail(
        "read", path=where, first=1, status=429, body=QUOTA, headers=headers
    ) as full:
        full.optional = True  # a client may rest for longer than this wait
        lab.client.read(A_LONG_WAIT, KEY)
        while not lab.touched(full) and lab.history.now() < full.began + lab.reach:
            lab.watch(0.2)
            lab.client.read(A_LONG_WAIT, KEY)
        with lab.reading(every=1.0, path=A_LONG_WAIT, key=KEY):
            for told in _answers_with_retry_after(lab.history, since=full.began):
                over = (told.ended or told.began) + (told.retry_after or 0.0)
                lab.watch(max(0.0, over - lab.history.now()))
    lab.judge_later(obeys_retry_after(since=full.began, until=full.end, may_be_empty=True))
    lab.until_good_read_by_asking(within=lab.recovery_after(full))


def _answers_with_retry_after(history: History, *, since: float = 0.0) -> list[Exchange]:
    told = history.find("read", since=since)
    return [one for one in told if one.status == 429 and one.retry_after]


@pytest.mark.scenario("SRV-06")
def test_bare_429_is_no_reason_to_hurry(lab: Lab) -> None:
    """A 429 without Retry-After is an outage that costs no storm and no login."""
    lab.start()
    for path in UNREAD:
        lab.put("v1", path=path, key=KEY)
    with reading_keys(lab, every=0.5):
        with lab.vault.rate_limited("ecommerce/", rate=1, interval=4.0, headers=False) as fault:
            lab.watch(5.0)
            _read_what_is_new(lab, until=lambda: lab.touched(fault))
            lab.hold(fault, 0.0)
        recovers_with_all_verbs(lab, after=fault)
    lab.judge(
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=fault.end),
    )


@pytest.mark.scenario("SRV-11")
def test_renewals_turned_away(lab: Lab) -> None:
    """Renewals that a gateway, a seal and a quota turn away are tried again in time."""
    lab.start()
    with lab.reading(every=0.5):
        with lab.http.fail("renew", first=1, status=503, body=a_page(503), headers=HTML) as page:
            lab.until(lambda: bool(_turned_away(lab.history, 503)), within=0.95 * lab.ttl)
        if not (paged := _turned_away(lab.history, 503)):
            if never_renews(lab.history):
                raise NotClaimed(LOGS_IN_INSTEAD)
            raise NotExercised("no renewal was tried within nineteen twentieths of a token's life")
        lab.judge_later(same_token(since=page.began))
        _denied_by_a_gateway(lab, paged[0])
        if _is_renewed_again(lab, paged[0]):
            _turned_away_twice_more(lab, since=page.began)
        else:
            lab.judge_later(no_failed_read(since=page.began))
    lab.judge()


AND_A_TRY = 1.0
"""Seconds for a third renewal, beyond the pause after two failed ones."""


def _denied_by_a_gateway(lab: Lab, failed: Exchange) -> None:
    """Answer the next early renewal with a 403 page, which is not Vault's 403 in JSON."""
    ends = last_grant(lab.history, until=failed.began) + lab.ttl
    by = min(
        failed.began + (ends - failed.began - AND_A_TRY) / 3,
        ends - lab.declared("backoff_cap", 0.0) - AND_A_TRY,
    )
    with lab.http.fail("renew", first=1, status=403, body=a_page(403), headers=HTML) as denied:
        denied.optional = True  # the next try may come late, or at once
        lab.until(
            lambda: bool(denied.touched or _renewed_since(lab.history, failed.began)),
            within=max(0.0, by - lab.history.now()),
        )


def _renewed_since(history: History, since: float) -> list[Exchange]:
    return history.find("renew", since=since, where=lambda e: e.good)


A_SECOND = {**JSON, "Retry-After": "1"}


def _turned_away_twice_more(lab: Lab, *, since: float) -> None:
    """Answer one renewal as sealed, and a later one with a quota's 429.

    A client may believe that Vault is sealed and send nothing for a moment, so reads are judged
    only before and after.
    """
    with lab.http.fail("renew", first=1, status=503, body=SEALED):
        lab.until(lambda: len(_turned_away(lab.history, 503)) > 1, within=lab.ttl)
    if not (sealed := _turned_away(lab.history, 503)[1:]):
        raise NotExercised("no renewal was tried within another life of the token")
    lab.judge_later(no_failed_read(since=since, until=_before_the_client_knew(lab, sealed[0])))
    if not _is_renewed_again(lab, sealed[0]):
        return
    lab.judge_later(no_failed_read(since=lab.history.now()))
    with lab.http.fail("renew", first=1, status=429, body=QUOTA, headers=A_SECOND) as quota:
        lab.until(lambda: bool(_turned_away(lab.history, 429)), within=2 * lab.ttl)
    if not (refused := _turned_away(lab.history, 429)):
        raise NotExercised("no renewal was refused within two lives of a token")
    _is_renewed_again(lab, refused[0])
    lab.judge_later(obeys_retry_after(since=quota.began, until=lab.history.now(), kind="renew"))


def _before_the_client_knew(lab: Lab, answered: Exchange) -> float:
    """Return a moment before the calls under way at the answer began."""
    calls = lab.history.calls("read", until=answered.ended)
    asked = [o.began for o in calls if o.ended is None or o.ended >= answered.began]
    return math.nextafter(min([*asked, answered.began]), 0.0)


def _turned_away(history: History, status: int) -> list[Exchange]:
    return history.find("renew", where=lambda e: e.status == status)


def _is_renewed_again(lab: Lab, failed: Exchange) -> bool:
    # From the failed renewal on: Vault is well a moment before the fault's end is noted.
    again = failed.ended or failed.began
    ends = last_grant(lab.history, until=failed.began) + lab.ttl
    lab.judge_later(renews_again(since=again, before=ends))
    return lab.until(
        lambda: bool(lab.history.find("renew", since=again, where=lambda e: e.good)),
        within=max(0.0, ends - lab.history.now()),
    )


# Too large


@pytest.mark.scenario("SRV-10")
def test_body_that_is_too_large(lab: Lab) -> None:
    """A write that is too large (413) fails as such, is tried once, and costs no login."""
    allow_writes(lab, LEDGER)
    client = lab.start()
    if (small := client.write(LEDGER, {"entry": canary(lab)})).failed:
        raise NotExercised(f"no small write: {small.told}")
    _is_denied(lab)
    before = version_of(lab, LEDGER)
    marks = {"statuses": frozenset({413}), "kinds": frozenset({"write"})}
    with lab.condition("body too large", **marks) as fault:
        big = client.write(LEDGER, {"entry": canary(lab) + "x" * 24_000})
        lab.watch(1.0)  # for clients that repeat a write unseen
    done = {"it was said to be done"} if not big.failed else set[str]()
    lab.judge(
        none_of("a write that Vault refuses fails", done, harm=True, at=big.began),
        at_most(before, version_of(lab, LEDGER), "versions"),
        requests_at_most(1, "write", since=fault.began),
        # A client that reports an outage makes its caller try for ever.
        failures_are("error", "denied", since=fault.began, verbs=("write",), may_be_empty=True),
        same_token(since=fault.began),
    )


def _is_denied(lab: Lab) -> None:
    # A client may first ask for its capabilities or a version, and get no 403 to a write.
    with lab.condition("write denied", statuses=frozenset({403}), optional=True) as denied:
        for _ in range(DENIALS):
            lab.client.write(DENIED, {"entry": canary(lab)})
            lab.watch(0.3)
    lab.judge_later(
        failures_are("denied", since=denied.began, until=denied.end, verbs=("write",)),
        # Each write may be repeated once; a login shows whether the policy is new.
        requests_at_most(2 * DENIALS, "write", since=denied.began, until=denied.end),
        logins_at_most(1, since=denied.began, until=denied.end),
    )


# Not Vault's own answer, or not the newest

LAGS = b'{"errors":["required index state not present"]}'


BACK_IN = 2
"""Seconds; a 503 page says this as a date."""

LIKE_VAULTS = (404, 403)
"""Statuses that Vault uses too: no such secret, and denied."""

REFUSALS = (400, 401, 408, 409)

UPGRADING = b'{"errors":["Upgrading from non-versioned to versioned data."]}'
"""Vault's answer (400) while it upgrades a mount to versioned secrets."""

PAGES = [
    *((status, a_page(status), HTML) for status in (502, 503, 200)),
    (200, NOTICE, JSON),
    *((status, a_page(status), HTML) for status in LIKE_VAULTS),
    (400, UPGRADING, JSON),
    *((status, a_page(status), HTML) for status in REFUSALS[1:]),
]


@pytest.mark.scenario("SRV-08")
def test_page_of_a_load_balancer(lab: Lab) -> None:
    """A gateway's pages and foreign JSON count as an outage, and cost no login and no storm."""
    lab.start()
    with reading_with_all_verbs(lab, every=0.5):
        for status, body, headers in PAGES:
            told = _with_a_date(headers) if status == 503 else headers
            with lab.http.fail("any", status=status, body=body, headers=told) as fault:
                # For a read, or long enough to show a storm.
                lab.hold(fault, 0.6 if status in (*LIKE_VAULTS, *REFUSALS) else 1.2)
            lab.judge_later(
                # Such a page is no refusal by Vault; the failure may have any name.
                failures_are(
                    "unavailable",
                    *(["denied"] if status in REFUSALS else []),
                    since=fault.began,
                    until=fault.end,
                    verbs=READ_VERBS,
                    unsorted=status not in (502, 503) or not lab.reports_outcomes,
                    may_be_empty=True,
                ),
                no_request_storm(since=fault.began, until=fault.end),
            )
            # Otherwise a path that is still out would pause longer after each page.
            recovers_with_all_verbs(lab, after=fault)
    lab.judge(same_token(since=lab.history.faults[0].began))


def _with_a_date(headers: Mapping[str, str]) -> dict[str, str]:
    back = datetime.now(UTC) + timedelta(seconds=BACK_IN)
    return {**headers, "Retry-After": format_datetime(back, usegmt=True)}


@pytest.mark.scenario("SRV-09")
def test_lagging_standby_is_asked_again(lab: Lab) -> None:
    """A 412 of a lagging standby is tried again within the call, with pauses and not for ever."""
    client = lab.start()
    with lab.http.fail("read", first=1, status=412, body=LAGS) as fault:
        read = _read_until_it_is_met(lab, fault)
        lab.hold(fault, 0.0)
        # A client may serve an old value marked as stale, as in any outage.
        if read.failed:
            text = f"a read ended {read.told}"
            lab.note(Finding("a 412 is tried again within the call", text, read.began))
    if not read.good:
        lab.until_good_read_by_asking(within=lab.recovery_after(fault))
    lab.watch(0.5)
    with lab.http.fail("read", status=412, body=LAGS) as fault:
        _read_until_it_is_met(lab, fault)
        lab.watch(0.5)
        client.read()
        lab.watch(0.5)
        lab.hold(fault, 0.0)
    lab.until_good_read_by_asking(within=lab.recovery_after(fault))
    lab.recovers(after=fault)
    # No storm, for a client that uses its whole deadline.
    tries = max(6, int(2 * lab.deadline))
    lab.judge(
        requests_a_call_at_most(tries, "read", since=fault.began, until=fault.end),
        pauses_between_tries(since=fault.began, until=fault.end),
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        same_token(since=fault.began),
    )


def _read_until_it_is_met(lab: Lab, fault: Fault) -> Operation:
    read = lab.client.read()
    while not lab.touched(fault) and lab.history.now() < fault.began + lab.reach:
        lab.watch(0.5)
        read = lab.client.read()
    return read


# Not the leader

REPLICA = b'{"initialized":true,"sealed":false,"standby":true}'


@pytest.mark.scenario("SRV-07")
def test_standby_is_no_outage(lab: Lab) -> None:
    """A standby (429 for its health, or 472 or 473) serves reads without a failure or a login."""
    lab.start()
    leader = lab.stack.leader()
    standby = next(node for node in lab.stack.nodes if node is not leader)
    answers = {"statuses": frozenset({200, 429}), "kinds": frozenset({"read", "status"})}
    with (
        leading_to(lab, standby),
        lab.condition("clients led to a standby", **answers) as fault,
        lab.reading(every=0.5),
    ):
        _is_well(lab)
        # A standby answers 429 by itself. Only HashiCorp's Vault has the statuses of replicas.
        for status in () if _health_answers_200(lab, since=fault.began) else (472, 473):
            with lab.http.fail("health", status=status, body=REPLICA) as replica:
                replica.optional = True  # a client need not ask for the health
                _is_well(lab)
        lab.hold(fault, 0.0)  # a client that answers from memory comes later
    lab.judge(
        no_failed_read(since=fault.began, until=fault.end),
        same_token(since=fault.began),
    )


def _health_answers_200(lab: Lab, *, since: float) -> bool:
    """Return whether the client asks with `standbyok`, so that a standby answers 200."""
    asked = lab.history.find("status", since=since, where=lambda e: e.path == "sys/health")
    return any(one.status == 200 for one in asked)


def _is_well(lab: Lab) -> None:
    began = lab.history.now()
    lab.watch(1.0)
    if lab.can("health"):
        lab.client.healthy()
        lab.judge_later(says_of_its_health(well=True, since=began, until=lab.history.now()))
    lab.watch(0.5)
