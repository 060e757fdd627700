"""Secret-ids: rotated, destroyed, delivered late, and a role that is locked."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from vault_harness.faults import Fault
from vault_harness.faults.answers import HTML, JSON, QUOTA, a_page
from vault_harness.scenario import Exchange, Finding, Lab, NotExercised, Stub
from vault_harness.scenario.driver import Driver
from vault_harness.scenario.helpers import (
    ask_for_a_whole,
    await_start,
    callers_if_started,
    lockout,
    lost_until_met,
    served_while_its_token_lives,
    start_meanwhile,
    started_again,
    tries_meanwhile,
    turns,
    works_after_all,
)
from vault_harness.scenario.lab import ROLE
from vault_harness.scenario.oracles import (
    EVERY_WAY,
    HANDOVER,
    Oracle,
    bad_logins_at_most,
    fails_as,
    failures_are,
    last_pause,
    logins_with_one_secret_id_at_most,
    no_failed_read,
    no_request_storm,
    none_of,
    recovers_within,
    requests_at_most,
)
from vault_harness.vault import approle

TRIES = 4
"""One less than the failures that lock an AppRole for everybody for 15 minutes."""

WHO_ALL_NEED_ONE = 5
"""Callers who need a login at the same time: none may make a try of its own of it."""

RESTS = 4.0
"""Lives of a token for which a client is watched after one burst of tries, which tells nothing of
how long it rests until the next.
"""

LATE = 0.15
"""Seconds by which a login's answer is late, so that all have asked before one is refused."""


@pytest.mark.scenario("SID-01")
def test_rotated_secret_id_is_used(lab: Lab) -> None:
    """A new secret-id replaces the file, the old one is destroyed, and a token passes."""
    lab.start()
    old = lab.secret_id
    with lab.reading(every=0.25):
        lab.new_secret_id()
        lab.watch(0.5)  # a login that took the old one a moment ago may still be on its way
        with lab.vault.secret_id_destroyed(ROLE, old.accessor, optional=True) as fault:
            lab.logs_in_again(since=fault.began, within=lab.ttl)
            lab.watch(0.2 * lab.ttl)
    lab.judge(no_failed_read(), bad_logins_at_most(0, since=fault.began))


@pytest.mark.scenario("SID-02")
def test_destroyed_secret_id_is_not_hammered(lab: Lab) -> None:
    """The secret-id is destroyed, no new one comes, the token ends, and five go on calling."""
    client = lab.start()
    with (
        lab.http.delay("login", by=LATE),
        lab.reading(every=0.5, callers=WHO_ALL_NEED_ONE),
        lab.vault.secret_id_destroyed(ROLE, lab.secret_id.accessor) as fault,
    ):
        _watch_the_tries(lab, fault)
        watched = lab.history.now()
        looked, locked = lab.history.now(), lockout(lab)
        if lab.can("health") and _says_well(lab, client, told=_first_refused(lab, fault)):
            lab.note(Finding("health tells the truth", "it says well, without any token", watched))
    lab.judge(
        bad_logins_at_most(TRIES, watched=watched),
        _no_secret_is_missing(since=fault.began, until=watched),
        none_of("the role is not locked for everybody", locked, harm=True, at=looked),
        steady=False,
        no_closing="there is no secret-id that Vault takes",
    )


def _first_refused(lab: Lab, fault: Fault) -> float:
    """When a client was first told that its login is refused; now, if it never was."""
    refused = lab.history.find("login", since=fault.began, where=lambda e: e.status == 400)
    return refused[0].ended or refused[0].began if refused else lab.history.now()


def _says_well(lab: Lab, client: Driver, *, told: float) -> bool:
    """Whether it says that it is well, once it has had a look of its own since it was told better.

    Who looks seldom, and says how its last look went, says so for as long as it declares.
    """
    left = told + lab.refresh + 1.0 - lab.history.now()
    if left > 0 and turns(lab, well=False, within=left, every=1.0):
        lab.watch(1.0)  # what it has learnt is so still
    return client.healthy()


