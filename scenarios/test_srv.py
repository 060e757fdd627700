"""A sick server, and what stands in front of it: hanging, failing, rate-limited, lagging."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from vault_harness.faults import Fault
from vault_harness.faults.answers import HTML, JSON, NOTICE, QUOTA, a_page
from vault_harness.scenario import (
    Exchange,
    Finding,
    History,
    Lab,
    NotClaimed,
    NotExercised,
    Operation,
)
from vault_harness.scenario.helpers import (
    allow_writes,
    ask_for_a_whole,
    canary,
    given_up,
    has_its_files,
    leading_to,
    reading_in_each_way,
    reading_in_every_way,
    recovers_in_each_way,
    turns,
    version_of,
)
from vault_harness.scenario.lab import KEY
from vault_harness.scenario.oracles import (
    EVERY_WAY,
    LOGS_IN_INSTEAD,
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

GREEN = 200
"""``sys/health`` of a Vault that is open and leads."""

LEDGER = "backend/ledger"

WRITTEN = "backend/ledger-written"
"""What the client writes where its callers read `LEDGER`, which nobody changes then."""

DENIED, DENIALS = "ai/openai", 3
"""Where the client may neither read nor write, and how often it tries to."""

INTERVAL = 3.0
"""Seconds in which the quota of SRV-05 counts."""

NEVER = 600.0
"""Seconds by which an answer is late: whoever waited for it is not there any more."""

# Hanging and failing behind a green health check


@pytest.mark.scenario("SRV-01")
def test_blocked_audit_log(lab: Lab) -> None:
    """The audit log is a full pipe: every request hangs, and sys/health says 200 all the while."""
    lab.start()
    with reading_in_each_way(lab, every=0.5, callers=2):
        lab.watch(0.5)
        with lab.vault.audit_blocked() as fault:
            lab.hold(fault, 1.5 * lab.deadline)
            if lab.can("health"):
                turns(lab, well=False, within=0.06 * lab.ttl, every=1.0)  # each may cost a request
                told = lab.history.now()
                lab.judge_later(says_of_its_health(well=False, since=fault.began, until=told))
            lab.watch(0.5 * lab.deadline)
        recovers_in_each_way(lab, after=fault)
    lab.judge(
        no_request_storm(since=fault.began, until=fault.end),
        same_token(since=fault.began, until=given_up(lab, fault)),
    )


@pytest.mark.scenario("SRV-02")
def test_unwritable_audit_log(lab: Lab) -> None:
    """The audit log cannot be opened: 500 for everything, logins too, behind a green sys/health."""
    lab.start()
    with reading_in_each_way(lab, every=0.5):
        with lab.vault.audit_unwritable() as fault:
            lab.hold(fault, 3.0)
        recovers_in_each_way(lab, after=fault)
    lab.judge(
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=fault.end),
    )


@pytest.mark.scenario("SRV-03")
def test_storage_is_gone(lab: Lab) -> None:
    """The PostgreSQL in which Vault keeps its data is stopped, and comes back with them."""
    lab.start()
    with lab.reading(every=0.5):
        lab.watch(0.5)
        with lab.process.storage_stopped(lab.storage) as fault:
            health = lab.stack.operator.health()
            # Who says what its own last look came to has had another one by then.
            bound = max(0.1 * lab.ttl, lab.refresh + 1.0)
            if lab.can("health") and not turns(
                lab,
                well=False,
                within=bound,
                every=1.0,  # each may cost a request
            ):
                text = f"it said well for {bound:g} s without a storage"
                lab.note(Finding("health tells the truth", text, fault.began))
            lab.hold(fault, max(0.0, fault.began + 3.0 - lab.history.now()))
        lab.recovers(after=fault)
    lab.require(
        "the server's health is green without its storage",
        lambda _: f"sys/health answered {health}" if health == GREEN else "",
    )
    lab.judge(
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=fault.end),
    )


@pytest.mark.scenario("SRV-04")
def test_paused_server(lab: Lab) -> None:
    """The server's process stands still: connections are accepted, nothing is answered."""
    lab.start()
    with ExitStack() as callers:
        callers.enter_context(lab.reading(every=0.5, callers=3))
        lab.watch(0.5)
        with lab.process.server_paused(lab.stack.node) as fault, ExitStack() as lost:
            if lab.can("cached"):
                _first_answer_never_comes(lab, callers, lost)
            ask_for_a_whole(lab, spare=True)  # has a deadline too, and no memory answers it
            if lab.can("health"):
                lab.client.healthy()  # and so has this; what it says here is asked in SRV-01
            lab.hold(fault, max(0.0, fault.began + 3 * lab.deadline - lab.history.now()))
        lab.recovers(after=fault)
        if lab.can("cached"):
            within = lab.recovery_after(fault) + lab.refresh
            spare = lab.entry.spare_path
            lab.recovers(after=fault, within=within, path=spare, verb="read_cached")
    lab.judge(no_request_storm(since=fault.began, until=fault.end))


