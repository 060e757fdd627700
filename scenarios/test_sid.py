"""Secret-ids: rotated, destroyed, late, wrapped, and a locked role."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from vault_harness.judge.driver import Driver, beside, paced
from vault_harness.judge.faults.http import HTML, JSON, NEVER, QUOTA, a_page
from vault_harness.judge.helpers.calls import ask_for_a_whole
from vault_harness.judge.helpers.lives import lost_until_met, served_until_its_token_ends
from vault_harness.judge.helpers.starts import (
    await_start,
    callers_if_started,
    not_locked,
    start_in_background,
    started_again,
    tries_meanwhile,
    turns,
    works_after_all,
)
from vault_harness.judge.lab import ROLE, Lab
from vault_harness.judge.oracles import (
    HANDOVER,
    READ_VERBS,
    Oracle,
    bad_logins_at_most,
    fails_as,
    failures_are,
    last_pause,
    logins_with_one_secret_id_at_most,
    no_failed_read,
    no_request_storm,
    none_of,
    quiet,
    recovers_within,
    requests_at_most,
)
from vault_harness.judge.verdict import Finding, NotExercised
from vault_harness.local.vault import approle
from vault_harness.recorder.fault import Fault, Stub
from vault_harness.recorder.observations import Exchange

TRIES = 4
"""Failures: one more locks an AppRole for everybody for 15 minutes."""

CALLERS = 5
"""Callers who need a login at the same time share one try."""

RESTS = 4.0
"""Token lives to watch a client after a single burst of tries."""

LATE = 0.15
"""Seconds, so that all callers ask before Vault refuses the login."""


@pytest.mark.scenario("SID-01")
def test_rotated_secret_id_is_used(lab: Lab) -> None:
    """A secret-id that replaces an old one is used for the next login, and costs no read."""
    lab.start()
    old = lab.secret_id
    with lab.reading(every=0.25):
        lab.new_secret_id()
        lab.watch(0.5)  # for a login with the old one
        with lab.vault.secret_id_destroyed(ROLE, old.accessor, optional=True) as fault:
            lab.logs_in_again(since=fault.began, within=lab.ttl)
            lab.watch(0.2 * lab.ttl)
    lab.judge(no_failed_read(), bad_logins_at_most(0, since=fault.began))


@pytest.mark.scenario("SID-02")
def test_destroyed_secret_id_is_not_hammered(lab: Lab) -> None:
    """A destroyed secret-id is tried a few times only, and never locks the role."""
    client = lab.start()
    with (
        lab.http.delay("login", by=LATE),
        lab.reading(every=0.5, callers=CALLERS),
        lab.vault.secret_id_destroyed(ROLE, lab.secret_id.accessor) as fault,
    ):
        _watch_the_tries(lab, fault)
        watched = lab.history.now()
        unlocked = not_locked(lab)
        if lab.can("health") and _says_well(lab, client, told=_first_refused(lab, fault)):
            lab.note(Finding("health tells the truth", "it says well, without any token", watched))
    lab.judge(
        bad_logins_at_most(TRIES, watched=watched),
        _no_secret_is_missing(since=fault.began, until=watched),
        unlocked,
        steady=False,
        no_closing="there is no secret-id that Vault takes",
    )


def _first_refused(lab: Lab, fault: Fault) -> float:
    refused = lab.history.find("login", since=fault.began, where=lambda e: e.status == 400)
    return refused[0].ended or refused[0].began if refused else lab.history.now()


def _says_well(lab: Lab, client: Driver, *, told: float) -> bool:
    left = told + lab.refresh + 1.0 - lab.history.now()
    if left > 0 and turns(lab, well=False, within=left, every=1.0):
        lab.watch(1.0)  # the answer must not change back
    return client.healthy()


def _no_secret_is_missing(*, since: float, until: float) -> Oracle:
    return failures_are(
        "denied", "unavailable", since=since, until=until, verbs=READ_VERBS, may_be_empty=True
    )


def _watch_the_tries(lab: Lab, fault: Fault) -> None:
    """Wait for a refusal, and until the tries stop or are too many.

    That takes one and a half lives of a token, and longer if the last pause shows that a try may
    still come.
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
    """A secret-id that replaces a destroyed one is used soon, and few tries come before it."""
    lab.start()
    born = lab.history.logins()[-1]
    with lab.reading(every=0.5):
        with lab.vault.secret_id_destroyed(ROLE, lab.secret_id.accessor) as fault:
            _watch_the_tries(lab, fault)
            watched = lab.history.now()
            lab.new_secret_id()
        lab.recovers(after=fault)
        unlocked = not_locked(lab)
    ends = (born.ended or born.began) + lab.ttl
    served_until_its_token_ends(lab, since=fault.began, ends=ends)
    lab.judge(
        bad_logins_at_most(TRIES, watched=watched),
        unlocked,
    )


