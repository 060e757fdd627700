"""The network: refused, silent, dripping, cut, dead, flaky and slow."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from urllib.parse import quote

import pytest

from vault_harness.judge.conditions import Condition
from vault_harness.judge.driver import ReadVerb
from vault_harness.judge.faults import flapping
from vault_harness.judge.faults.http import HTML, INTERNAL_ERROR, JSON, QUOTA, SIGN_IN, a_page
from vault_harness.judge.helpers.calls import (
    ALONE,
    HELD_UP,
    WITHIN_A_CALL,
    all_read_verbs,
    ask_for_a_whole,
    has_its_files,
    own_path,
)
from vault_harness.judge.helpers.connections import (
    connections_not_accepted,
    connections_said_to_end,
    dead_connections,
)
from vault_harness.judge.helpers.database import (
    CREDENTIALS,
    LOGS_IN_EVERY,
    READ_ONLY,
    first_credential,
    pool,
)
from vault_harness.judge.helpers.instead import vault_gone
from vault_harness.judge.helpers.leaders import address_beside, address_gone, follows
from vault_harness.judge.helpers.lives import (
    LOGS_IN_TOO,
    accessor_in_use,
    given_up,
    lost_until_met,
    renewal_comes,
)
from vault_harness.judge.helpers.starts import (
    LEDGER,
    allow_writes,
    callers_if_started,
    canary,
    look_like_something_else,
    start_in_background,
    version_of,
    works_after_all,
)
from vault_harness.judge.helpers.traces import footprint_at_rest, left_behind
from vault_harness.judge.lab import KEY, PATH, Lab
from vault_harness.judge.oracles import (
    LOGS_IN_INSTEAD,
    READ_VERBS,
    Oracle,
    at_most,
    failed_reads_at_most,
    failed_reads_of_each_caller_at_most,
    failures_are,
    last_grant,
    lease_grants,
    lease_renewed_or_replaced,
    log_has_pauses,
    logins_at_most,
    never_renews,
    no_connection_storm,
    no_failed_read,
    no_refused_use,
    no_request_storm,
    nobody_waits,
    none_of,
    recovers_within,
    renewed_or_replaced,
    renews_again,
    renews_within,
    replaced_in_turn,
    same_token,
    writes_again,
)
from vault_harness.judge.verdict import Finding, NotClaimed, NotExercised
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.observations import Exchange, Operation

USER, PASSWORD = "user", "password"

# Refused


@pytest.mark.scenario("NET-01")
def test_short_outage_costs_no_login(lab: Lab) -> None:
    """Connections that are refused for a twentieth of the token's life cost no login."""
    lab.start()
    with lab.reading(every=0.5):
        lab.watch(0.5)
        with lab.network.down() as fault:
            lab.hold(fault, 0.05 * lab.ttl)
        lab.recovers(after=fault)
    lab.judge(
        _reported_as_an_outage(fault),
        same_token(since=fault.began),
        # Nobody sees attempts while nothing listens, so only the client's log shows a loop.
        log_has_pauses(lab.log_times(), since=fault.began, until=fault.end),
    )


def _reported_as_an_outage(fault: Fault) -> Oracle:
    return failures_are(
        "unavailable", since=fault.began, until=fault.end, verbs=READ_VERBS, may_be_empty=True
    )


@pytest.mark.scenario("NET-02")
def test_long_outage_costs_one_login(lab: Lab) -> None:
    """Connections that are refused for longer than the token lives cost one login."""
    lab.start()
    with lab.reading(every=0.5):
        lab.watch(0.5)
        with lab.network.down() as fault:
            lab.hold(fault, 1.2 * lab.ttl)
        lab.recovers(after=fault)
        lab.logs_in_again(since=fault.began, within=fault.length + lab.recovery_after(fault))
        lab.watch(LOGS_IN_TOO)
        end = lab.history.now()
        _a_moment_while_it_renews(lab)
    lab.judge(logins_at_most(1, since=fault.began, until=end))


LEARNT, TRIED_AGAIN = 0.2, 0.3
"""Parts of a life: some clients renew a new token at once to learn its TTL; the second is left for
another try.
"""


def _a_moment_while_it_renews(lab: Lab) -> None:
    """Answer one renewal with 503.

    A client that does not reset its pauses would rest as long as at the outage's end.
    """
    granted = last_grant(lab.history, until=lab.history.now())
    lab.watch(max(0.0, granted + LEARNT * lab.ttl - lab.history.now()))
    ends = last_grant(lab.history, until=lab.history.now()) + lab.ttl
    by = ends - max(TRIED_AGAIN * lab.ttl, lab.declared("backoff_cap", 0.0) + 1.0)
    with lab.http.fail("renew", status=503, first=1) as moment:
        moment.optional = True
        lab.until(lambda: bool(moment.touched), within=max(0.0, by - lab.history.now()))
    if moment.touched:
        lab.until(
            lambda: last_grant(lab.history, until=lab.history.now()) + lab.ttl > ends,
            within=max(0.0, ends + 0.5 - lab.history.now()),
        )
        lab.judge_later(renewed_or_replaced(since=moment.began, before=ends))