def _first_answer_never_comes(lab: Lab, callers: ExitStack, lost: ExitStack) -> None:
    """Let three want what nobody has read yet, so that all wait for one answer: it is lost.

    The server answers once it goes on, and that is held back: who waits still waits for ever.
    """
    path, key = lab.entry.spare_path, lab.entry.spare_key
    one = lost.enter_context(lab.http.delay("read", by=NEVER, path=f"*/data/{path}", first=1))
    one.optional = True  # who asks for one thing at a time may not come to it
    want = lab.reading(every=0.5, callers=3, verb="read_cached", path=path, key=key)
    callers.enter_context(want)
    lab.until(lambda: lab.touched(one), within=lab.deadline)  # before another asks for it


# Rate limits


@pytest.mark.scenario("SRV-05")
def test_retry_after_is_obeyed(lab: Lab) -> None:
    """A quota answers 429 with Retry-After, and callers ask on in each way; then one for others."""
    allow_writes(lab, WRITTEN)
    lab.start()
    for path in UNREAD:
        lab.put("v1", path=path, key=KEY)
    with reading_in_each_way(lab, every=0.5):
        with lab.vault.rate_limited("ecommerce/", rate=2, interval=INTERVAL) as fault:
            lab.hold(fault, 7.0)
            # Who asks seldom may have met the last second of an interval, which says 0.
            lab.until(lambda: bool(_told_to_wait(lab.history)), within=lab.reach)
            _read_what_is_new(lab, until=lambda: bool(_told_to_wait(lab.history)))
            for first in _told_to_wait(lab.history)[:1]:
                # No more than an interval is ever asked for: the first wait is watched to its end.
                lab.watch(max(0.0, (first.ended or first.began) + INTERVAL - lab.history.now()))
        recovers_in_each_way(lab, after=fault)
    if lab.can("read_all") or lab.can("write"):
        _others_wait_too(lab)
    if not has_its_files(lab):
        _told_more_than_a_call_has(lab)
    lab.require(
        "a read that was told how long to wait",
        lambda history: f"{len(told)} were" if (told := _told_to_wait(history)) else "",
    )
    lab.judge(
        obeys_retry_after(since=fault.began, until=fault.end, may_be_empty=True),
        # Who looks by itself whether there is another version is turned away by the same quota.
        obeys_retry_after(since=fault.began, until=fault.end, kind="metadata", may_be_empty=True),
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=fault.end),
    )


UNREAD = tuple(f"backend/readers/{number}" for number in range(1, 9))
"""Secrets that nobody has read before: more than a quota lets through in two intervals."""


def _read_what_is_new(lab: Lab, *, until: Callable[[], bool]) -> None:
    """Read what nobody has read before, until a quota has been met, or there is no more of it.

    Who answers from memory need not have asked too often. Who renders files has none of it.
    """
    for path in UNREAD:
        if not until() and not has_its_files(lab):
            lab.client.read(path, KEY)


OTHERS_WAIT = 2.0
"""Seconds in which a quota lets one request through: the next is told to wait for one."""