@pytest.mark.scenario("SID-04")
def test_locked_role_is_waited_out(lab: Lab) -> None:
    """A locked role is waited out without a storm, even if the first login is never answered."""
    lab.start()
    with lab.reading(every=0.5):
        with (
            # A client that waits for this for ever has no token after the lock.
            lab.http.lose_answer("login", first=1, by=NEVER),
            lab.vault.role_locked(ROLE) as fault,
            lab.vault.token_revoked(lab.tokens.accessor()),
        ):
            since = lab.history.now()
            ask_for_a_whole(lab)  # a secret without its keys is a wrong value
            lab.watch(since + 4.0 - lab.history.now())
            # A client that answers from memory needs a login only at its next renewal.
            lab.history.wait_for(lambda: bool(_answers_about_the_lock(lab, since)), lab.ttl)
            lab.watch(1.0)
        lab.recovers(after=fault)
    lab.judge(
        requests_at_most(quiet(fault.length), "login", since=fault.began, until=fault.end),
        no_request_storm(since=fault.began, until=fault.end),
        _no_secret_is_missing(since=fault.began, until=fault.end),
    )


def _answers_about_the_lock(lab: Lab, since: float) -> list[Exchange]:
    return lab.history.find(
        "login", since=since, where=lambda e: e.status == 403 and e.interference is None
    )


@pytest.mark.scenario("SID-05")
def test_secret_id_that_expires_is_replaced_in_time(lab: Lab) -> None:
    """Short-lived secret-ids are replaced in time, and a late one costs no lock of the role."""
    life, pace = int(0.4 * lab.ttl), 0.25 * lab.ttl
    lab.start()  # with a secret-id that does not expire: a start may be slow
    first = lab.secret_id
    with lab.vault.role(ROLE, secret_id_ttl=f"{life}s"), lab.reading(every=0.25):
        lab.new_secret_id()
        delivered = lab.history.now()
        lab.watch(0.5)  # for a login with the first one
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
            # It lives longer, so that a client that comes after a pause finds it valid.
            with lab.vault.role(ROLE, secret_id_ttl="600s"):
                lab.new_secret_id()
        lab.recovers(after=expired)
    with lab.reading(every=0.25):
        _gets_over_the_next_one(lab, since=watched)
        unlocked = not_locked(lab)
    lab.judge(
        no_failed_read(until=replaced),
        bad_logins_at_most(0, until=replaced),
        bad_logins_at_most(TRIES, watched=watched),
        unlocked,
    )


def _gets_over_the_next_one(lab: Lab, *, since: float) -> None:
    """Refuse another secret-id, and check that the client uses the next one.

    Only if a login after `since` shows that it got over the last refusal. Callers must continue to
    read.
    """
    if not lab.until(
        lambda: bool(lab.history.logins(since=since)), within=lab.recovery + lab.refresh
    ):
        lab.history.mark("not asked for one more refused secret-id: it has no token yet")
        return
    with (
        lab.vault.secret_id_destroyed(ROLE, lab.secret_id.accessor) as refused,
        lab.vault.token_revoked(lab.tokens.accessor()) as lost,
    ):
        lost.optional = True
        # A client that answers from memory needs a login only at its next renewal.
        lab.until(lambda: lab.touched(refused), within=lab.ttl)
        lab.new_secret_id()
        delivered = lab.history.now()
    # A refused client may rest, and this fault is too short to tell how long.
    lab.until_good_read(since=delivered, within=lab.recovery)
    lab.logs_in_again(since=delivered, within=lab.recovery + lab.refresh)
    lab.judge_later(recovers_within(lab.recovery, since=delivered))


