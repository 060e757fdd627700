"""The seal: short, longer than the token, and from the start."""

from __future__ import annotations

from itertools import pairwise

import pytest

from vault_harness.faults import Fault
from vault_harness.faults.answers import HTML, a_page
from vault_harness.scenario import History, Lab, Operation
from vault_harness.scenario.driver import Driver
from vault_harness.scenario.helpers import (
    ask_for_a_whole,
    callers_if_started,
    footprint_at_rest,
    left_behind,
    processor_time,
    reading_in_each_way,
    recovers_in_each_way,
    start_meanwhile,
    uninitialised,
    vault_gone,
    works_after_all,
)
from vault_harness.scenario.herd import all_served, herd_reading, open_herd, open_light_herd
from vault_harness.scenario.oracles import (
    EVERY_WAY,
    HANDOVER,
    Oracle,
    asks_no_more_than_before,
    at_most,
    came_through,
    each_caller_recovers,
    failures_are,
    log_has_pauses,
    logins_are_spread,
    logins_at_most,
    no_connection_storm,
    no_request_storm,
    no_stampede,
    none_of,
    recovers_within,
    renewed_or_replaced,
    replaced_in_turn,
    same_token,
    still_waiting,
    takes_at_most,
)

LONG_SEAL = 30.0
"""Seconds: a pause that doubles from 0.1 s and has no cap is longer than 12 s by then."""

SPARE = 6
"""What a client may hold more of after a fault than before, without leaking."""

AGAIN_AND_AGAIN = 8
"""Seals, more than SPARE: one thing that each of them leaves behind shows."""

LOGS_IN_TOO = 1.0
"""Seconds after the login, and a good read, in which whoever wakes later may log in as well."""

WHO_ALL_NEED_ONE = 5
"""Callers who find the token ended by its own clock, which no answer of Vault's has told them."""


@pytest.mark.scenario("SEA-01")
def test_short_seal_costs_no_login(lab: Lab) -> None:
    """Sealed for 0.05 of the token's life, over before anybody's turn to log in, under reads."""
    lab.start()
    with reading_in_each_way(lab, every=0.5):
        lab.watch(0.5)
        with lab.vault.sealed() as fault:
            lab.hold(fault, 0.05 * lab.ttl)
            watched = lab.history.now()
            ask_for_a_whole(lab)  # a secret without its keys is a wrong value
        recovers_in_each_way(lab, after=fault)
    lab.judge(
        failures_are(
            "unavailable",
            since=fault.began,
            until=fault.end,
            verbs=EVERY_WAY,  # what is sealed away is neither missing nor denied
            may_be_empty=True,
        ),
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=watched),
        log_has_pauses(lab.log_times(), since=fault.began, until=fault.end),
    )


@pytest.mark.scenario("SEA-02")
def test_long_seal_costs_one_login(lab: Lab) -> None:
    """Sealed for longer than the token can live, under reads of callers who all need the next."""
    lab.start()
    with lab.reading(every=0.5, callers=WHO_ALL_NEED_ONE):
        lab.watch(0.5)
        with lab.vault.sealed() as fault:
            lab.hold(fault, 1.2 * lab.ttl)
        lab.recovers(after=fault)
        lab.logs_in_again(since=fault.began, within=fault.length + lab.recovery_after(fault))
        lab.watch(LOGS_IN_TOO)
        end = lab.history.now()
    lab.judge(
        logins_at_most(
            1, since=fault.began, until=end, accepted=True, due=0.3, in_vain=lab.deadline
        ),
        no_request_storm(since=fault.began, until=fault.end),
    )