@pytest.mark.scenario("NET-18")
def test_vault_gone_behind_its_proxy(lab: Lab) -> None:
    """Connections that are accepted and end at once cost no storm, no login and no lease."""
    lab.start()
    with ExitStack() as callers:
        callers.enter_context(lab.reading(every=0.5))
        # The first renewal, or the login of a client that does not renew.
        lab.until(lambda: len(_grants(lab)) > 1, within=0.95 * lab.ttl)
        if lab.has_database:  # a new lease is as old as the token
            first_credential(lab)
            callers.enter_context(pool(lab, every=LOGS_IN_EVERY, reports=False))
        lab.watch(_granted(lab) + 0.4 * lab.ttl - lab.history.now())
        late = _granted(lab) + 0.9 * lab.ttl
        with vault_gone(lab) as fault:
            lab.hold(fault, 0.35 * lab.ttl)
        lab.recovers(after=fault)
        lab.watch(1.0)  # for a renewal from the fault
        if lab.has_database:
            lab.judge_later(*_lease_is_kept(lab, fault))
    lab.judge(
        no_connection_storm(since=fault.began, until=fault.end),
        # A token that could not be renewed may be given up from nine tenths of its life on.
        same_token(since=fault.began, until=late),
    )


def _lease_is_kept(lab: Lab, gone: Fault) -> list[Oracle]:
    """Wait until a lease that could not be renewed is kept; return its oracles.

    The client has the rest of the lease's life, or as long as after any fault.
    """
    granted = lease_grants(lab.history, path=CREDENTIALS, until=gone.began)[-1]
    ends = (granted.ended or granted.began) + (granted.ttl or 0.0)
    before = max(ends, gone.end + lab.recovery_after(gone))
    lab.until(
        lambda: bool(lease_grants(lab.history, path=CREDENTIALS, since=gone.began)),
        within=max(0.0, before + 0.5 - lab.history.now()),
    )
    return [
        lease_renewed_or_replaced(path=CREDENTIALS, since=gone.began, before=before),
        no_refused_use(around_logins=1.0),  # a new token brings new credentials
    ]


def _grants(lab: Lab) -> list[Exchange]:
    return lab.history.find("login", "renew", where=lambda e: e.good)


def _granted(lab: Lab) -> float:
    last = _grants(lab)[-1]
    return last.ended or last.began


ON_ITS_WAY = 0.2
"""Seconds of an answer's way to the client."""


def _cut_short(read: Exchange, turns: Iterable[Fault]) -> bool:
    ended = (read.began if read.ended is None else read.ended) + ON_ITS_WAY
    return any(down.began <= ended and read.began <= down.end for down in turns)


@pytest.mark.scenario("NET-15")
def test_flapping_link(lab: Lab) -> None:
    """A link that goes down and up every 0.7 s leaves nothing behind, and costs no login."""
    lab.start()
    with lab.reading(every=0.4, callers=2):
        lab.watch(0.5)
    before = footprint_at_rest(lab)
    began = lab.history.now()
    with lab.reading(every=0.4, callers=2):
        with (
            lab.condition("link flaps", unanswered=True) as flaps,
            flapping(lab.network.down, on=0.7, off=0.7) as turns,
        ):
            lab.hold(flaps, 7.0)
        for turn in turns:
            turn.optional = True  # a client that rests may miss it
        lab.recovers(after=flaps)
    ended = flaps.end
    good = lab.history.calls("read", since=began, until=ended, where=lambda o: o.good)
    # Growing pauses may miss each moment of the link, but not an answer that arrived.
    through = lab.history.find(
        "read", since=began, until=ended, where=lambda e: e.good and not _cut_short(e, turns)
    )
    if through and not good:
        text = f"no read was good, although Vault answered {len(through)}"
        lab.note(Finding("reads work while the link is up", text, began))
    more = left_behind(lab, before)
    lab.judge(
        none_of("a flapping link leaves nothing behind", more),
        at_most(1 + replaced_in_turn(lab.history), lab.tokens.alive(), "tokens alive"),
        same_token(since=began),
        no_request_storm(since=began, until=ended),
    )


# Moved

FOLLOWS = 30.0
"""Seconds: a Java virtual machine keeps an address by default; others less long."""


@pytest.mark.scenario("NET-16")
def test_name_moves_to_another_address(lab: Lab) -> None:
    """A client follows Vault's name from one address to the next, even if the name fails once."""
    lab.start()
    second, third = address_beside(lab, 2), address_beside(lab, 3)
    # A client that answers from memory notices at its next refresh, and a call may first wait for
    # its whole deadline.
    bound = max(FOLLOWS, lab.refresh + lab.deadline + lab.recovery)
    with lab.reading(every=0.4, callers=2):
        lab.watch(1.0)
        with lab.network.black_hole(stream="upstream") as silent:
            lab.hold(silent, 1.0)
            if follows(lab, second, silent, within=bound):
                with address_gone(lab, second) as gone:
                    lab.hold(gone, 1.0)
                    lab.name.lead_nowhere()
                    lab.history.mark("nobody knows the name")
                    lab.watch(1.5)
                    follows(lab, third, gone, within=bound)
    lab.judge()


