"""The network: gone, silent, dripping, cut, dead, flaky, slow."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import partial

import pytest

from vault_harness.faults import Fault, flapping
from vault_harness.faults.answers import HTML, INTERNAL_ERROR, JSON, QUOTA, SIGN_IN, a_page
from vault_harness.scenario import (
    Condition,
    Exchange,
    Finding,
    Lab,
    NotClaimed,
    NotExercised,
    Operation,
)
from vault_harness.scenario.driver import Way
from vault_harness.scenario.helpers import (
    accessor_in_use,
    allow_writes,
    ask_for_a_whole,
    callers_if_started,
    canary,
    connections_said_to_end,
    dead_connections,
    every_way,
    footprint_at_rest,
    given_up,
    has_its_files,
    left_behind,
    lost_until_met,
    nobody_takes_connections,
    renewal_comes,
    start_meanwhile,
    vault_gone,
    version_of,
    works_after_all,
)
from vault_harness.scenario.lab import KEY, PATH
from vault_harness.scenario.leases import CREDENTIALS, READ_ONLY, first_credential, pool
from vault_harness.scenario.moving import address_beside, address_gone, follows
from vault_harness.scenario.oracles import (
    EVERY_WAY,
    LOGS_IN_INSTEAD,
    Oracle,
    at_most,
    failed_reads_at_most,
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
    quiet_requests,
    recovers_within,
    renewed_or_replaced,
    renews_again,
    renews_within,
    replaced_in_turn,
    requests_at_most,
    same_token,
    writes_again,
)

LEDGER = "backend/ledger"

USER, PASSWORD = "user", "password"
"""What is written there, both together."""

SPARE = 6
"""What a client may hold more of after a fault than before, without leaking."""

LOGS_IN_TOO = 1.0
"""Seconds after the login, and a good read, in which whoever wakes later may log in as well."""

# Refused


@pytest.mark.scenario("NET-01")
def test_short_outage_costs_no_login(lab: Lab) -> None:
    """Connections are refused for a twentieth of the token's life, under reads."""
    lab.start()
    with lab.reading(every=0.5):
        lab.watch(0.5)
        with lab.network.down() as fault:
            lab.hold(fault, 0.05 * lab.ttl)
        lab.recovers(after=fault)
    lab.judge(
        _told_as_an_outage(fault),
        same_token(since=fault.began),
        # What tries without a pause to connect is seen by nobody, where nobody listens.
        log_has_pauses(lab.log_times(), since=fault.began, until=fault.end),
    )


def _told_as_an_outage(fault: Fault) -> Oracle:
    """What fails then is called that: what nobody could be asked for is not missing, nor denied."""
    return failures_are(
        "unavailable", since=fault.began, until=fault.end, verbs=EVERY_WAY, may_be_empty=True
    )


@pytest.mark.scenario("NET-02")
def test_long_outage_costs_one_login(lab: Lab) -> None:
    """Refused for longer than the token lives, under reads; in the next life one renewal fails."""
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
    lab.judge(logins_at_most(1, since=fault.began, until=end, due=0.3, in_vain=lab.deadline))


LEARNT, TRIED_AGAIN = 0.2, 0.3
"""Parts of a life: until when some renew a new token to learn its TTL, and how much has to be left
where a renewal fails, for the next try.
"""


def _a_moment_while_it_renews(lab: Lab) -> None:
    """Let the renewal in the next life be answered 503 once; who logs in instead is not asked.

    Whoever does not begin anew with its pauses rests as long after it as at the end of an outage.
    """
    granted = last_grant(lab.history, until=lab.history.now())
    lab.watch(max(0.0, granted + LEARNT * lab.ttl - lab.history.now()))
    ends = last_grant(lab.history, until=lab.history.now()) + lab.ttl
    by = ends - max(TRIED_AGAIN * lab.ttl, lab.declared("backoff_cap", 0.0) + 1.0)
    with lab.http.fail("renew", status=503, first=1) as moment:
        moment.optional = True  # for who renews late, or never
        lab.until(lambda: bool(moment.touched), within=max(0.0, by - lab.history.now()))
    if moment.touched:
        lab.until(
            lambda: last_grant(lab.history, until=lab.history.now()) + lab.ttl > ends,
            within=max(0.0, ends + 0.5 - lab.history.now()),  # what comes late is told
        )
        lab.judge_later(renewed_or_replaced(since=moment.began, before=ends))