@pytest.mark.scenario("SEA-03")
def test_start_against_a_sealed_vault(lab: Lab) -> None:
    """Sealed before its start, then 500, 429 and a page for logins; it may wait, or not start."""
    with lab.vault.sealed() as fault:
        opened = start_meanwhile(lab)
        lab.watch(2.0)
        # A slow starter has not asked yet.
        lab.history.wait_for(lambda: lab.touched(fault), lab.asks_within)
        with (
            callers_if_started(lab, fault, every=0.5, callers=1),
            lab.http.fail("login", status=500) as failing,
            lab.http.fail("login", status=429, every=2) as full,
            lab.http.fail("login", nth=3, status=403, body=a_page(403), headers=HTML) as page,
        ):
            for one in (failing, full, page):
                one.optional = True  # its next try may come later
            lab.watch(4.0)
    bound = works_after_all(lab, fault, opened)
    lab.judge(
        # None of them says anything of its secret-id.
        failures_are(
            "unavailable",
            since=fault.began,
            until=fault.end,
            may_be_empty=True,
            but=lambda call: _met(lab.history, page, call),
        ),
        recovers_within(bound, since=fault.end),
        no_request_storm(since=fault.began, until=fault.end),
        steady=lab.started,
    )


def _met(history: History, page: Fault, call: Operation) -> bool:
    """Whether a login in that call's time was answered so: how it is called is left open."""
    mark = page.signature.interference
    logins = history.find("login", since=call.began, until=call.ended)
    return any(login.interference == mark for login in logins)


@pytest.mark.scenario("SEA-07")
def test_start_against_an_empty_vault(lab: Lab) -> None:
    """Nobody has initialised the Vault that the subject finds; then it is led to the right one."""
    with uninitialised(lab) as fault:
        opened = start_meanwhile(lab)
        lab.watch(3.0)
        # A slow starter has not asked yet.
        lab.history.wait_for(lambda: lab.touched(fault), lab.asks_within)
        lab.watch(1.0)
    bound = works_after_all(lab, fault, opened)
    lab.judge(
        failures_are("unavailable", since=fault.began, until=fault.end, may_be_empty=True),
        recovers_within(bound, since=fault.end),
        no_request_storm(since=fault.began, until=fault.end),
        steady=lab.started,
    )


@pytest.mark.scenario("SEA-04")
def test_repeated_seals_leave_nothing_behind(lab: Lab) -> None:
    """Sealed and unsealed eight times under reads; threads, files and connections stay few."""
    lab.start()
    with lab.reading(every=0.4, callers=2):
        lab.watch(0.5)
    before = footprint_at_rest(lab)
    began = lab.history.now()
    for _ in range(AGAIN_AND_AGAIN):
        with lab.reading(every=0.4, callers=2):
            with lab.vault.sealed() as fault:
                lab.hold(fault, 0.5)
            lab.recovers(after=fault)
    more = left_behind(lab, before, spare=SPARE)
    lab.judge(
        none_of("seals leave nothing behind", more),
        at_most(1 + replaced_in_turn(lab.history), lab.tokens_alive(), "tokens alive"),
        same_token(since=began),
    )


SOON = 3.0
"""Seconds beyond what its first start took in which another must start, to be ended before its
first token; who takes longer is not asked.
"""

SEALS = 3
"""After so many a loop for each of them has quadrupled what one does, which no chance does."""

OPEN = 2
"""Connections that may stay open after the seals and did not before: a pool has some to spare."""

SPINS = 0.25
"""Of a core, more than before the seals: a loop that waits for what has come long since, or reads a
channel that is closed, takes all of one, and what others leave of it on a busy machine. A client
that is asked twice a second takes a hundredth.
"""

ASKED = 2
"""Requests in a calm time without which nothing shows whether a client asks for more."""

LONG = 30.0
"""Seconds of a declared refresh time that calm times, and who comes back, are given at most."""