def _others_wait_too(lab: Lab) -> None:
    """Have a secret written, and then a whole one read, as claimed, and on while that has to wait.

    Nobody reads while somebody writes, who may look at the version first: of two that ask at the
    same moment, each over a connection of its own, the second cannot know what the first is told.
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
"""A secret that nobody has read before, and whose first read is told to come back much later."""


def _told_more_than_a_call_has(lab: Lab) -> None:
    """Tell one read to wait for longer than a call may take: that ends in its time all the same.

    Who sleeps for as long as it is told, as HTTP libraries do that repeat by themselves, has no
    deadline then but the quota's. A quota that counts by the minute says up to sixty seconds. The
    header's name has small letters, as over HTTP/2, or behind a proxy that writes all of them so.
    """
    lab.put("v1", path=A_LONG_WAIT, key=KEY)
    headers = {**JSON, "retry-after": f"{math.ceil(lab.deadline) + 1}"}
    where = f"*/data/{A_LONG_WAIT}"
    with lab.http.fail(
        "read", path=where, first=1, status=429, body=QUOTA, headers=headers
    ) as full:
        full.optional = True  # who rests for longer than is waited for here meets it no more
        lab.client.read(A_LONG_WAIT, KEY)
        while not lab.touched(full) and lab.history.now() < full.began + lab.reach:
            lab.watch(0.2)
            lab.client.read(A_LONG_WAIT, KEY)
        with lab.reading(every=1.0, path=A_LONG_WAIT, key=KEY):
            for told in _told_to_wait(lab.history, since=full.began):
                over = (told.ended or told.began) + (told.retry_after or 0.0)
                lab.watch(max(0.0, over - lab.history.now()))
    lab.judge_later(obeys_retry_after(since=full.began, until=full.end, may_be_empty=True))
    lab.until_good_read_by_asking(within=lab.recovery_after(full))


def _told_to_wait(history: History, *, since: float = 0.0) -> list[Exchange]:
    """The reads that a quota has refused with a time to wait."""
    told = history.find("read", since=since)
    return [one for one in told if one.status == 429 and one.retry_after]


@pytest.mark.scenario("SRV-06")
def test_bare_429_is_no_reason_to_hurry(lab: Lab) -> None:
    """A quota answers 429 without Retry-After; callers come back twice a second all the same."""
    lab.start()
    for path in UNREAD:
        lab.put("v1", path=path, key=KEY)
    with reading_in_each_way(lab, every=0.5):
        with lab.vault.rate_limited("ecommerce/", rate=1, interval=4.0, headers=False) as fault:
            lab.watch(5.0)
            _read_what_is_new(lab, until=lambda: lab.touched(fault))
            lab.hold(fault, 0.0)
        recovers_in_each_way(lab, after=fault)
    lab.judge(
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=fault.end),
    )


@pytest.mark.scenario("SRV-11")
def test_renewals_turned_away(lab: Lab) -> None:
    """Pages (503, 403) answer a renewal and its next try, then words of a seal one, and a quota."""
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
"""Seconds beside the pause after a renewal that has failed twice, in which a third one is made."""


def _denied_by_a_gateway(lab: Lab, failed: Exchange) -> None:
    """Answer the renewal that is tried next by a page with 403, if it comes early enough for that.

    Vault says so of a dead token, in JSON: who is told so by a page has one that lives. Enough time
    is left for a pause that is twice as long as the one before, or for one that is declared.
    """
    ends = last_grant(lab.history, until=failed.began) + lab.ttl
    by = min(
        failed.began + (ends - failed.began - AND_A_TRY) / 3,
        ends - lab.declared("backoff_cap", 0.0) - AND_A_TRY,
    )
    with lab.http.fail("renew", first=1, status=403, body=a_page(403), headers=HTML) as denied:
        denied.optional = True  # its next try may come late, or in the moment of the first
        lab.until(
            lambda: bool(denied.touched or _renewed_since(lab.history, failed.began)),
            within=max(0.0, by - lab.history.now()),
        )


def _renewed_since(history: History, since: float) -> list[Exchange]:
    return history.find("renew", since=since, where=lambda e: e.good)


SEALED = b'{"errors":["Vault is sealed"]}\n'
"""What Vault answers to everything while it is sealed."""


def _turned_away_twice_more(lab: Lab, *, since: float) -> None:
    """Let a renewal be answered in the words of a seal, and a later one by a quota.

    Who takes those words for what they say, and asks for nothing for a moment, is right: reads are
    judged from `since` up to then, and from when the token is renewed again.
    """
    with lab.vault.rate_limited("auth/token/renew*", rate=1, interval=4 * lab.ttl, headers=False):
        with lab.http.fail("renew", first=1, status=503, body=SEALED):
            lab.until(lambda: len(_turned_away(lab.history, 503)) > 1, within=lab.ttl)
        if not (sealed := _turned_away(lab.history, 503)[1:]):
            raise NotExercised("no renewal was tried within another life of the token")
        lab.judge_later(no_failed_read(since=since, until=_before_it_was_told(lab, sealed[0])))
        if not _is_renewed_again(lab, sealed[0]):
            return
        lab.judge_later(no_failed_read(since=lab.history.now()))
        lab.until(lambda: bool(_turned_away(lab.history, 429)), within=2 * lab.ttl)
    if not (refused := _turned_away(lab.history, 429)):
        raise NotExercised("no renewal was refused within two lives of a token")
    _is_renewed_again(lab, refused[0])


def _before_it_was_told(lab: Lab, answered: Exchange) -> float:
    """A moment before the first call that was under way when an answer came, and may go by it.

    Whoever renews in a caller's call hears of it in that one; behind a gate all that wait do.
    """
    calls = lab.history.calls("read", until=answered.ended)
    asked = [o.began for o in calls if o.ended is None or o.ended >= answered.began]
    return math.nextafter(min([*asked, answered.began]), 0.0)


def _turned_away(history: History, status: int) -> list[Exchange]:
    """The renewals that were answered so."""
    return history.find("renew", where=lambda e: e.status == status)


def _is_renewed_again(lab: Lab, failed: Exchange) -> bool:
    """Wait until a renewal succeeds after one that was turned away; to be judged is whether."""
    # Vault is well before it is noted so, and what is tried in that moment counts.
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
    """A path that no policy allows is written to; then a secret of 24 kB, where 16 are the most."""
    allow_writes(lab, LEDGER)
    client = lab.start()
    if (small := client.write(LEDGER, {"entry": canary(lab)})).failed:
        raise NotExercised(f"no small write: {small.told}")
    _is_denied(lab)
    before = version_of(lab, LEDGER)
    marks = {"statuses": frozenset({413}), "kinds": frozenset({"write"})}
    with lab.condition("body too large", **marks) as fault:
        big = client.write(LEDGER, {"entry": canary(lab) + "x" * 24_000})
        lab.watch(1.0)  # for those who try again behind the caller's back
    done = {"it was said to be done"} if not big.failed else set[str]()
    lab.judge(
        none_of("a write that Vault refuses fails", done, harm=True, at=big.began),
        at_most(before, version_of(lab, LEDGER), "versions"),
        requests_at_most(1, "write", since=fault.began),
        # Who calls it an outage has it tried again, for ever.
        failures_are("error", "denied", since=fault.began, verbs=("write",), may_be_empty=True),
        same_token(since=fault.began),
    )


def _is_denied(lab: Lab) -> None:
    """Write where the policy does not allow it, three times."""
    # No write need come of it, nor a 403: some ask first what they may, or which version there is.
    with lab.condition("write denied", statuses=frozenset({403}), optional=True) as denied:
        for _ in range(DENIALS):
            lab.client.write(DENIED, {"entry": canary(lab)})
            lab.watch(0.3)
    lab.judge_later(
        failures_are("denied", since=denied.began, until=denied.end, verbs=("write",)),
        # As for a read: each may be repeated once, and one login shows whether the policy is new.
        requests_at_most(2 * DENIALS, "write", since=denied.began, until=denied.end),
        logins_at_most(1, since=denied.began, until=denied.end),
    )


# Not Vault's own answer, or not the newest

LAGS = b'{"errors":["required index state not present"]}'


BACK_IN = 2
"""Seconds after which Vault is back, says the page of a 503: by a date, which Vault never tells."""

LIKE_VAULTS = (404, 403)
"""Statuses that Vault's own answers have: there is no such secret, the policy denies it."""