def _no_secret_is_missing(*, since: float, until: float) -> Oracle:
    """While Vault takes no login nobody knows whether a secret is there, nor what is in it."""
    return failures_are(
        "denied", "unavailable", since=since, until=until, verbs=EVERY_WAY, may_be_empty=True
    )


def _watch_the_tries(lab: Lab, fault: Fault) -> None:
    """Wait for the first refusal, and then until the tries have stopped or are too many.

    A life and a half of a token after the first refusal at least; longer where the last pause may
    be going on, for who makes longer ones and then stops: what comes later than that is told by the
    pace of the last two tries. Who has tried several times at once may rest for long before it
    does so again, and is given the time for that.
    """

    def refused() -> list[float]:
        return [
            e.began
            for e in lab.history.find("login", since=fault.began, where=lambda e: e.status == 400)
        ]

    def quiet() -> bool:
        tries = refused()
        if len(tries) > TRIES:
            return True
        if (pause := last_pause(tries)) is not None:
            rest = 2 * pause
        else:
            rest = RESTS * lab.ttl if len(tries) > 1 else 0.0
        return lab.history.now() - tries[-1] > rest

    lab.history.wait_for(lambda: bool(refused()), 1.5 * lab.ttl)
    if refused():
        lab.history.wait_for(lambda: len(refused()) > TRIES, 1.5 * lab.ttl)
        lab.history.wait_for(quiet, 6 * lab.ttl)


@pytest.mark.scenario("SID-03")
def test_late_secret_id_is_used(lab: Lab) -> None:
    """As SID-02, but a new secret-id comes once it is seen how often the old one is tried."""
    lab.start()
    born = lab.history.logins()[-1]
    with lab.reading(every=0.5):
        with lab.vault.secret_id_destroyed(ROLE, lab.secret_id.accessor) as fault:
            _watch_the_tries(lab, fault)
            watched = lab.history.now()
            lab.new_secret_id()
        lab.recovers(after=fault)
        looked, locked = lab.history.now(), lockout(lab)
    ends = (born.ended or born.began) + lab.ttl
    served_while_its_token_lives(lab, since=fault.began, ends=ends)
    lab.judge(
        bad_logins_at_most(TRIES, watched=watched),
        none_of("the role is not locked for everybody", locked, harm=True, at=looked),
    )


@pytest.mark.scenario("SID-04")
def test_locked_role_is_waited_out(lab: Lab) -> None:
    """A locked role, and the token is lost; the first login is never answered; it is unlocked."""
    lab.start()
    with lab.reading(every=0.5):
        with (
            # Whoever waits for that answer for ever has no token either once the role is unlocked.
            lab.http.lose_answer("login", first=1, by=NEVER),
            lab.vault.role_locked(ROLE) as fault,
            lab.vault.token_revoked(lab.accessor()),
        ):
            since = lab.history.now()
            ask_for_a_whole(lab)  # which is none that has nothing in it
            lab.watch(since + 4.0 - lab.history.now())
            # Who answers from memory needs a login only at its token's next renewal.
            lab.history.wait_for(lambda: bool(_told_of_the_lock(lab, since)), lab.ttl)
            lab.watch(1.0)
        lab.recovers(after=fault)
    lab.judge(
        # As in a storm: one peak, and one a second.
        requests_at_most(5 + int(fault.length), "login", since=fault.began, until=fault.end),
        no_request_storm(since=fault.began, until=fault.end),
        _no_secret_is_missing(since=fault.began, until=fault.end),
    )


NEVER = 600.0
"""Seconds by which an answer is late: whoever waited for it is not there any more."""


def _told_of_the_lock(lab: Lab, since: float) -> list[Exchange]:
    """The logins of which the subject has heard that they are refused."""
    return lab.history.find(
        "login", since=since, where=lambda e: e.status == 403 and e.interference is None
    )