@pytest.mark.scenario("SEA-11")
def test_seals_leave_no_loop_behind(lab: Lab) -> None:
    """Three seals cost a token each, between a life of one before them and a life after them."""
    lab.start()
    calm = max(lab.ttl, min(lab.refresh, LONG))
    before, open_before, spent_before = _calm_life(lab, calm)
    seals: list[Fault] = []
    losses: list[Fault] = []
    with lab.reading(every=0.5):
        for number in range(SEALS):
            with lab.vault.token_revoked(lab.accessor()) as lost, lab.vault.sealed() as fault:
                lost.optional = True  # who drops it in a seal meets its end no more
                seals.append(fault)
                losses.append(lost)
                lab.hold(fault, 0.0)
                # Long enough for a call to end in vain; from memory it may be answered well.
                lab.until(lambda: _call_failed(lab, seals[-1]), within=0.4 * lab.ttl)
                if number == 0:
                    # The first one lasts until a renewal is due, for who makes any.
                    lab.until(lambda: _refused_on_its_own(lab, seals[0]), within=0.5 * lab.ttl)
            # Who finds at its next renewal only that its token is lost has until then.
            bound = lab.ttl + lab.recovery_after(fault)
            lab.recovers(after=fault, within=bound)
            # Who answers from memory and polls less often than a token lives reads when it polls.
            polls = calm if calm > lab.ttl else 0.0
            if not lab.until(
                lambda: _is_back(lab, lost=losses[-1], seal=seals[-1]), within=bound + polls
            ):
                break
    after, open_after, spent_after = _calm_life(lab, calm)
    # By the losses: on a busy machine one may be met, and made good, before its seal begins.
    moments = [*(lost.began for lost in losses), after[0]]
    lab.require(
        f"a new token after each of {SEALS} seals", lambda history: _replaced(history, moments)
    )
    lab.require(
        f"{ASKED} requests in either calm time",
        lambda history: all(
            len(history.find(since=a, until=b)) >= ASKED for a, b in (before, after)
        ),
    )
    alive = _kept_alive(lab, after)
    if _replaced(lab.history, moments) and not _kept_alive(lab, before)(lab.history):
        lab.ask(alive)  # of whoever did so before the seals
    lab.judge(
        asks_no_more_than_before(before, after),
        at_most(open_before + OPEN, open_after, "connections that stay open"),
        at_most(
            spent_before + SPINS * calm, spent_after, "seconds of a processor in so calm a life"
        ),
    )


def _kept_alive(lab: Lab, calm: tuple[float, float]) -> Oracle:
    """The token that there is when a calm time begins is renewed, or replaced, before its end.

    Whoever was granted a longer life than that time is finds no fault.
    """
    last = lab.history.find("login", "renew", until=calm[0], where=came_through)[-1]
    granted = last.ended or last.began
    ends = granted + (last.ttl or lab.ttl)
    if ends > calm[1]:
        return none_of("the token is renewed, or replaced, before its end", ())
    return renewed_or_replaced(since=granted, before=ends)


def _calm_life(lab: Lab, length: float) -> tuple[tuple[float, float], int, float]:
    """A life of a new token, under a steady reader: when, and what it leaves and costs.

    Returns:
        Its beginning and its end, the connections that stay open, and the seconds of a processor
        that it took, 0 of who has no process of its own.
    """
    with lab.reading(every=0.5):
        lab.watch(0.3)  # some renew a new token at once, to learn its TTL
        began, used = lab.history.now(), processor_time(lab)
        lab.watch(length)
        spent = (processor_time(lab) or 0.0) - (used or 0.0)
    lab.watch(0.3)  # a connection of the last call may be about to end
    return (began, began + length), lab.recorder.open_connections(), max(0.0, spent)


def _call_failed(lab: Lab, seal: Fault) -> bool:
    """Whether a call has met that seal and given no fresh value."""
    calls = lab.history.calls("read", since=seal.began)
    return any(call.ended is not None and not call.good for call in calls)


def _refused_on_its_own(lab: Lab, seal: Fault) -> bool:
    """Whether a renewal or a login has met that seal."""
    return bool(
        lab.history.find("renew", "login", since=seal.began, where=lambda e: e.status == 503)
    )