@pytest.mark.scenario("NET-18")
def test_vault_gone_behind_its_proxy(lab: Lab) -> None:
    """Connections are accepted and end at once while a token, and a lease, have to be renewed."""
    lab.start()
    with ExitStack() as callers:
        callers.enter_context(lab.reading(every=0.5))
        # Its first renewal, or the login instead, tells which of the two it makes, and when.
        lab.until(lambda: len(_grants(lab)) > 1, within=0.95 * lab.ttl)
        if lab.has_database:  # what it leases now is as old as its token then is
            first_credential(lab)
            callers.enter_context(pool(lab, every=LOGS_IN_EVERY, reports=False))
        lab.watch(_granted(lab) + 0.4 * lab.ttl - lab.history.now())
        late = _granted(lab) + 0.9 * lab.ttl
        with vault_gone(lab) as fault:
            lab.hold(fault, 0.35 * lab.ttl)
        lab.recovers(after=fault)
        lab.watch(1.0)  # a renewal that began in the fault may come to its end behind a good read
        if lab.has_database:
            lab.judge_later(*_lease_is_kept(lab, fault))
    lab.judge(
        no_connection_storm(since=fault.began, until=fault.end),
        # From nine tenths of its life on a token may be given up that could not be renewed.
        logins_at_most(0, since=fault.began, until=late, due=0.3),
    )


LOGS_IN_EVERY = 0.25
"""Seconds from one login at the database to the next."""


def _lease_is_kept(lab: Lab, gone: Fault) -> list[Oracle]:
    """Wait until a lease is renewed or replaced that nobody could renew; what is asked of that.

    It has the rest of its life for that, and no less than is granted after any fault.
    """
    granted = lease_grants(lab.history, path=CREDENTIALS, until=gone.began)[-1]
    ends = (granted.ended or granted.began) + (granted.ttl or 0.0)
    before = max(ends, gone.end + lab.recovery_after(gone))
    lab.until(
        lambda: bool(lease_grants(lab.history, path=CREDENTIALS, since=gone.began)),
        within=max(0.0, before + 0.5 - lab.history.now()),  # what comes late is told
    )
    return [
        lease_renewed_or_replaced(path=CREDENTIALS, since=gone.began, before=before),
        no_refused_use(around_logins=1.0),  # with another token come other credentials
    ]


def _grants(lab: Lab) -> list[Exchange]:
    """Answers that have given a token its life, or given it anew."""
    return lab.history.find("login", "renew", where=lambda e: e.good)


def _granted(lab: Lab) -> float:
    """When the last of them came."""
    last = _grants(lab)[-1]
    return last.ended or last.began


ON_ITS_WAY = 0.2
"""Seconds that Vault's answer may take to the client: one that is cut meanwhile is of no use."""


def _cut_short(read: Exchange, turns: Iterable[Fault]) -> bool:
    """Whether the link was down in the time of a request, or before its answer was there for sure.

    The recorder stands behind the link, and notes what Vault answers.
    """
    ended = (read.began if read.ended is None else read.ended) + ON_ITS_WAY
    return any(down.began <= ended and read.began <= down.end for down in turns)


@pytest.mark.scenario("NET-15")
def test_flapping_link(lab: Lab) -> None:
    """The link is down for 0.7 s and up for 0.7 s, again and again, under two callers."""
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
            turn.optional = True  # a client that waits may sleep through one of them
        lab.recovers(after=flaps)
    ended = flaps.end
    good = lab.history.calls("read", since=began, until=ended, where=lambda o: o.good)
    # Whose pauses grow may have bad luck with each probe; what got through must be of use.
    through = lab.history.find(
        "read", since=began, until=ended, where=lambda e: e.good and not _cut_short(e, turns)
    )
    if through and not good:
        text = f"no read was good, although Vault answered {len(through)}"
        lab.note(Finding("reads work while the link is up", text, began))
    more = left_behind(lab, before, spare=SPARE)
    lab.judge(
        none_of("a flapping link leaves nothing behind", more),
        at_most(1 + replaced_in_turn(lab.history), lab.tokens_alive(), "tokens alive"),
        same_token(since=began),
        no_request_storm(since=began, until=ended),
    )