@pytest.mark.scenario("SID-06")
def test_secret_id_of_one_use_is_used_once(lab: Lab) -> None:
    """A secret-id for one login is used once, and the next one is delivered before it is needed."""
    lab.start()
    with contextlib.ExitStack() as callers:
        callers.enter_context(lab.reading(every=0.25))
        for _ in range(5):
            # A client that logs in instead of renewing needs one each time, at 0.3 of a life or
            # later.
            lab.new_secret_id()
            lab.watch(DELIVERY_PACE * lab.ttl)
        lab.new_secret_id()
        with (
            contextlib.ExitStack() as losses,
            lab.vault.token_revoked(lab.tokens.accessor()) as fault,
        ):
            # A login that was due anyway uses up the secret-id, and the loss is never met.
            refused = lost_until_met(lab, losses, fault, before_another=lab.new_secret_id)
            met = lab.history.now()
        bound = lab.recovery_after(fault)
        # From the first refused read on, which may precede the confirmed revocation.
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


DELIVERY_PACE = 0.24
"""Part of a life between two deliveries: some clients log in from 0.3 of it on."""


@contextlib.contextmanager
def _one_for_each_turn(lab: Lab) -> Iterator[None]:
    """Deliver secret-ids: a slow client may log in more than once."""
    over = threading.Event()

    def deliver() -> None:
        for _ in paced(over, DELIVERY_PACE * lab.ttl):
            lab.new_secret_id()

    with beside(deliver, name="secret-ids", stop=over, patience=10.0):
        yield


@pytest.mark.scenario("SID-07")
def test_lost_answer_to_a_login(lab: Lab) -> None:
    """Lost answers to logins do not use up a secret-id that is good for three logins."""
    with lab.http.lose_answer("login") as fault:
        opened = start_in_background(lab)
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
    """A half-written, empty or missing secret-id file costs few tries and no login without it."""
    if not _starts_with_half_a_secret_id(lab):
        lab.judge(bad_logins_at_most(TRIES), steady=False)
        return
    whole = lab.new_secret_id(deliver=False)
    lab.secrets.add("secret-id", "", "an empty secret-id")
    half = whole.secret_id[:13]
    lab.secrets.add("secret-id", half, "half a secret-id")
    steps = (("emptied", ""), ("gone", None), ("half written", half))
    met = 0.0
    # One fault, because a client's pauses grow through all steps.
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
                    lab.vault.token_revoked(lab.tokens.accessor()) as lost,
                ):
                    lost.optional = True  # the client may have no token since the last loss
                    # Without the file a client may use the secret-id that it has kept.
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
"""Seconds of reads from a client that was refused at its start."""


def _starts_with_half_a_secret_id(lab: Lab) -> bool:
    """Start the subject with a refused secret-id, and deliver the right one.

    The subject may refuse to start, or wait. Return whether it reads at the end.
    """
    good = lab.secret_id
    half = good.secret_id[:8]  # up to its first hyphen, so that it does not look cut
    lab.secrets.add("secret-id", half, "half a secret-id at its start")
    lab.deliver(approle.SecretId(secret_id=half, accessor=""))
    marks = {"statuses": frozenset({400}), "kinds": frozenset({"login"})}
    with lab.condition("a refused secret-id at its start", optional=True, **marks) as refused:
        opened = start_in_background(lab)
        with callers_if_started(lab, refused, every=0.3, callers=1):
            lab.until(lambda: lab.touched(refused) or opened.is_set(), within=lab.asks_within)
            lab.watch(AT_ITS_START)
            _is_not_well_without_a_token(lab)
        unlocked = not_locked(lab)
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
    lab.ask(unlocked)
    return any(read.good for read in lab.history.calls("read", since=refused.end))


def _is_not_well_without_a_token(lab: Lab) -> None:
    if not lab.started or not lab.can("health") or lab.history.logins():
        return
    bound = lab.refresh + 1.0
    if not turns(lab, well=False, within=bound, every=1.0) and not lab.history.logins():
        text = f"it said well for {bound:g} s, and has never had a token"
        lab.note(Finding("health tells the truth", text, lab.history.now()))