@pytest.mark.scenario("SID-05")
def test_secret_id_that_expires_is_replaced_in_time(lab: Lab) -> None:
    """Secret-ids live shorter than tokens, and come in time; then one is late, and one more."""
    life, pace = int(0.4 * lab.ttl), 0.25 * lab.ttl
    lab.start()  # with one that has no end: a start may take longer than the others live
    first = lab.secret_id
    with lab.vault.role(ROLE, secret_id_ttl=f"{life}s"), lab.reading(every=0.25):
        lab.new_secret_id()
        delivered = lab.history.now()
        lab.watch(0.5)  # a login that took the first a moment ago may still be on its way
        with lab.vault.secret_id_destroyed(ROLE, first.accessor, optional=True) as destroyed:
            lab.watch(delivered + pace - lab.history.now())
        began = destroyed.began
        while not lab.history.logins(since=began) and lab.history.now() < began + lab.ttl:
            lab.new_secret_id()
            lab.until(lambda: bool(lab.history.logins(since=began)), within=pace)
        lab.logs_in_again(since=began, within=lab.ttl)
        replaced = lab.history.now()
        with lab.condition(
            "secret-id expired", statuses=frozenset({400}), kinds=frozenset({"login"})
        ) as expired:
            _watch_the_tries(lab, expired)
            watched = lab.history.now()
            # One that lives on: who comes for it after a pause must not find it expired too.
            with lab.vault.role(ROLE, secret_id_ttl="600s"):
                lab.new_secret_id()
        lab.recovers(after=expired)
    with lab.reading(every=0.25):  # the role gives secret-ids without an end again
        _gets_over_the_next_one(lab, since=watched)
        looked, locked = lab.history.now(), lockout(lab)
    lab.judge(
        no_failed_read(until=replaced),
        bad_logins_at_most(0, until=replaced),
        bad_logins_at_most(TRIES, watched=watched),
        none_of("the role is not locked for everybody", locked, harm=True, at=looked),
    )


def _gets_over_the_next_one(lab: Lab, *, since: float) -> None:
    """Another secret-id is refused, and the one after it is used as the one before it was.

    Args:
        lab: The scenario; callers must go on reading.
        since: A login that came after this shows that the client has got over the last one. Who
            answers from memory and has not needed any by now is not asked.
    """
    if not lab.until(
        lambda: bool(lab.history.logins(since=since)), within=lab.recovery + lab.refresh
    ):
        lab.history.mark("not asked for one more refused secret-id: it has no token yet")
        return
    with (
        lab.vault.secret_id_destroyed(ROLE, lab.secret_id.accessor) as refused,
        lab.vault.token_revoked(lab.accessor()) as lost,
    ):
        lost.optional = True  # whose login is refused has met enough
        # Who answers from memory needs a login only at its token's next renewal.
        lab.until(lambda: lab.touched(refused), within=lab.ttl)
        lab.new_secret_id()
        delivered = lab.history.now()
    # So short a fault does not tell how long who was refused may rest.
    lab.until_good_read(since=delivered, within=lab.recovery)
    lab.logs_in_again(since=delivered, within=lab.recovery + lab.refresh)
    lab.judge_later(recovers_within(lab.recovery, since=delivered))


@pytest.mark.scenario("SID-06")
def test_secret_id_of_one_use_is_used_once(lab: Lab) -> None:
    """Each secret-id is good for one login; a new one is delivered before the token is lost."""
    lab.start()
    with contextlib.ExitStack() as callers:
        callers.enter_context(lab.reading(every=0.25))
        for _ in range(5):
            # Who logs in anew in place of renewing needs one each time, at 0.3 of a life or later.
            lab.new_secret_id()
            lab.watch(NOBODYS_TURN * lab.ttl)
        lab.new_secret_id()
        with (
            contextlib.ExitStack() as losses,
            lab.vault.token_revoked(lab.accessor()) as fault,
        ):
            # A login in its turn, which met nothing, has used the secret-id that is there.
            refused = lost_until_met(lab, losses, fault, before_another=lab.new_secret_id)
            met = lab.history.now()
        bound = lab.recovery_after(fault)
        # A read may have been refused before whoever revokes it has his answer.
        lab.logs_in_again(since=refused, within=met - refused + bound)
        with _one_for_each_turn(lab):
            lab.until_good_read(since=met, within=bound)
            lab.watch(0.5)
            callers.close()
            lab.judge(
                logins_with_one_secret_id_at_most(1),
                bad_logins_at_most(0),
                recovers_within(bound, since=met),
            )