def _is_back(lab: Lab, *, lost: Fault, seal: Fault) -> bool:
    """Whether Vault has given it a token since that loss, and a secret after that and the seal.

    Or the number of its version, for who asks for that first, and has that one.
    """
    logins = lab.history.logins(since=lost.began)
    if not logins:
        return False
    since = max(logins[0].began, seal.end)
    return bool(lab.history.find("read", "metadata", since=since, where=lambda e: e.good))


def _replaced(history: History, moments: list[float]) -> str:
    """When there was a login after each seal, by when those began and the calm after the last."""
    if len(moments) != SEALS + 1:
        return ""
    logins = [history.logins(since=a, until=b) for a, b in pairwise(moments)]
    return ", ".join(f"+{found[0].began:.2f} s" for found in logins) if all(logins) else ""


HERD = 20


@pytest.mark.scenario("SEA-05")
def test_herd_comes_back_without_a_stampede(lab: Lab) -> None:
    """Twenty instances are sealed off for longer than their tokens live: all need a login then."""
    herd = open_herd(lab, HERD)
    pace = 2.0
    with herd_reading(lab, herd, every=pace):
        lab.watch(0.5)
        with lab.vault.sealed() as fault:
            lab.hold(fault, 1.2 * lab.ttl)
        # A caller whose call has just failed comes again after its pace.
        bound = lab.recovery_after(fault) + pace
        lab.ask(each_caller_recovers(bound, since=fault.end))
        lab.until(
            lambda: not still_waiting(lab.history, since=fault.end), within=bound + lab.deadline
        )
        lab.watch(pace)
    lab.require(
        "a seal that outlasts the tokens",
        lambda _: f"{fault.length:.1f} s" if fault.length > lab.ttl else "",
    )
    lab.judge(
        logins_at_most(
            HERD + _given_up(lab, fault),
            since=fault.began,
            accepted=True,
            due=0.3,
            holders=HERD,
        ),
        logins_are_spread(HERD, since=fault.began),
        no_stampede(HERD, since=fault.end, before=fault.began),
        no_request_storm(since=fault.began, until=fault.end),
    )


def _given_up(lab: Lab, fault: Fault) -> int:
    """Calls that ended in vain once logins were accepted again: each may have missed one of them.

    A call that began under the seal asks for a login until its time is up; what Vault grants in
    that moment reaches nobody, and the next call needs another one.
    """
    accepted = lab.history.logins(since=fault.began)
    if not accepted:
        return 0
    again = accepted[0].began
    return len(lab.history.calls(where=lambda c: c.failed and (c.ended or 0.0) >= again))


LIGHT_HERD = 200

LIGHT_BUNCH = 0.6
"""Of two hundred whose pauses are a second at most, and chance all of them (full jitter), 104 come
within 0.3 s, seven more or less: 121 once in a hundred times, and in the second try as well once in
ten thousand. Of those that come at one moment there come as many as there is time to send, on a
busy machine 129.
"""


@pytest.mark.scenario("SEA-10")
def test_light_herd_comes_back_in_time(lab: Lab) -> None:
    """Two hundred clients of one process are sealed off for longer than their tokens live."""
    herd = open_light_herd(lab, LIGHT_HERD)
    # Two hundred calls a second, of who declares a short deadline, are more than a machine can do.
    pace = max(lab.deadline, lab.entry.deadline)
    with herd_reading(lab, herd, every=pace):
        lab.watch(0.5)
        with lab.vault.sealed() as fault:
            lab.hold(fault, lab.ttl)
        bound = lab.recovery_after(fault) + pace
        lab.ask(each_caller_recovers(bound, since=fault.end))
        all_served(lab, since=fault.end, within=bound + lab.deadline)
        lab.watch(1.0)
    lab.require(
        "a seal that outlasts the tokens",
        lambda _: f"{fault.length:.1f} s" if fault.length > lab.ttl else "",
    )
    lab.judge(
        logins_at_most(
            LIGHT_HERD + _given_up(lab, fault),
            since=fault.began,
            accepted=True,
            due=0.3,
            holders=LIGHT_HERD,
        ),
        logins_are_spread(LIGHT_HERD, since=fault.began, share=LIGHT_BUNCH),
        no_request_storm(since=fault.began, until=fault.end),
    )