# Silent


@pytest.mark.scenario("NET-19")
def test_start_in_a_black_hole(lab: Lab) -> None:
    """A client whose first requests vanish may wait or not start, and works soon afterwards."""
    with lab.network.black_hole(stream="upstream") as fault:
        opened = start_in_background(lab)
        # A client that waits for Vault at its start has no callers yet.
        with callers_if_started(lab, fault, every=0.5, callers=3) as callers:
            lab.watch((2.5 if callers else 1.5) * lab.deadline)
        # A slow client has not asked yet.
        lab.history.wait_for(lambda: lab.touched(fault), lab.asks_within)
        lab.watch(0.5 * lab.deadline)
    bound = works_after_all(lab, fault, opened)
    lab.judge(
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        recovers_within(bound, since=fault.end),
        no_connection_storm(since=fault.began, until=fault.end),
        steady=lab.started,
    )


@pytest.mark.scenario("NET-03")
def test_black_hole(lab: Lab) -> None:
    """Lost answers, lost requests and unaccepted connections cost no login and no storm."""
    # A client that asks Vault to close each connection loses it with a lost answer. For it only
    # lost requests are silent.
    lab.start()
    with lab.reading(every=0.5, callers=3):
        lab.watch(0.5)
        with lab.network.black_hole(stream="downstream") as answers:
            lab.hold(answers, 2.5 * lab.deadline)
        lab.recovers(after=answers)
        with lab.network.black_hole(stream="upstream") as requests:
            lab.hold(requests, 2.5 * lab.deadline)
        lab.recovers(after=requests)
        with connections_not_accepted(lab) as unheard:
            lab.watch(1.5 * lab.deadline if unheard is not None else 0.0)
        if unheard is not None:
            lab.recovers(after=unheard)
            lab.judge_later(_reported_as_an_outage(unheard))
    lab.judge(
        _reported_as_an_outage(answers),
        _reported_as_an_outage(requests),
        no_request_storm(since=answers.began, until=answers.end),
        no_connection_storm(since=requests.began, until=requests.end),
        same_token(since=answers.began, until=given_up(lab, answers)),
    )


UNREAD = tuple(f"backend/idle/{number}" for number in range(1, 4))

BUSY = tuple(f"backend/busy/{number}" for number in range(1, 13))

LATE = 0.1
"""Seconds of delay, so that a pool opens many connections."""


@pytest.mark.scenario("NET-04")
def test_dead_idle_connections(lab: Lab) -> None:
    """Dead idle connections cost each caller one read at most, and reads soon work again."""
    lab.start()
    connections_said_to_end(lab)
    for path in (*BUSY, *UNREAD):
        lab.put("v1", path=path, key=KEY)
    with lab.http.delay("read", by=LATE) as late, ExitStack() as callers:
        late.optional = True  # a client that answers from memory asks for little
        for own in (None,) * len(BUSY) if has_its_files(lab) else BUSY:
            callers.enter_context(lab.reading(every=0.1, path=own, key=own and KEY))
        lab.watch(1.0)
    lab.watch(0.3)
    with dead_connections(lab) as fault, ExitStack() as callers:
        for unread in (None,) * 3 if has_its_files(lab) else UNREAD:
            callers.enter_context(lab.reading(every=0.4, path=unread, key=unread and KEY))
        # Three calls of each caller wait in vain.
        lab.hold(fault, 3.2 * lab.deadline)
        # One call finds the dead connection, and the next is served. A client may rest in between.
        bound = lab.deadline + lab.or_its_pause(lab.deadline)
        lab.until_good_read(since=fault.began, within=fault.began + bound - lab.history.now())
        end = lab.history.now()
    calls = lab.history.calls("read", since=fault.began, until=end)
    lab.require(
        "three callers that read twice or more",
        lambda _: len([c for c in {o.caller for o in calls} if _reads_of(calls, c) > 1]) == 3,
    )
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


def _reads_of(calls: list[Operation], caller: int) -> int:
    return sum(call.caller == caller for call in calls)


@pytest.mark.scenario("NET-12")
def test_lost_answer_to_a_renewal(lab: Lab) -> None:
    """A renewal whose answer is lost is repeated in time, without a login."""
    lab.start()
    lab.watch(0.2 * lab.ttl)
    with ExitStack() as callers:
        with lab.http.lose_answer("renew", first=1) as fault:
            tried = renewal_comes(
                lab,
                fault,
                callers,
                lambda: any(
                    e.ended is not None for e in lab.history.find("renew", since=fault.began)
                ),
            )
        if not tried:
            if never_renews(lab.history):
                raise NotClaimed(LOGS_IN_INSTEAD)
            raise NotExercised(
                "no renewal was tried while its answer would be lost, up to 0.9 of the token's life"
            )
        lost = lab.history.find("renew", since=fault.began)[0]
        # From the lost answer on: some HTTP libraries try again before the fault's end is noted.
        again = lost.ended or lost.began
        ends = last_grant(lab.history, until=lost.began) + lab.ttl
        lab.history.wait_for(
            lambda: bool(lab.history.find("renew", since=again, where=lambda e: e.good)),
            ends - lab.history.now(),
        )
    lab.judge(renews_again(since=again, before=ends), same_token(since=fault.began))