NOBODYS_TURN = 0.24
"""Of a life: so often a secret-id comes for who logs in from 0.3 of each on."""


@contextlib.contextmanager
def _one_for_each_turn(lab: Lab) -> Iterator[None]:
    """Go on delivering secret-ids: who sees changes late has more than one turn before its end."""
    over, failures = threading.Event(), list[Exception]()

    def deliver() -> None:
        try:
            while not over.is_set():
                lab.new_secret_id()
                over.wait(NOBODYS_TURN * lab.ttl)
        except Exception as error:  # noqa: BLE001 - passed on below: without one no client can log in
            failures.append(error)

    postman = threading.Thread(target=deliver, name="secret-ids", daemon=True)
    postman.start()
    try:
        yield
    finally:
        over.set()
        postman.join(timeout=10.0)
        if failures:
            raise failures[0]


@pytest.mark.scenario("SID-07")
def test_lost_answer_to_a_login(lab: Lab) -> None:
    """For a moment answers to logins vanish, and their uses are gone; the secret-id has three."""
    with lab.http.lose_answer("login") as fault:
        opened = start_meanwhile(lab)
        tried = tries_meanwhile(lab, opened, lambda: bool(lab.history.logins()), within=10.0)
        lab.watch(0.4)
    await_start(lab, opened)
    if not tried:
        raise NotExercised("the subject did not log in when it was started and asked to read")
    took = started_again(lab)
    bound = lab.recovery_after(fault)
    if lab.started:
        lab.until_good_read_by_asking(within=bound)
    lab.judge(
        logins_with_one_secret_id_at_most(3),
        bad_logins_at_most(0),
        recovers_within(bound + took, since=fault.end),
    )


@pytest.mark.scenario("SID-08")
def test_secret_id_file_in_the_making(lab: Lab) -> None:
    """Half written at its start; then empty, gone, half written, and a token is lost each time."""
    if not _starts_with_half_a_secret_id(lab):
        lab.judge(bad_logins_at_most(TRIES), steady=False)
        return
    whole = lab.new_secret_id(deliver=False)
    lab.secrets.add("secret-id", "", "an empty secret-id")
    half = whole.secret_id[:13]
    lab.secrets.add("secret-id", half, "half a secret-id")
    steps = (("emptied", ""), ("gone", None), ("half written", half))
    met = 0.0
    # No step is a fault of its own: who has longer and longer pauses has made them in all of them.
    with lab.reading(every=0.4):
        with lab.condition("secret-id file in the making", optional=True) as making:
            for words, content in steps:
                if content is None:
                    lab.secret_id_file.unlink()
                else:
                    lab.secret_id_file.touch(0o600)
                    lab.secret_id_file.write_text(content)
                lab.history.mark(f"the secret-id file is {words}")
                with (
                    contextlib.ExitStack() as losses,
                    lab.vault.token_revoked(lab.accessor()) as lost,
                ):
                    lost.optional = True  # who lost the one before may have none
                    # Without a secret-id it may log in by the one that it has kept.
                    if lab.history.logins(since=met):
                        met = lost_until_met(lab, losses, lost)
                    lab.watch(1.2)
        lab.deliver(whole)
        delivered = lab.history.now()
        bound = lab.recovery_after(making)
        lab.until_good_read(since=delivered, within=bound)
    blind = lab.history.find(
        "login", where=lambda e: e.secret_id in (None, "an empty secret-id") and e.by == "vault"
    )
    lab.judge(
        none_of("no login without a secret-id", {f"one at +{e.began:.2f} s" for e in blind}),
        bad_logins_at_most(TRIES),
        recovers_within(bound, since=delivered),
    )