@pytest.mark.scenario("SEA-06")
def test_killed_server_comes_back_sealed(lab: Lab) -> None:
    """SIGKILL, connections refused, started again, sealed, and unsealed at last, under reads."""
    lab.start()

    def unseal_late() -> None:
        lab.watch(1.5)
        lab.stack.operator.unseal(lab.stack.keyring)

    with lab.reading(every=0.5):
        with lab.process.server_killed(lab.stack.node, revive=unseal_late) as fault:
            lab.hold(fault, 1.5)
        lab.recovers(after=fault)
    lab.judge(
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=fault.end),
        # A dead server answers none: what it is asked is seen by the connections alone.
        no_connection_storm(since=fault.began, until=fault.end),
    )


@pytest.mark.scenario("SEA-09")
def test_seal_that_outlasts_all_tries(lab: Lab) -> None:
    """Sealed for half a minute under reads, for a pause that doubles until it has no end."""
    lab.start()
    with lab.reading(every=0.5):
        lab.watch(0.5)
        with lab.vault.sealed() as fault:
            used = processor_time(lab)
            lab.hold(fault, LONG_SEAL)
            spent = (processor_time(lab) or 0.0) - (used or 0.0)
        lab.recovers(after=fault)
        lab.watch(LOGS_IN_TOO)
        end = lab.history.now()
    lab.judge(
        logins_at_most(
            1, since=fault.began, until=end, accepted=True, due=0.3, in_vain=lab.deadline
        ),
        no_request_storm(since=fault.began, until=fault.end),
        # Who has no process of its own has used none that could be told.
        at_most(BUSY * fault.length, spent, "seconds of a processor while Vault is sealed"),
    )


BUSY = 0.25
"""Of a core, for who waits until a seal is over: a loop that asks nobody takes all of one."""


@pytest.mark.scenario("SEA-08")
def test_end_while_sealed(lab: Lab) -> None:
    """Vault is gone when the subject is ended, sealed when another is, and one started under it."""
    once = lab.start()
    with vault_gone(lab) as gone:
        gone.optional = True  # who knows that its connection has ended need not open another
        _ends_cleanly(lab, once)
    client = lab.start()
    with lab.vault.sealed() as fault:
        client.read()
        lab.hold(fault, 0.0)
        _ends_cleanly(lab, client)
        # One that is started now has no token yet, and may be busy asking for one.
        first = lab.history.calls("start")[0]
        took = (first.ended or first.began) - first.began
        if (late := lab.open(timeout=took + SOON)) is not None:
            late.read()
            # Of a program that does not say that it has begun its first request tells: before that
            # it may not know a signal yet.
            began = lab.history.calls("start")[-1].began
            lab.until(lambda: bool(lab.history.find(since=began)), within=SOON)
            _ends_cleanly(lab, late)
        else:
            lab.history.mark("no end without a token: it does not start while Vault is sealed")
    lab.judge(steady=False)


def _ends_cleanly(lab: Lab, client: Driver) -> None:
    """End a client, and ask later whether it did so well and in time."""
    closed = client.close(timeout=5.0, beyond=5.0)
    ended = closed.ended or lab.history.now()
    code = client.subject.exit_code
    lab.judge_later(
        takes_at_most(5.0 + HANDOVER, "until it has ended", since=closed.began, until=ended),
        none_of("it ends cleanly", {closed.told} if closed.failed else (), at=closed.began),
        none_of("its exit code is 0", {f"it is {code}"} if code else (), at=ended),
    )