# Cut


@pytest.mark.scenario("NET-10")
def test_truncated_answer(lab: Lab) -> None:
    """Answers that are cut in headers or bodies are an outage, and give no wrong value."""
    client = lab.start()
    ask_for_a_whole(lab)  # not the secret of a plain read, which would fill the cache
    for after in (100, 400):
        with lab.network.truncated(after=after) as fault:
            # A cache does not ask again for a fresh value.
            while client.read().began < fault.began + lab.refresh:
                lab.watch(0.5)
            ask_for_a_whole(lab)
            lab.hold(fault, 0.0)
        lab.judge_later(
            # A value from memory is allowed; a standing oracle checks it.
            failures_are(
                "unavailable",
                since=fault.began,
                until=fault.end,
                verbs=READ_VERBS,
                may_be_empty=True,
            ),
            no_request_storm(since=fault.began, until=fault.end),
        )
        lab.until_good_read_by_asking(within=lab.recovery_after(fault))
        lab.recovers(after=fault)
    lab.judge()


READS, TOXICITY, FAILURES = 200, 0.2, 20
"""Reads, the share of connections reset, and allowed failures. One try fails in 40 reads, and in 20
or fewer in one run of 9,000. Two tries fail in 8, and in more than 20 in one run of 16,000.
"""

PACE = 0.02
"""Seconds between two reads: a client's rest must not spoil hundreds."""


@pytest.mark.scenario("NET-11")
def test_resets_now_and_then(lab: Lab) -> None:
    """If one new connection in five is reset, few reads fail, and no login is needed."""
    lab.start()
    if lab.leaves("file"):
        raise NotClaimed("its reads are looks into a file, which make no connection")
    with lab.network.resets(toxicity=TOXICITY) as fault, lab.http.say_goodbye("read"):
        # Each answer announces the end of its connection, so the next read makes a new one.
        _ask_repeatedly(lab, "read")
        end = lab.history.now()
        if lab.can("read_all"):  # often separate code
            _ask_repeatedly(lab, "read_all")
            lab.judge_later(
                failed_reads_at_most(
                    FAILURES, since=end, until=lab.history.now(), verbs=("read_all",)
                )
            )
    asked = len(lab.history.find("read", since=fault.began, until=end))
    lab.require(
        "a request for most of the reads",
        lambda _: f"{asked} for {READS}" if asked >= 0.7 * READS else "",
    )
    lab.until_good_read_by_asking(within=lab.recovery_after(fault))
    lab.recovers(after=fault)
    lab.judge(
        failed_reads_at_most(FAILURES, since=fault.began, until=end),
        same_token(since=fault.began),
    )


def _ask_repeatedly(lab: Lab, verb: ReadVerb) -> None:
    for _ in range(READS):
        if lab.client.ask(verb).outcome == "died":
            return
        lab.watch(PACE)


@pytest.mark.scenario("NET-13")
def test_lost_answer_to_a_write(lab: Lab) -> None:
    """Writes that are lost, cut, refused or slow are reported truly, and made at most once."""
    allow_writes(lab, f"{LEDGER}*")
    lab.put("v1", path=LEDGER, key=RETIRED)
    client = lab.start()
    if (first := _write(lab)).failed:
        raise NotExercised(f"no write before any fault: {first.told}")
    before = version_of(lab, LEDGER)
    with lab.http.lose_answer("write", first=1) as fault:
        second = _write(lab)
    client.read()
    lab.watch(0.5)
    written = version_of(lab, LEDGER) - before
    if not written:
        raise NotExercised("the write never reached Vault, so its answer was not lost")
    _write_on(lab, fault)
    last = version_of(lab, LEDGER)
    with lab.http.lose_answer("write", first=1, status=504) as page:
        third = _write(lab)
    lab.watch(0.5)  # for clients that repeat a write unseen
    again = version_of(lab, LEDGER) - last
    _write_on(lab, page)
    lab.judge_later(
        *_judge_write(third, again),
        # The client may know that the write was applied. Otherwise it must report an outage.
        failures_are(
            "unavailable",
            since=fault.began,
            until=lab.history.now(),
            verbs=("write",),
            may_be_empty=True,
        ),
        same_token(since=fault.began, until=lab.history.now()),
    )
    _write_in_vain(lab, lab.network.down())
    _write_in_vain(lab, lab.http.fail("write", status=503))
    turned_away = lab.history.now()
    for status, body, headers in TURNED_AWAY:
        _write_in_vain(lab, lab.http.fail("write", status=status, body=body, headers=headers))
    lab.judge_later(same_token(since=turned_away, until=lab.history.now()))
    _write_to_a_page(lab)
    _write_and_hear_half(lab)
    _write_without_a_version(lab)
    _write_no_word(lab)
    _write_what_is_spelled_otherwise(lab)
    _write_two_at_once(lab)
    _write_over_another(lab)
    _write_slowly(lab)
    with lab.vault.token_revoked(
        lab.tokens.accessor()
    ) as lost:  # nobody reads, so a write meets the loss
        _write_on(lab, lost, within=min(0.1 * lab.ttl, 5.0))
    lab.judge(*_judge_write(second, written), logins_at_most(1, since=lost.began))