AT_ITS_START = 2.0
"""Seconds for which somebody reads of who is refused when it starts: as often as it tries by itself
once it is told, it tries in them."""


def _starts_with_half_a_secret_id(lab: Lab) -> bool:
    """Start the subject with a secret-id that Vault refuses, and let the right one come.

    It may refuse to start, or wait with its start until then. Who sees that it is half of one need
    not try it.

    Returns:
        Whether it reads once the right one is there.
    """
    good = lab.secret_id
    half = good.secret_id[:8]  # up to its first hyphen: it does not look like half of anything
    lab.secrets.add("secret-id", half, "half a secret-id at its start")
    lab.deliver(approle.SecretId(secret_id=half, accessor=""))
    marks = {"statuses": frozenset({400}), "kinds": frozenset({"login"})}
    with lab.condition("a refused secret-id at its start", optional=True, **marks) as refused:
        opened = start_meanwhile(lab)
        with callers_if_started(lab, refused, every=0.3, callers=1):
            lab.until(lambda: lab.touched(refused) or opened.is_set(), within=lab.asks_within)
            lab.watch(AT_ITS_START)
        looked, locked = lab.history.now(), lockout(lab)
        lab.deliver(good)
    lab.require(
        "a login by half a secret-id, or a start or a read that failed for it",
        lambda history: (
            lab.touched(refused)
            or any(o.failed for o in history.calls("start", "read", until=refused.end))
        ),
    )
    bound = works_after_all(lab, refused, opened)
    lab.ask(recovers_within(bound, since=refused.end))
    lab.ask(none_of("the role is not locked for everybody", locked, harm=True, at=looked))
    return any(read.good for read in lab.history.calls("read", since=refused.end))


@pytest.mark.scenario("SID-10")
def test_foreign_wrapping_token_is_not_opened(lab: Lab) -> None:
    """Somebody put a wrapping token of their own into the file: no request for a secret-id."""
    good = lab.wrapping_file.read_text()
    foreign = lab.wrap_foreign(lab.new_secret_id(deliver=False).secret_id)
    lab.deliver_wrapping(foreign)
    with lab.condition("foreign wrapping token") as swapped:
        swapped.optional = True  # a good client sends nothing that shows it
        await_start(lab, start_meanwhile(lab))
        for _ in range(4):
            if lab.started:
                lab.client.read()
            lab.watch(0.5)
    lab.require(
        "a read, or a refusal to start, with the foreign token in the file",
        lambda history: (
            any(o.failed for o in history.calls("start", "read", since=swapped.began))
            or bool(history.find("unwrap", "login", since=swapped.began))
        ),
    )
    used = lab.history.find("unwrap", "login", since=swapped.began, until=swapped.end)
    lab.deliver_wrapping(good)
    if _reads_again(lab, since=lab.history.now(), after=swapped):
        used += _used_of_a_later_one(lab)
    lab.judge(
        none_of(
            "a wrapping token that no request for a secret-id made is neither opened nor used",
            {f"{e.kind} at +{e.began:.2f} s": e.began for e in used},
            harm=True,
        ),
    )


def _used_of_a_later_one(lab: Lab) -> list[Exchange]:
    """A foreign one follows a good one, and the token is lost; what the client uses of it.

    Whether the client goes on with what it has, or is denied until another good one comes, is open.
    """
    inside = lab.new_secret_id(deliver=False).secret_id
    name = "foreign wrapping token after a good one"
    with lab.condition(name) as swapped, lab.reading(every=0.4):
        swapped.optional = True  # a good client sends nothing that shows it
        lab.deliver_wrapping(lab.wrap_foreign(inside))
        with (
            contextlib.ExitStack() as losses,
            lab.vault.token_revoked(lab.accessor()) as lost,
        ):
            met = lost_until_met(lab, losses, lost)
        lab.until(lambda: _has_tried(lab, since=met), within=lab.deadline)
        lab.watch(0.5)  # another try of its
    used = lab.history.find("unwrap", since=swapped.began, until=swapped.end)
    used += lab.history.find(
        "login", since=swapped.began, where=lambda e: e.secret_id == lab.secrets.label(inside)
    )
    lab.deliver_wrapping(lab.wrap_secret_id())
    _reads_again(lab, since=lab.history.now(), after=swapped)
    return used