# Moved

FOLLOWS = 30.0
"""Seconds for which a virtual machine of Java keeps an address by default; others keep it less."""


@pytest.mark.scenario("NET-16")
def test_name_moves_to_another_address(lab: Lab) -> None:
    """Vault's first address falls silent, and its second goes away, its name too for a moment."""
    lab.start()
    second, third = address_beside(lab, 2), address_beside(lab, 3)
    # Who answers from memory finds out at its next look, and whose call waits at the silent address
    # for its whole deadline looks for another after that.
    bound = max(FOLLOWS, lab.refresh + lab.deadline + lab.recovery)
    with lab.reading(every=0.4, callers=2):
        lab.watch(1.0)
        with lab.network.black_hole(stream="upstream") as silent:
            lab.hold(silent, 1.0)
            if follows(lab, second, silent, within=bound):
                with address_gone(lab, second) as gone:
                    lab.hold(gone, 1.0)
                    # Each caller looks for it once, or more often.
                    lab.name.lead_nowhere()
                    lab.history.mark("nobody knows the name")
                    lab.watch(1.5)
                    follows(lab, third, gone, within=bound)
    lab.judge()


# Silent


@pytest.mark.scenario("NET-19")
def test_start_in_a_black_hole(lab: Lab) -> None:
    """What it sends from its start on vanishes, under callers; it may wait or refuse to start."""
    with lab.network.black_hole(stream="upstream") as fault:
        opened = start_meanwhile(lab)
        # Who waits for Vault at its start has no callers until it does not.
        with callers_if_started(lab, fault, every=0.5, callers=3) as callers:
            lab.watch((2.5 if callers else 1.5) * lab.deadline)
        # A slow starter has not asked yet.
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
    """Answers vanish, then requests; at last no connection is taken, under three callers."""
    # Vault ends a connection that it was asked to close once it has answered, so for a client that
    # keeps none open only lost requests are silence.
    lab.start()
    with lab.reading(every=0.5, callers=3):
        lab.watch(0.5)
        with lab.network.black_hole(stream="downstream") as answers:
            lab.hold(answers, 2.5 * lab.deadline)
        lab.recovers(after=answers)
        with lab.network.black_hole(stream="upstream") as requests:
            lab.hold(requests, 2.5 * lab.deadline)
        lab.recovers(after=requests)
        # Bytes that vanish do so over a connection that was taken: to get one may take for ever.
        with nobody_takes_connections(lab) as unheard:
            lab.watch(1.5 * lab.deadline if unheard is not None else 0.0)
        if unheard is not None:
            lab.recovers(after=unheard)
            lab.judge_later(_told_as_an_outage(unheard))
    lab.judge(
        _told_as_an_outage(answers),
        _told_as_an_outage(requests),
        no_request_storm(since=answers.began, until=answers.end),
        no_connection_storm(since=requests.began, until=requests.end),
        same_token(since=answers.began, until=given_up(lab, answers)),
    )


UNREAD = tuple(f"backend/idle/{number}" for number in range(1, 4))
"""A secret for each caller, that nobody has read before connections die."""

BUSY = tuple(f"backend/busy/{number}" for number in range(1, 13))
"""A secret for each caller of the moment before connections die."""

LATE = 0.1
"""Seconds by which answers are late in it: all are under way at once, so that a pool has more
connections than callers come later.
"""