@pytest.mark.scenario("NET-14")
def test_lost_answer_to_a_request_for_a_credential(lab: Lab) -> None:
    """A credential whose answer is lost is replaced, and given back when the client ends."""
    client = lab.start()
    # Not by cutting the link: Vault drops a credential that is not ready then.
    with lab.http.lose_answer("credential") as fault:
        client.lease(CREDENTIALS)
        unknown = lab.database.users()
    lab.require("a user of whom the client does not know", lambda _: ", ".join(sorted(unknown)))
    works = lab.until(lambda: _leased(lab), within=lab.recovery_after(fault))
    made = unknown | lab.database.users()
    # Another path: a client with a credential need not ask again.
    with lab.network.black_hole(stream="upstream") as silent:
        client.lease(READ_ONLY)
        lab.hold(silent, 0.0)
    lab.until_good_read_by_asking(within=lab.recovery_after(silent))
    client.close()
    given_back = lab.leaves("token") or lab.until(lambda: not lab.database.users(), within=2.0)
    left = set() if given_back else lab.database.users()
    lab.judge(
        none_of("a credential that works, after it", set() if works else {"there is none"}),
        at_most(2, len(made), "users that were made"),
        none_of("what nobody knows of is given back at the end", left),
        same_token(since=fault.began),
        steady=False,
    )


def _leased(lab: Lab) -> bool:
    credential = lab.client.lease(CREDENTIALS)
    return credential is not None and lab.database.accepts(credential)


DONE = "a write that is said to be done is done"
NOT_DONE = "it was said to be done, and made no version"

RETIRED = "retired"


def _write_in_vain(lab: Lab, away: AbstractContextManager[Fault]) -> None:
    before = version_of(lab, LEDGER)
    with away as fault:
        write = _write(lab)
        made = version_of(lab, LEDGER) - before
    lab.judge_later(
        *_judge_write(write, made),
        failures_are(
            "unavailable", since=fault.began, until=fault.end, verbs=("write",), may_be_empty=True
        ),
    )
    _is_read(lab, fault)
    _write_on(lab, fault)


TURNED_AWAY = (
    (500, INTERNAL_ERROR, JSON),
    (429, QUOTA, JSON),
    (403, a_page(403), HTML),
)

HALF = 400
"""Bytes until a connection ends: after the status, within the body."""


def _write_to_a_page(lab: Lab) -> None:
    """The failure may have any name."""
    before = version_of(lab, LEDGER)
    with lab.http.fail("write", status=200, body=SIGN_IN, headers=HTML) as page:
        write = _write(lab)
        made = version_of(lab, LEDGER) - before
    lab.judge_later(*_judge_write(write, made))
    _write_on(lab, page)


def _write_and_hear_half(lab: Lab) -> None:
    before = version_of(lab, LEDGER)
    with lab.network.truncated(after=HALF) as cut:
        write = _write(lab)
        lab.watch(0.5)  # for clients that repeat a write unseen
    lab.judge_later(*_judge_write(write, version_of(lab, LEDGER) - before))
    lab.until_good_read_by_asking(within=lab.recovery_after(cut))
    _write_on(lab, cut)


def _write_without_a_version(lab: Lab) -> None:
    """Write where Vault refuses writes without the version (400).

    A client that names it may write; any other must fail.
    """
    kept = lab.operator.client.secrets.kv.v2
    kept.update_metadata(LEDGER, cas_required=True, mount_point=lab.entry.mount)
    before = version_of(lab, LEDGER)
    marks = {"statuses": frozenset({400}), "kinds": frozenset({"write"})}
    with lab.condition("a version asked for", **marks) as refused:
        write = _write(lab)
        made = version_of(lab, LEDGER) - before
    refused.optional = bool(made)
    lab.judge_later(*_judge_write(write, made))
    _is_read(lab, refused)
    kept.update_metadata(LEDGER, cas_required=False, mount_point=lab.entry.mount)


NO_WORD = ("\n ", ' "said" \\ 100 % Gr\u00fc\u00dfe \U0001f511\n of two lines \n')


def _write_no_word(lab: Lab) -> None:
    write = _write(lab, NO_WORD)
    if write.failed:
        text = f"one with quotes, letters beyond ASCII and two lines ended {write.told}"
        lab.note(Finding("whatever is text can be written", text, write.began, rests_on=()))


SPELLED = tuple(f"{LEDGER}{end}" for end in (" x", "+x", "-\u00fc"))

REFUSABLE = tuple(f"{LEDGER}{end}" for end in ("?x", "#x", "%3Fx"))