PAGES = [
    *((status, a_page(status), HTML) for status in (502, 503, 504, 200)),
    (200, NOTICE, JSON),
    *((status, a_page(status), HTML) for status in LIKE_VAULTS),
]
"""What is answered instead of Vault: status, body, headers."""


@pytest.mark.scenario("SRV-08")
def test_page_of_a_load_balancer(lab: Lab) -> None:
    """502, 503, 504, 200, 404 and 403, each with an HTML page, and JSON, to all that is asked."""
    lab.start()
    with reading_in_every_way(lab, every=0.5):
        for status, body, headers in PAGES:
            told = _with_a_date(headers) if status == 503 else headers
            with lab.http.fail("any", status=status, body=body, headers=told) as fault:
                # Long enough for a read, and for the others to look for a storm as well.
                lab.hold(fault, 0.6 if status in LIKE_VAULTS else 1.2)
            lab.judge_later(
                # Such a page is nobody's refusal; how that failure is called is left open.
                failures_are(
                    "unavailable",
                    since=fault.began,
                    until=fault.end,
                    verbs=EVERY_WAY,
                    unsorted=status in (200, *LIKE_VAULTS) or not lab.tells_outcomes,
                    may_be_empty=True,
                ),
                no_request_storm(since=fault.began, until=fault.end),
            )
            lab.recovers(after=fault)
        recovers_in_each_way(lab, after=fault)
    lab.judge(same_token(since=lab.history.faults[0].began))