def _has_tried(lab: Lab, *, since: float) -> bool:
    """Whether it has looked for another token since then, or said in vain that it has none."""
    failed = lab.history.calls("read", since=since, where=lambda o: o.failed)
    return bool(failed or lab.history.find("unwrap", "login", since=since))


@pytest.mark.scenario("SID-09")
def test_lost_answer_to_an_unwrap(lab: Lab) -> None:
    """An answer to an unwrap is lost; a new token comes; another in an outage, and turned away."""
    with lab.http.lose_answer("unwrap", first=1) as fault:
        _start_without_a_secret_id(lab, lost=True)
    lab.deliver_wrapping(lab.wrap_secret_id())
    if _reads_again(lab, since=lab.history.now(), after=fault):
        _opens_it_after_an_outage(lab)
    lab.judge(
        requests_at_most(2, "unwrap", since=fault.began, until=fault.end),
        requests_at_most(0, "login", since=fault.began, until=fault.end),
    )


FOR_AN_UNWRAP = (
    Stub(status=200, body=b'{"message":"maintenance","request_id":"7f5d61c2"}', headers=JSON),
    Stub(status=429, body=QUOTA, headers=JSON),
    Stub(status=502, body=a_page(502), headers=HTML),
)
"""What is answered to the next tries of a wrapping token, which stays closed: by somebody else in
JSON that has a name of Vault's in it, by a quota, by a gateway.
"""


def _opens_it_after_an_outage(lab: Lab) -> None:
    """Started with a good wrapping token while nobody reaches Vault, it opens that afterwards.

    Before it does its first tries are turned away.
    """
    lab.client.close(timeout=5.0)
    lab.deliver_wrapping(lab.wrap_secret_id())
    with contextlib.ExitStack() as others:
        with lab.network.down() as down:
            opened = start_meanwhile(lab)
            # A slow starter has not asked yet.
            lab.history.wait_for(lambda: lab.touched(down), lab.asks_within)
            # Until its call has ended in vain: within one it may try again. Or it waits with its
            # start.
            lab.until(opened.is_set, within=2 * lab.deadline)
            answers = [_nth_unwrap(lab, others, *one) for one in enumerate(FOR_AN_UNWRAP, start=1)]
        if not lab.client.closed:  # who refused to start has nobody to tell
            others.enter_context(lab.reading(every=0.4))
        lab.until(lambda: all(one.touched for one in answers), within=lab.reach)
    # It may have made longer and longer pauses in both.
    away = replace(answers[-1], began=down.began)
    bound = works_after_all(lab, away, opened)
    lab.ask(recovers_within(bound, since=away.end))


def _nth_unwrap(lab: Lab, others: contextlib.ExitStack, number: int, one: Stub) -> Fault:
    """Answer that one so, up to the end of these blocks."""
    answer = others.enter_context(
        lab.http.fail("unwrap", nth=number, status=one.status, body=one.body, headers=one.headers)
    )
    answer.optional = True  # its next try may come later
    return answer


@pytest.mark.scenario("SID-11")
def test_restart_after_the_secret_id_was_opened(lab: Lab) -> None:
    """It is started again with the same wrapping token, has another for two logins, and a third."""
    lab.start().close(timeout=5.0)
    with lab.condition("wrapping token spent", statuses=frozenset({400, 403})) as fault:
        _start_without_a_secret_id(lab)
    lab.deliver_wrapping(lab.wrap_secret_id())
    if _reads_again(lab, since=lab.history.now(), after=fault):
        _logs_in_with_what_it_opened(lab)
        _logs_in_with_the_next_one(lab)
    lab.judge(
        requests_at_most(2, "unwrap", since=fault.began, until=fault.end),
        requests_at_most(0, "login", since=fault.began, until=fault.end),
    )