def _write_what_is_spelled_otherwise(lab: Lab) -> None:
    before, began = version_of(lab, LEDGER), lab.history.now()
    written: dict[str, dict[str, str]] = {}
    for path in (*SPELLED, *REFUSABLE):
        texts = {"EMPTY": "", **look_like_something_else()}
        for text in filter(None, texts.values()):
            lab.secrets.add("written", text)
        write = lab.client.write(path, texts)
        if write.good:
            written[path] = texts
        elif path in SPELLED:
            text = f"one of {path} ended {write.told}"
            lab.note(Finding("a write of any path is made", text, write.began, rests_on=()))
    lost = set()
    for path, texts in written.items():
        found = _secret_at(lab, path)
        if wrong := sorted(key for key, text in texts.items() if found.get(key) != text):
            lost.add(f"it was said to be done, and is not in {path}: {', '.join(wrong)}")
    stray = {f"{LEDGER} has another version"} if version_of(lab, LEDGER) != before else set()
    lab.judge_later(
        none_of(DONE, lost, harm=True, at=began),
        none_of("a write changes no other secret", stray, harm=True, at=began),
    )


def _secret_at(lab: Lab, path: str) -> dict[str, str]:
    answer = lab.operator.client.adapter.request(
        "GET", f"/v1/{lab.entry.mount}/data/{quote(path)}", raise_exception=False
    )
    data = answer.get("data") if isinstance(answer, dict) else None
    return dict(data["data"]) if data else {}


LATE_BY = 0.3
"""Seconds, so that two writes are under way at once."""


def _write_two_at_once(lab: Lab) -> None:
    """Write twice at once: each write reported as done makes a version."""
    before, write = version_of(lab, LEDGER), partial(lab.client.write, LEDGER)
    by = min(LATE_BY, 0.1 * lab.deadline)
    with lab.http.delay("write", by=by), ThreadPoolExecutor(2) as callers:
        writes = list(callers.map(write, [_entry(lab), _entry(lab)]))
    made, done = version_of(lab, LEDGER) - before, sum(one.good for one in writes)
    at = min(one.began for one in writes)
    seen = f"of two writes at once {done} were said to be done, and {made} made a version"
    lab.judge_later(none_of(DONE, {seen} if made < done else (), harm=True, at=at))


def _write_over_another(lab: Lab) -> None:
    """Write twice while answers say that their connection ends: the second needs another."""
    before = version_of(lab, LEDGER)
    with lab.http.say_goodbye("write"):
        writes = [_write(lab) for _ in range(2)]
    made, done = version_of(lab, LEDGER) - before, sum(one.good for one in writes)
    at = writes[0].began
    seen = f"of two writes {done} were said to be done, and {made} made a version"
    lost = [f"one ended {one.told}" for one in writes if one.failed]
    lab.judge_later(
        none_of(DONE, {seen} if made < done else (), harm=True, at=at),
        none_of("a write is applied at most once", {seen} if made > 2 else (), harm=True, at=at),
        none_of("a write goes over no connection that was said to end", lost[:1], at=at),
    )


def _write_slowly(lab: Lab) -> None:
    slowly = WITHIN_A_CALL * lab.deadline
    with lab.reading(every=0.2, callers=2), lab.http.delay("write", by=slowly, first=1) as slow:
        lab.client.write(LEDGER, _entry(lab))
    _what_is_there(lab)
    lab.judge_later(
        nobody_waits(slowly / HELD_UP, since=slow.began, until=slow.end, of=[PATH]),
    )


def _entry(lab: Lab, around: tuple[str, str] = ("", "")) -> dict[str, str]:
    word = canary(lab)
    data = {USER: canary(lab), PASSWORD: word.join(around)}
    label = f"{LEDGER}:{lab.secrets.label(word)}"
    for key, value in data.items():
        lab.secrets.add_value(LEDGER, key, value, label)
    return data


def _write(lab: Lab, around: tuple[str, str] = ("", "")) -> Operation:
    data = _entry(lab, around)
    write, found = lab.client.write(LEDGER, data), _what_is_there(lab)
    lost = sorted(key for key, value in data.items() if found.get(key) != value)
    if write.good and lost:
        seen = f"it was said to be done, and is not there: {', '.join(lost)}"
        lab.note(Finding(DONE, seen, write.began, harm=True))
    if write.good and (kept := sorted(found.keys() - data.keys())):
        seen = f"it was said to be done, and left what it does not name: {', '.join(kept)}"
        lab.note(Finding("what is written is the whole secret", seen, write.began, harm=True))
    return write


def _what_is_there(lab: Lab) -> dict[str, str]:
    if not version_of(lab, LEDGER):
        return {}
    found: dict[str, str] = lab.operator.client.secrets.kv.v2.read_secret_version(
        LEDGER, mount_point=lab.entry.mount, raise_on_deleted_version=True
    )["data"]["data"]
    known = [change.value for change in lab.history.rotations if change.path == LEDGER]
    label = lab.secrets.value_label(LEDGER, PASSWORD, found.get(PASSWORD, ""))
    if label is not None and label not in known[-1:]:
        lab.history.end_rotation(lab.history.note_rotation(LEDGER, label))
    return found