def _with_a_date(headers: Mapping[str, str]) -> dict[str, str]:
    """The same, and when to come again: whether that is heeded is left open."""
    back = datetime.now(UTC) + timedelta(seconds=BACK_IN)
    return {**headers, "Retry-After": format_datetime(back, usegmt=True)}


@pytest.mark.scenario("SRV-09")
def test_lagging_standby_is_asked_again(lab: Lab) -> None:
    """A standby that lags answers 412 once; then one that never catches up."""
    client = lab.start()
    with lab.http.fail("read", first=1, status=412, body=LAGS) as fault:
        read = _read_until_it_is_met(lab, fault)
        lab.hold(fault, 0.0)
        # An old value that is marked as one may stand in, as in any outage.
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
    # What is no storm, for who tries again for as long as a call has.
    tries = max(6, int(2 * lab.deadline))
    lab.judge(
        requests_a_call_at_most(tries, "read", since=fault.began, until=fault.end),
        pauses_between_tries(since=fault.began, until=fault.end),
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        same_token(since=fault.began),
    )


def _read_until_it_is_met(lab: Lab, fault: Fault) -> Operation:
    """Read once, and again where that was answered from memory; the last of these reads.

    Who keeps what it has read, and looks again in a later call, meets nothing while nobody calls.
    """
    read = lab.client.read()
    while not lab.touched(fault) and lab.history.now() < fault.began + lab.reach:
        lab.watch(0.5)
        read = lab.client.read()
    return read


# Not the leader

REPLICA = b'{"initialized":true,"sealed":false,"standby":true}'


@pytest.mark.scenario("SRV-07")
def test_standby_is_no_outage(lab: Lab) -> None:
    """Clients are led to a standby: 429 for its health, then 472 and 473, and all else works."""
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
        # A standby says 429 by itself; those of replicas are HashiCorp's alone.
        for status in () if _is_told_200(lab, since=fault.began) else (472, 473):
            with lab.http.fail("health", status=status, body=REPLICA) as replica:
                replica.optional = True  # who never asks for it does nothing wrong
                _is_well(lab)
        lab.hold(fault, 0.0)  # who answers from memory meets it when it looks again
    lab.judge(
        no_failed_read(since=fault.began, until=fault.end),
        same_token(since=fault.began),
    )


def _is_told_200(lab: Lab, *, since: float) -> bool:
    """Whether it asks a standby for its health with parameters by which that is 200 (`standbyok`).

    What is answered in Vault's place knows no parameters, and would not be so in truth.
    """
    asked = lab.history.find("status", since=since, where=lambda e: e.path == "sys/health")
    return any(one.status == GREEN for one in asked)


def _is_well(lab: Lab) -> None:
    """For a while, at the end of which the subject says of itself that it is well."""
    began = lab.history.now()
    lab.watch(1.0)
    if lab.can("health"):
        lab.client.healthy()
        lab.judge_later(says_of_its_health(well=True, since=began, until=lab.history.now()))
    lab.watch(0.5)