def _logs_in_with_what_it_opened(lab: Lab) -> None:
    """The token is lost: one more login, by the secret-id that came out of the wrapping token."""
    with lab.reading(every=0.4):
        with (
            contextlib.ExitStack() as losses,
            lab.vault.token_revoked(lab.accessor()) as lost,
        ):
            lost_until_met(lab, losses, lost)
        lab.recovers(after=lost)
    lab.ask(requests_at_most(0, "unwrap", since=lost.began, until=lab.history.now()))


def _logs_in_with_the_next_one(lab: Lab) -> None:
    """Another wrapping token comes, all older secret-ids are destroyed, and the token is lost."""
    old = approle.accessors(lab.operator, ROLE)
    with lab.reading(every=0.4), contextlib.ExitStack() as destroyed:
        since = lab.history.now()
        lab.deliver_wrapping(lab.wrap_secret_id())
        lab.watch(0.5)  # a login that took the old one a moment ago may still be on its way
        for accessor in old:
            destroyed.enter_context(lab.vault.secret_id_destroyed(ROLE, accessor, optional=True))
        with (
            contextlib.ExitStack() as losses,
            lab.vault.token_revoked(lab.accessor()) as lost,
        ):
            lost_until_met(lab, losses, lost)
        lab.recovers(after=lost)
    lab.ask(requests_at_most(1, "unwrap", since=since))
    lab.ask(bad_logins_at_most(0, since=since))


def _start_without_a_secret_id(lab: Lab, *, lost: bool = False) -> None:
    """Start the subject, which cannot get its secret-id, and let it try for a while.

    It may refuse to start. If it does not, its reads fail, and say that it cannot log in. Another
    wrapping token is for afterwards: who is told of it at once opens it in a millisecond.

    Args:
        lab: The scenario.
        lost: Whether Vault's answer was lost: nobody knows then that the wrapping token is spent,
            until Vault refuses it.
    """
    before = len(lab.drivers)
    await_start(lab, start_meanwhile(lab))
    if len(lab.drivers) > before:
        said = lab.history.now()
        for _ in range(4):
            lab.client.read()
            lab.watch(0.5)
        until = lab.history.now()
        if lost:
            lab.ask(fails_as("denied", "unavailable", since=said, until=until))
            said = max(said, _refused_to_open(lab))
        lab.ask(fails_as("denied", since=said, until=until, may_be_empty=lost))
    else:
        lab.watch(2.0)


def _refused_to_open(lab: Lab) -> float:
    """When the subject had been told that its wrapping token is spent: now, if it never was."""
    refused = lab.history.find(where=lambda e: "sys/wrapping/" in e.path and e.status in (400, 403))
    return (refused[0].ended or refused[0].began) + HANDOVER if refused else lab.history.now()


def _reads_again(lab: Lab, *, since: float, after: Fault) -> bool:
    """Demand a good read soon after what was missing has been delivered; whether it came."""
    took = started_again(lab)
    bound = lab.recovery_after(after)
    read = lab.until_good_read_by_asking(within=bound) if lab.started else None
    lab.ask(recovers_within(bound + took, since=since))
    return read is not None and read.good


@pytest.mark.scenario("SID-12")
def test_auth_mount_that_is_gone_is_waited_out(lab: Lab) -> None:
    """The auth mount is disabled, and all its tokens with it; it comes back as it was."""
    lab.start()
    with lab.reading(every=0.5):
        with lab.vault.auth_mount_disabled(ROLE, lab.secret_id.secret_id) as fault:
            lab.watch(4.0)
            # Who answers from memory needs a login only at its token's next renewal.
            lab.history.wait_for(lambda: lab.touched(fault), lab.ttl)
            lab.watch(1.0)
        lab.recovers(after=fault)
    lab.judge(
        # As in a storm: one peak, and one a second.
        requests_at_most(5 + int(fault.length), "login", since=fault.began, until=fault.end),
        no_request_storm(since=fault.began, until=fault.end),
        _no_secret_is_missing(since=fault.began, until=fault.end),
    )