def _is_read(lab: Lab, after: Fault) -> None:
    since, bound = lab.history.now(), lab.recovery_after(after)
    _what_is_there(lab)  # the client may have repeated the write
    for verb in all_read_verbs(lab):
        read = lab.client.ask(verb, LEDGER, PASSWORD)
        while read.failed and read.outcome != "died" and lab.history.now() < since + bound:
            lab.watch(0.2)
            read = lab.client.ask(verb, LEDGER, PASSWORD)
        lab.require(f"what was written before is read ({verb})", _held(read))


def _held(read: Operation) -> Condition:
    return lambda _: not read.failed


def _judge_write(write: Operation, versions: int) -> tuple[Oracle, ...]:
    """Check that a write makes at most one version, and one if reported as done."""
    twice = {f"one write made {versions} versions"} if versions > 1 else set[str]()
    lost = {NOT_DONE} if write.good and not versions else set[str]()
    return (
        none_of("a write is applied at most once", twice, harm=True, at=write.began),
        none_of(DONE, lost, harm=True, at=write.began),
    )


# Slow


@pytest.mark.scenario("NET-05")
def test_stall_that_heals(lab: Lab) -> None:
    """Answers that are held for a while and then delivered cost no login, no storm and no write."""
    writes = _can_write(lab)
    client = lab.start()
    if writes and client.write(LEDGER, {"entry": canary(lab)}).failed:
        lab.note(Finding("a write works", "the first one, before any fault, failed"))
    before = version_of(lab, LEDGER)
    held: Operation | None = None
    with ExitStack() as callers:
        with lab.network.stalled() as fault:
            if writes:
                held = client.write(LEDGER, {"entry": canary(lab)})
            callers.enter_context(lab.reading(every=0.5, callers=2))
            lab.hold(fault, 1.2 * lab.deadline)
        lab.recovers(after=fault)
        lab.watch(0.5)
    if held is not None:
        lab.judge_later(
            *_judge_write(held, version_of(lab, LEDGER) - before),
            failures_are("unavailable", since=fault.began, verbs=("write",), may_be_empty=True),
        )
        _write_on(lab, fault)
    lab.judge(
        no_request_storm(since=fault.began, until=fault.end),
        same_token(since=fault.began, until=given_up(lab, fault)),
    )


def _write_on(lab: Lab, after: Fault, *, within: float | None = None) -> None:
    since, bound = lab.history.now(), lab.recovery_after(after) if within is None else within
    while _write_fails(lab) and lab.history.now() < since + bound:
        lab.watch(0.3)
    lab.ask(writes_again(bound, since=since))


def _write_fails(lab: Lab) -> bool:
    """A write that succeeds without a version is harm."""
    before = version_of(lab, LEDGER)
    write = _write(lab)
    if write.good and version_of(lab, LEDGER) == before:
        lab.note(Finding(DONE, NOT_DONE, write.began, harm=True))
    return write.failed


def _can_write(lab: Lab) -> bool:
    """Only a started subject says whether it writes."""
    allow_writes(lab, LEDGER)
    client = lab.open()
    if client is None:
        return False
    client.close(timeout=5.0)
    return lab.can("write")


@pytest.mark.scenario("NET-06")
def test_late_answers_are_answers(lab: Lab) -> None:
    """Answers that are late but in time cost no read and no login, for more than a life."""
    client = lab.start()
    # Only this path, so that other requests do not use up the call's time.
    wanted = f"*/data/{lab.entry.path}"
    by = ALONE * min(lab.deadline, lab.ttl / 2)
    with lab.http.delay("read", by=by, path=wanted) as late:
        late.optional = True  # a client may answer from memory
        client.read()
    # Three answers fit into a call: two for the read, one for a renewal; a TLS connection waits
    # twice. A short token limits the delay too.
    late_by = min(lab.deadline, lab.ttl / 4)
    trip = late_by if lab.wire == "plain" else late_by / 2
    with (
        lab.reading(every=0.5),
        lab.network.slow(latency=0.26 * trip, jitter=0.02 * trip) as fault,
    ):
        lab.watch(1.7 * lab.ttl)
        # If the client renewed late, its first life on the slow network is not over yet.
        lab.history.wait_for(lambda: _life_is_over(lab, fault), 0.3 * lab.ttl)
        end = lab.history.now()
    lab.judge(
        no_failed_read(since=late.began, until=end),
        # A token that was granted late lives longer than the client can know.
        renews_within(0.3, 0.95, until=end),
        logins_at_most(0, since=late.began),
    )


def _life_is_over(lab: Lab, fault: Fault) -> bool:
    given = lab.history.find("login", "renew", since=fault.began, where=lambda e: e.good)
    return any(lab.history.now() > (e.ended or e.began) + 0.96 * lab.ttl for e in given[:1])