@pytest.mark.scenario("NET-04")
def test_dead_idle_connections(lab: Lab) -> None:
    """Connections are said to end; then the many of a busy moment are forgotten by the network."""
    lab.start()
    connections_said_to_end(lab)
    for path in (*BUSY, *UNREAD):
        lab.put("v1", path=path, key=KEY)
    with lab.http.delay("read", by=LATE) as late, ExitStack() as callers:
        late.optional = True  # who answers from memory asks for little
        for own in (None,) * len(BUSY) if has_its_files(lab) else BUSY:
            callers.enter_context(lab.reading(every=0.1, path=own, key=own and KEY))
        lab.watch(1.0)
    lab.watch(0.3)
    with dead_connections(lab) as fault, ExitStack() as callers:
        # No memory has what nobody has read: each caller needs a connection.
        for unread in (None,) * 3 if has_its_files(lab) else UNREAD:
            callers.enter_context(lab.reading(every=0.4, path=unread, key=unread and KEY))
        # Time for three calls of each caller that all wait in vain.
        lab.hold(fault, 3.2 * lab.deadline)
        # A call finds out, and the next is served. Who gives Vault a rest first says for how long.
        bound = lab.deadline + lab.or_its_pause(lab.deadline)
        lab.until_good_read(since=fault.began, within=fault.began + bound - lab.history.now())
        end = lab.history.now()
    calls = lab.history.calls("read", since=fault.began, until=end)
    lab.require(
        "three callers that read twice or more",
        lambda _: len([c for c in {o.caller for o in calls} if _reads_of(calls, c) > 1]) == 3,
    )
    lab.judge(
        failed_reads_at_most(
            1,
            since=fault.began,
            until=end,
            each_caller=True,
            at_rest=lab.declared_or_none("backoff_cap") is not None,
        ),
        recovers_within(bound, since=fault.began, begun=True),
        same_token(since=fault.began, until=given_up(lab, fault)),
    )


def _reads_of(calls: list[Operation], caller: int) -> int:
    return sum(call.caller == caller for call in calls)


@pytest.mark.scenario("NET-12")
def test_lost_answer_to_a_renewal(lab: Lab) -> None:
    """Vault renews the token, and the answer is lost with its connection."""
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
        # Some HTTP libraries try again at once, before anybody has noted that the fault is over.
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
    """Connections end in the middle of the headers, then in the middle of the body."""
    client = lab.start()
    _read_whole(lab)
    for after in (100, 400):
        with lab.network.truncated(after=after) as fault:
            # A value that a cache holds is not asked for anew as long as it is fresh.
            while client.read().began < fault.began + lab.refresh:
                lab.watch(0.5)
            _read_whole(lab)
            lab.hold(fault, 0.0)
            calls = len(lab.history.calls("read", "read_all", since=fault.began))
        # Who tries on until a call's deadline makes more than four tries in each of a few calls.
        tries = max(4 * calls, quiet_requests(1, fault.length))
        lab.judge_later(
            # What it kept from before is whole, and right: whether a value is, is asked everywhere.
            failures_are(
                "unavailable",
                since=fault.began,
                until=fault.end,
                verbs=EVERY_WAY,
                may_be_empty=True,
            ),
            requests_at_most(tries, "read", since=fault.began, until=fault.end),
        )
        lab.until_good_read_by_asking(within=lab.recovery_after(fault))
        lab.recovers(after=fault)
    lab.judge()


def _read_whole(lab: Lab) -> None:
    """Ask for all of the secret, where the subject says that it gives that."""
    if lab.can("read_all"):
        lab.client.read_all(lab.entry.path, (lab.entry.key,))


READS, TOXICITY, FAILURES = 200, 0.2, 20
"""Of 200 reads over connections of which one in five is reset, a client that tries once fails 40 or
so; 20 or fewer in one run of 9,000. One that tries twice fails 8 or so; more than 20 in one run
of 16,000.
"""

PACE = 0.02
"""Seconds between two of them. Without a pause hundreds would fall into one pause of a client that
answers from memory meanwhile.
"""