@pytest.mark.scenario("SID-10")
def test_foreign_wrapping_token_is_not_opened(lab: Lab) -> None:
    """A wrapping token that somebody else made is neither opened nor used."""
    good = lab.credentials.wrapping_file.read_text()
    foreign = lab.credentials.wrap_foreign(lab.new_secret_id(deliver=False).secret_id)
    lab.credentials.deliver_wrapping(foreign)
    with lab.condition("foreign wrapping token") as swapped:
        swapped.optional = True  # a good client sends nothing that shows the fault
        await_start(lab, start_in_background(lab))
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
    lab.credentials.deliver_wrapping(good)
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
    inside = lab.new_secret_id(deliver=False).secret_id
    name = "foreign wrapping token after a good one"
    with lab.condition(name) as swapped, lab.reading(every=0.4):
        swapped.optional = True  # a good client sends nothing that shows the fault
        lab.credentials.deliver_wrapping(lab.credentials.wrap_foreign(inside))
        with (
            contextlib.ExitStack() as losses,
            lab.vault.token_revoked(lab.tokens.accessor()) as lost,
        ):
            met = lost_until_met(lab, losses, lost)
        lab.until(lambda: _has_tried(lab, since=met), within=lab.deadline)
        lab.watch(0.5)  # for another try
    used = lab.history.find("unwrap", since=swapped.began, until=swapped.end)
    used += lab.history.find(
        "login", since=swapped.began, where=lambda e: e.secret_id == lab.secrets.label(inside)
    )
    lab.credentials.deliver_wrapping(lab.credentials.wrap_secret_id())
    _reads_again(lab, since=lab.history.now(), after=swapped)
    return used


def _has_tried(lab: Lab, *, since: float) -> bool:
    failed = lab.history.calls("read", since=since, where=lambda o: o.failed)
    return bool(failed or lab.history.find("unwrap", "login", since=since))


@pytest.mark.scenario("SID-09")
def test_lost_answer_to_an_unwrap(lab: Lab) -> None:
    """A spent wrapping token ends in denials, and a good one is opened after an outage."""
    with lab.http.lose_answer("unwrap", first=1) as fault:
        _start_without_a_secret_id(lab, lost=True)
    lab.credentials.deliver_wrapping(lab.credentials.wrap_secret_id())
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
"""They leave the token wrapped: foreign JSON, a quota, a gateway's page."""


def _opens_it_after_an_outage(lab: Lab) -> None:
    """Start with a wrapping token in an outage; the first tries after it are turned away."""
    lab.client.close(timeout=5.0)
    lab.credentials.deliver_wrapping(lab.credentials.wrap_secret_id())
    with contextlib.ExitStack() as others:
        with lab.network.down() as down:
            opened = start_in_background(lab)
            # A slow client has not asked yet.
            lab.history.wait_for(lambda: lab.touched(down), lab.asks_within)
            # Until its call has failed: it may try again within the call, or its start may wait.
            lab.until(opened.is_set, within=2 * lab.deadline)
            answers = [_nth_unwrap(lab, others, *one) for one in enumerate(FOR_AN_UNWRAP, start=1)]
        if not lab.client.closed:  # a client that refused to start has no callers
            others.enter_context(lab.reading(every=0.4))
        lab.until(lambda: all(one.touched for one in answers), within=lab.reach)
    away = replace(answers[-1], began=down.began)
    bound = works_after_all(lab, away, opened)
    lab.ask(recovers_within(bound, since=away.end))


def _nth_unwrap(lab: Lab, others: contextlib.ExitStack, number: int, one: Stub) -> Fault:
    answer = others.enter_context(
        lab.http.fail("unwrap", nth=number, status=one.status, body=one.body, headers=one.headers)
    )
    answer.optional = True  # the client's next try may come later
    return answer