@pytest.mark.scenario("NET-07")
def test_answers_later_than_the_deadline(lab: Lab) -> None:
    """Answers after the deadline are an outage, and no call takes the answer of another call."""
    path, key = lab.entry.spare_path, lab.entry.spare_key
    # With the same keys, mixed-up answers show as wrong values, not as missing ones.
    lab.put("v2", also={key: f"canary-v2-{secrets.token_hex(12)}"})
    other = f"canary-other-v2-{secrets.token_hex(12)}"
    lab.put("v2", path=path, key=key, also={lab.entry.key: other})
    lab.start()
    with lab.reading(every=0.5), lab.reading(every=0.5, path=path, key=key):
        lab.watch(0.5)
        with lab.network.slow(latency=2 * lab.deadline) as fault:
            lab.hold(fault, 2.5 * lab.deadline)
        lab.recovers(after=fault)
    lab.judge(
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        no_request_storm(since=fault.began, until=fault.end),
        same_token(since=fault.began, until=given_up(lab, fault)),
    )


@pytest.mark.scenario("NET-08")
def test_dripping_answer(lab: Lab) -> None:
    """Answers that drip, and calls that need several late answers, end within the deadline."""
    allow_writes(lab, LEDGER)
    lab.put("v1", path=LEDGER, key="entry")
    client = lab.start()
    with lab.reading(every=0.5, callers=2):
        with lab.network.drip(pause=0.4) as fault:
            # Often separate code, with a timeout of its own.
            ask_for_a_whole(lab)
            if lab.can("write"):
                client.write(LEDGER, {"entry": canary(lab)})
            lab.hold(fault, max(0.0, fault.began + 2.5 * lab.deadline - lab.history.now()))
        lab.recovers(after=fault)
        # A refused read, a lookup, a login and another read each take nearly half of the deadline.
        with (
            lab.network.slow(latency=0.45 * lab.deadline) as slow,
            ExitStack() as losses,
            # Once answers are late, so that no other token replaces it meanwhile.
            lab.vault.token_revoked(accessor_in_use(lab, at=slow.began)) as lost,
        ):
            # A client that answers from memory meets the loss at its next refresh.
            lost_until_met(lab, losses, lost)
            lab.hold(slow, 2 * lab.deadline)
        lab.recovers(after=slow)
    if lab.can("update"):
        _change_late(lab)
    lab.judge(
        no_request_storm(since=fault.began, until=fault.end),
        no_request_storm(since=slow.began, until=slow.end),
    )


def _change_late(lab: Lab) -> None:
    """Change a key with read and write late: one delay fits into the deadline, both do not.

    A client that lets Vault merge needs no read.
    """
    where, by = f"*/data/{LEDGER}", ALONE * lab.deadline
    with (
        lab.http.delay("read", by=by, path=where) as read,
        lab.http.delay("write", by=by, path=where) as written,
    ):
        read.optional = written.optional = True  # the client may give up before the write
        lab.client.update(LEDGER, {"entry": canary(lab)})


BIG_PATH = "backend/celery"

NARROW, TOO_BIG = 2, 3
"""Kilobytes a second; deadlines that a big secret takes at that rate."""

HUGE_PATH, HUGE_KEY = "backend/keystore", "KEYSTORE"

LETTER, HUGE = "\u20ac", 100_000
"""A letter of three bytes, and its number in a secret that arrives in many pieces."""


@pytest.mark.scenario("NET-09")
def test_narrow_network(lab: Lab) -> None:
    """At two kilobytes a second small secrets are read, and large ones afterwards."""
    client = lab.start()
    big = "x" * int(TOO_BIG * lab.deadline * NARROW * 1000)
    lab.put("v1", path=BIG_PATH, key="SMALL", also={"BIG": big})
    with lab.network.narrow(rate=NARROW) as fault:
        client.read(BIG_PATH, "SMALL")
        bound = 2 * lab.deadline + lab.recovery
        lab.until_good_read_by_asking(within=bound)
    with lab.reading(every=0.5, path=BIG_PATH, key="SMALL"):
        lab.recovers(after=fault, path=BIG_PATH)
    _read_what_comes_in_many_pieces(lab)
    lab.judge(
        # A client may answer from memory.
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        same_token(since=fault.began),
        recovers_within(bound, since=fault.began, path="backend/django"),
    )


def _read_what_comes_in_many_pieces(lab: Lab) -> None:
    """Read 300 kB: most pieces end within a letter."""
    since, bound = lab.history.now(), lab.recovery
    for verb in all_read_verbs(lab):
        path = own_path(lab, HUGE_PATH, verb)
        lab.put("v1", path=path, key=HUGE_KEY, value=LETTER * HUGE)
        read = lab.client.ask(verb, path, HUGE_KEY)
        while read.failed and read.outcome != "died" and lab.history.now() < since + bound:
            lab.watch(0.2)
            read = lab.client.ask(verb, path, HUGE_KEY)
        if read.failed:
            promise, text = "a secret of 300 kB is read", f"{verb} ended {read.told}"
            found = Finding(promise, text, since, rests_on=(), until=read.ended)
            lab.note(found)