@pytest.mark.scenario("NET-11")
def test_resets_now_and_then(lab: Lab) -> None:
    """One of five new connections is reset, and none lasts for more than one read, or one whole."""
    lab.start()
    if lab.leaves("file"):
        raise NotClaimed("its reads are looks into a file, which make no connection")
    with lab.network.resets(toxicity=TOXICITY) as fault:
        _read_over_new_connections(lab, "read")
        end = lab.history.now()
        if lab.can("read_all"):  # often a second piece of code, which tries as often as it likes
            _read_over_new_connections(lab, "read_all")
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


def _read_over_new_connections(lab: Lab, way: Way) -> None:
    """Read so often in this way, and end all connections before each read."""
    for _ in range(READS):
        lab.network.drop_connections()
        if lab.client.ask(way).outcome == "died":
            return
        lab.watch(PACE)


@pytest.mark.scenario("NET-13")
def test_lost_answer_to_a_write(lab: Lab) -> None:
    """Writes: lost, a 504, cut; six in vain, one refused, two at once, a connection that goes."""
    allow_writes(lab, LEDGER)
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
    lab.watch(0.5)  # for those who try again behind the caller's back
    again = version_of(lab, LEDGER) - last
    _write_on(lab, page)
    lab.judge_later(
        *_judge_write(third, again),
        # It may know by now that the write was applied; if not, nobody knows.
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
    _write_two_at_once(lab)
    _write_over_another(lab)
    _write_slowly(lab)
    with lab.vault.token_revoked(lab.accessor()) as lost:  # nobody reads, so that a write meets it
        _write_on(lab, lost, within=min(0.1 * lab.ttl, 5.0))
    lab.judge(*_judge_write(second, written), logins_at_most(1, since=lost.began))


@pytest.mark.scenario("NET-14")
def test_lost_answer_to_a_request_for_a_credential(lab: Lab) -> None:
    """Vault makes a user of the database, and the answer is lost; the next request gets none."""
    client = lab.start()
    # Not a link that is cut after a while: Vault drops what it has not made by then.
    with lab.http.lose_answer("credential") as fault:
        client.lease(CREDENTIALS)
        unknown = lab.database.users()
    lab.require("a user of whom the client does not know", lambda _: ", ".join(sorted(unknown)))
    works = lab.until(lambda: _leased(lab), within=lab.recovery_after(fault))
    made = unknown | lab.database.users()
    # Of another path: whoever has a credential need not ask for it.
    with lab.network.black_hole(stream="upstream") as silent:
        client.lease(READ_ONLY)
        lab.hold(silent, 0.0)
    lab.until_good_read_by_asking(within=lab.recovery_after(silent))
    client.close()
    given_back = lab.until(lambda: not lab.database.users(), within=2.0)
    left = set() if given_back else lab.database.users()
    lab.judge(
        none_of("a credential that works, after it", set() if works else {"there is none"}),
        at_most(2, len(made), "users that were made"),
        none_of("what nobody knows of is given back at the end", left),
        same_token(since=fault.began),
        steady=False,
    )


def _leased(lab: Lab) -> bool:
    """Ask for a credential; whether it works."""
    credential = lab.client.lease(CREDENTIALS)
    return credential is not None and lab.database.accepts(credential)


DONE = "a write that is said to be done is done"
NOT_DONE = "it was said to be done, and made no version"

RETIRED = "retired"
"""A key that the secret had before the first write, and that no write names."""


def _write_in_vain(lab: Lab, away: AbstractContextManager[Fault]) -> None:
    """Have something written while no write gets to Vault, and written again afterwards."""
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
"""What else is answered to a write that is not done: by Vault, by its quota, by a gateway."""

HALF = 400
"""Bytes after which a connection ends: the answer's status is there, the end of its body is not."""


def _write_to_a_page(lab: Lab) -> None:
    """Have something written that somebody else answers with 200. How it fails is left open."""
    before = version_of(lab, LEDGER)
    with lab.http.fail("write", status=200, body=SIGN_IN, headers=HTML) as page:
        write = _write(lab)
        made = version_of(lab, LEDGER) - before
    lab.judge_later(*_judge_write(write, made))
    _write_on(lab, page)


def _write_and_hear_half(lab: Lab) -> None:
    """Have something written whose answer is cut: Vault has done it, and says so in the status."""
    before = version_of(lab, LEDGER)
    with lab.network.truncated(after=HALF) as cut:
        write = _write(lab)
        lab.watch(0.5)  # for those who try again behind the caller's back
    lab.judge_later(*_judge_write(write, version_of(lab, LEDGER) - before))
    lab.until_good_read_by_asking(within=lab.recovery_after(cut))
    _write_on(lab, cut)


def _write_without_a_version(lab: Lab) -> None:
    """Have something written where Vault takes no write that does not name the version (400).

    Who reads the version first and names it writes it, rightly. Anybody else is refused, and says
    so: how, is left open.
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
"""What a password may have before and behind a word: what JSON writes otherwise, letters of several
bytes, a line's end; and that and a blank at its own ends too, as a file has them.
"""


def _write_no_word(lab: Lab) -> None:
    """Have a password written that is no word; that it is there as it was given is asked above."""
    write = _write(lab, NO_WORD)
    if write.failed:
        text = f"one with quotes, letters beyond ASCII and two lines ended {write.told}"
        lab.note(Finding("whatever is text can be written", text, write.began, rests_on=()))


LATE_BY = 0.3
"""Seconds by which the answers to two writes are late, so that both are under way at once."""


def _write_two_at_once(lab: Lab) -> None:
    """Have two write at once: each that is said to be done has made a version of its own."""
    before, write = version_of(lab, LEDGER), partial(lab.client.write, LEDGER)
    by = min(LATE_BY, 0.1 * lab.deadline)
    with lab.http.delay("write", by=by), ThreadPoolExecutor(2) as callers:
        writes = list(callers.map(write, [_entry(lab), _entry(lab)]))
    made, done = version_of(lab, LEDGER) - before, sum(one.good for one in writes)
    at = min(one.began for one in writes)
    seen = f"of two writes at once {done} were said to be done, and {made} made a version"
    lab.judge_later(none_of(DONE, {seen} if made < done else (), harm=True, at=at))


def _write_over_another(lab: Lab) -> None:
    """Have two written, one after the other, while answers say that their connection ends.

    The second needs another one: what is sent over that is not heard, and must not be repeated.
    """
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


WRITES_SLOWLY, HELD_UP = 0.75, 3
"""Of a call's deadline: for so long a write takes. And who reads another secret for more than one
such part of that is held up by it.
"""


def _write_slowly(lab: Lab) -> None:
    """Have a write take its time, and another secret read meanwhile: that has nothing to wait for.

    A lock that lets readers in together, and a writer alone, lets a slow write stop all of them.
    """
    slowly = WRITES_SLOWLY * lab.deadline
    with lab.reading(every=0.2, callers=2), lab.http.delay("write", by=slowly, first=1) as slow:
        lab.client.write(LEDGER, _entry(lab))
    _what_is_there(lab)
    lab.judge_later(
        nobody_waits(slowly / HELD_UP, since=slow.began, until=slow.end, of=[PATH]),
    )


def _entry(lab: Lab, around: tuple[str, str] = ("", "")) -> dict[str, str]:
    """A user and a password to be written together, known by one label.

    Args:
        lab: The scenario.
        around: What the password begins and ends with.
    """
    word = canary(lab)
    data = {USER: canary(lab), PASSWORD: word.join(around)}
    label = f"{LEDGER}:{lab.secrets.label(word)}"
    for key, value in data.items():
        lab.secrets.add_value(LEDGER, key, value, label)
    return data


def _write(lab: Lab, around: tuple[str, str] = ("", "")) -> Operation:
    """Have a user and a password written; who says so has written both, and nothing beside them."""
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
    """What Vault has of it now, which is right from now on, whatever came of the write."""
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
    """Have it read in each way after a write that failed: what Vault has not got is wrong then."""
    since, bound = lab.history.now(), lab.recovery_after(after)
    _what_is_there(lab)  # who tries again behind the caller's back may have written it by now
    for way in every_way(lab):
        read = lab.client.ask(way, LEDGER, PASSWORD)
        while read.failed and read.outcome != "died" and lab.history.now() < since + bound:
            lab.watch(0.2)
            read = lab.client.ask(way, LEDGER, PASSWORD)
        lab.require(f"what was written before is read ({way})", _held(read))


def _held(read: Operation) -> Condition:
    """Demand that a read gave a value."""
    return lambda _: not read.failed


def _judge_write(write: Operation, versions: int) -> tuple[Oracle, ...]:
    """A write makes one version at most, and one that is said to be done has made it."""
    twice = {f"one write made {versions} versions"} if versions > 1 else set[str]()
    lost = {NOT_DONE} if write.good and not versions else set[str]()
    return (
        none_of("a write is applied at most once", twice, harm=True, at=write.began),
        none_of(DONE, lost, harm=True, at=write.began),
    )


# Slow


@pytest.mark.scenario("NET-05")
def test_stall_that_heals(lab: Lab) -> None:
    """Answers are held for a while and then delivered on the same connections, a write's too."""
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
    """Write until a write is good, for as long as that may take now that reads are."""
    since, bound = lab.history.now(), lab.recovery_after(after) if within is None else within
    while _write_fails(lab) and lab.history.now() < since + bound:
        lab.watch(0.3)
    lab.ask(writes_again(bound, since=since))


def _write_fails(lab: Lab) -> bool:
    """Have something written; whether that fails, and not only has made no version."""
    before = version_of(lab, LEDGER)
    write = _write(lab)
    if write.good and version_of(lab, LEDGER) == before:
        lab.note(Finding(DONE, NOT_DONE, write.began, harm=True))
    return write.failed


def _can_write(lab: Lab) -> bool:
    """Let the subject write where it says that it can; known only once it is started."""
    allow_writes(lab, LEDGER)
    client = lab.open()
    if client is None:
        return False
    client.close(timeout=5.0)
    return lab.can("write")


ALONE = 0.7
"""Of a call's deadline: so late may an answer be that is all a call waits for."""


@pytest.mark.scenario("NET-06")
def test_late_answers_are_answers(lab: Lab) -> None:
    """One answer is late by 0.7 of a deadline, then each by 0.26, for a life and a bit."""
    client = lab.start()
    # A read of this path alone, so that what a client asks besides it leaves it the time.
    wanted = f"*/data/{lab.entry.path}"
    by = ALONE * min(lab.deadline, lab.ttl / 2)
    with lab.http.delay("read", by=by, path=wanted) as late:
        late.optional = True  # from memory a value may come at once
        client.read()
    # Three fit into a call: of a read that asks for two things, and of a renewal before it.
    # Over TLS a new connection waits twice, for its handshake and for the answer. Of a token's life
    # no more than in the suite's own deadline, else nobody could keep it alive.
    late_by = min(lab.deadline, lab.ttl / 4)
    trip = late_by if lab.wire == "plain" else late_by / 2
    with (
        lab.reading(every=0.5),
        lab.network.slow(latency=0.26 * trip, jitter=0.02 * trip) as fault,
    ):
        lab.watch(1.7 * lab.ttl)
        # Who renewed late has yet to come to the end of a life that began on the slow network.
        lab.history.wait_for(lambda: _life_is_over(lab, fault), 0.3 * lab.ttl)
        end = lab.history.now()
    lab.judge(
        no_failed_read(since=late.began, until=end),
        # A renewal is planned within the life of a token that was late itself.
        renews_within(0.3, 0.95, until=end),
        # A login in its time serves as a renewal does.
        logins_at_most(0, since=late.began, due=0.3),
    )


def _life_is_over(lab: Lab, fault: Fault) -> bool:
    """Whether a life that was given after that has come to where it must have been renewed."""
    given = lab.history.find("login", "renew", since=fault.began, where=lambda e: e.good)
    return any(lab.history.now() > (e.ended or e.began) + 0.96 * lab.ttl for e in given[:1])


@pytest.mark.scenario("NET-07")
def test_answers_later_than_the_deadline(lab: Lab) -> None:
    """Each answer comes two deadlines late; the calls, of two secrets, have ended by then."""
    path, key = lab.entry.spare_path, lab.entry.spare_key
    # Of two secrets, which have the same keys: the late answer to one that is taken for that of the
    # other is a wrong value then, and no missing one.
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
    """A byte every 0.4 s; then answers that are late, and a call that needs four of them."""
    allow_writes(lab, LEDGER)
    lab.put("v1", path=LEDGER, key="entry")
    client = lab.start()
    with lab.reading(every=0.5, callers=2):
        with lab.network.drip(pause=0.4) as fault:
            # Each is often a second piece of code, with a time of its own for an answer.
            ask_for_a_whole(lab, spare=True)
            if lab.can("write"):
                client.write(LEDGER, {"entry": canary(lab)})
            lab.hold(fault, max(0.0, fault.began + 2.5 * lab.deadline - lab.history.now()))
        lab.recovers(after=fault)
        # A refused read, a look at the token, a login and the read again: each takes nearly half
        # of the time that the call has for all of them.
        with (
            lab.network.slow(latency=0.45 * lab.deadline) as slow,
            ExitStack() as losses,
            # Chosen from when on no answer comes at once: none replaces it in that moment.
            lab.vault.token_revoked(accessor_in_use(lab, at=slow.began)) as lost,
        ):
            # Who answers from memory meets it when it looks again; its call has its time then.
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
    """Have a key changed whose read and whose write are late: either is in time, not both.

    Who has Vault merge its change reads nothing, and has done it in time.
    """
    where, by = f"*/data/{LEDGER}", ALONE * lab.deadline
    with (
        lab.http.delay("read", by=by, path=where) as read,
        lab.http.delay("write", by=by, path=where) as written,
    ):
        read.optional = written.optional = True  # it may give up before it has come to the write
        lab.client.update(LEDGER, {"entry": canary(lab)})


BIG_PATH = "backend/celery"

NARROW, TOO_BIG = 2, 3
"""Kilobytes a second, and how many of a call's deadlines a big secret takes at that."""

HUGE_PATH, HUGE_KEY = "backend/keystore", "KEYSTORE"

LETTER, HUGE = "\u20ac", 100_000
"""A letter of three bytes, and how many of them a huge secret has: they come in many pieces."""


@pytest.mark.scenario("NET-09")
def test_narrow_network(lab: Lab) -> None:
    """Two kilobytes a second: small secrets come through, a big one later; at last a huge one."""
    client = lab.start()
    big = "x" * int(TOO_BIG * lab.deadline * NARROW * 1000)
    lab.put("v1", path=BIG_PATH, key="SMALL", also={"BIG": big})
    with lab.network.narrow(rate=NARROW) as fault:
        client.read(BIG_PATH, "SMALL")
        bound = 2 * lab.deadline + lab.recovery
        lab.until_good_read_by_asking(within=bound)
    with lab.reading(every=0.5, path=BIG_PATH, key="SMALL"):  # now there is time for all of it
        lab.recovers(after=fault, path=BIG_PATH)
    _read_what_comes_in_many_pieces(lab)
    lab.judge(
        # From memory, where it has been read before, a value may come at once.
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        same_token(since=fault.began),
        recovers_within(bound, since=fault.began, path="backend/django"),
    )


def _read_what_comes_in_many_pieces(lab: Lab) -> None:
    """Have 300 kB read in each way, where the end of a piece mostly lies within a letter."""
    lab.put("v1", path=HUGE_PATH, key=HUGE_KEY, value=LETTER * HUGE)
    since, bound = lab.history.now(), lab.recovery
    for way in every_way(lab):
        read = lab.client.ask(way, HUGE_PATH, HUGE_KEY)
        while read.failed and read.outcome != "died" and lab.history.now() < since + bound:
            lab.watch(0.2)
            read = lab.client.ask(way, HUGE_PATH, HUGE_KEY)
        if read.failed:
            promise, text = "a secret of 300 kB is read", f"{way} ended {read.told}"
            found = Finding(promise, text, since, rests_on=(), until=read.ended, lacks=True)
            lab.note(found)