@pytest.mark.scenario("SID-11")
def test_restart_after_the_secret_id_was_opened(lab: Lab) -> None:
    """A restart with a spent wrapping token is denied, and a new one is enough to log in."""
    lab.start().close(timeout=5.0)
    with lab.condition("wrapping token spent", statuses=frozenset({400, 403})) as fault:
        _start_without_a_secret_id(lab)
    lab.credentials.deliver_wrapping(lab.credentials.wrap_secret_id())
    if _reads_again(lab, since=lab.history.now(), after=fault):
        _logs_in_with_what_it_opened(lab)
        _logs_in_with_the_next_one(lab)
    lab.judge(
        requests_at_most(2, "unwrap", since=fault.began, until=fault.end),
        requests_at_most(0, "login", since=fault.began, until=fault.end),
    )


def _logs_in_with_what_it_opened(lab: Lab) -> None:
    with lab.reading(every=0.4):
        with (
            contextlib.ExitStack() as losses,
            lab.vault.token_revoked(lab.tokens.accessor()) as lost,
        ):
            lost_until_met(lab, losses, lost)
        lab.recovers(after=lost)
    lab.ask(requests_at_most(0, "unwrap", since=lost.began, until=lab.history.now()))


def _logs_in_with_the_next_one(lab: Lab) -> None:
    old = approle.accessors(lab.operator, ROLE)
    with lab.reading(every=0.4), contextlib.ExitStack() as destroyed:
        since = lab.history.now()
        lab.credentials.deliver_wrapping(lab.credentials.wrap_secret_id())
        lab.watch(0.5)  # for a login with the old one
        for accessor in old:
            destroyed.enter_context(lab.vault.secret_id_destroyed(ROLE, accessor, optional=True))
        with (
            contextlib.ExitStack() as losses,
            lab.vault.token_revoked(lab.tokens.accessor()) as lost,
        ):
            lost_until_met(lab, losses, lost)
        lab.recovers(after=lost)
    lab.ask(requests_at_most(1, "unwrap", since=since))
    lab.ask(bad_logins_at_most(0, since=since))


def _start_without_a_secret_id(lab: Lab, *, lost: bool = False) -> None:
    """Start the subject while it cannot get its secret-id, and let it try.

    It may refuse to start; otherwise reads must fail as denied. If Vault's answer was `lost`, only
    the next refusal tells the client that the wrapping token is spent.
    """
    before = len(lab.drivers)
    await_start(lab, start_in_background(lab))
    if len(lab.drivers) > before:
        said = lab.history.now()
        for _ in range(4):
            lab.client.read()
            lab.watch(0.5)
        until = lab.history.now()
        if lost:
            lab.ask(fails_as("denied", "unavailable", since=said, until=until))
            said = max(said, _refused_to_open(lab))
        if not lost or lab.history.calls("read", since=said, until=until):
            lab.ask(fails_as("denied", since=said, until=until))
    else:
        lab.watch(2.0)


def _refused_to_open(lab: Lab) -> float:
    refused = lab.history.find(where=lambda e: "sys/wrapping/" in e.path and e.status in (400, 403))
    return (refused[0].ended or refused[0].began) + HANDOVER if refused else lab.history.now()


def _reads_again(lab: Lab, *, since: float, after: Fault) -> bool:
    took = started_again(lab)
    bound = lab.recovery_after(after)
    read = lab.until_good_read_by_asking(within=bound) if lab.started else None
    lab.ask(recovers_within(bound + took, since=since))
    return read is not None and read.good


@pytest.mark.scenario("SID-12")
def test_auth_mount_that_is_gone_is_waited_out(lab: Lab) -> None:
    """An auth mount that is disabled for a while is waited out without a storm."""
    lab.start()
    with lab.reading(every=0.5):
        with lab.vault.auth_mount_disabled(ROLE, lab.secret_id.secret_id) as fault:
            lab.watch(4.0)
            # A client that answers from memory needs a login only at its next renewal.
            lab.history.wait_for(lambda: lab.touched(fault), lab.ttl)
            lab.watch(1.0)
        lab.recovers(after=fault)
    lab.judge(
        requests_at_most(quiet(fault.length), "login", since=fault.began, until=fault.end),
        no_request_storm(since=fault.began, until=fault.end),
        _no_secret_is_missing(since=fault.began, until=fault.end),
    )
