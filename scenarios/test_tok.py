"""Tokens: renewal, max TTL, kinds of token, revocation, and the clean end."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise

import pytest

from vault_harness.errors import SubjectError
from vault_harness.faults import Fault, RequestKind
from vault_harness.faults.answers import HTML, JSON, NOTICE, SIGN_IN
from vault_harness.scenario import (
    Exchange,
    Finding,
    History,
    Lab,
    NotClaimed,
    NotExercised,
    Sighting,
)
from vault_harness.scenario.driver import Driver, Verb, reading
from vault_harness.scenario.helpers import (
    ask_for_a_whole,
    at_the_same_time,
    has_its_files,
    reading_in_each_way,
    renewal_comes,
    served_while_its_token_lives,
    sleeps,
    turns,
    vault_gone,
    ways,
    wholes_come_back,
)
from vault_harness.scenario.herd import open_reading
from vault_harness.scenario.lab import KEY, PATH, ROLE
from vault_harness.scenario.leases import first_credential, pool
from vault_harness.scenario.observations import Operation
from vault_harness.scenario.oracles import (
    LOGS_IN_INSTEAD,
    STORM_PEAK,
    at_most,
    bad_logins_at_most,
    came_through,
    credentials_apart,
    last_grant,
    logins_at_most,
    logins_given_up,
    logs_in_again,
    never_renews,
    no_failed_read,
    no_refused_read,
    no_refused_use,
    none_of,
    recovers_within,
    renewals_at_most,
    renewals_hold_up_nobody,
    renewed_or_replaced,
    renews_again,
    renews_within,
    replaced_before_the_end,
    requests_at_most,
    same_token,
    says_of_its_health,
    sees,
    uses_go_on,
)
from vault_harness.subjects import InProcessSubject, OperationFailed, Terminable
from vault_harness.vault import approle

# Renewed in time, replaced in time


def lives_under_reads(lab: Lab, lives: float, *, of: float) -> None:
    """Demand that so many lives of `of` seconds have passed since the first login, under reads."""

    def passed(history: History) -> str:
        leased = [login for login in history.logins() if login.ttl]
        if not leased:
            return ""
        reads = history.calls("read", since=leased[0].began)
        over = reads[-1].began - leased[0].began if reads else 0.0
        return f"{over / of:.1f} lives, {len(reads)} reads" if over >= 0.95 * lives * of else ""

    lab.require(f"{lives:g} lives of {of:g} s under reads", passed)


@pytest.mark.scenario("TOK-01")
def test_token_is_renewed_in_time(lab: Lab) -> None:
    """Two lives of a token and a bit pass; each is renewed between 0.3 and 0.9 of it."""
    lab.start()
    with lab.reading(every=0.5):
        lab.watch(2.2 * lab.ttl)
        end = lab.history.now()
    lives_under_reads(lab, 2.2, of=lab.ttl)
    lab.judge(renews_within(0.3, 0.9, until=end), logins_at_most(1, due=0.3), no_failed_read())


HALF_AN_HOUR = 1800
"""Seconds; certificates of a run over TLS are good for an hour before they were made."""

INSTANCES, ROUNDS = 4, 3
SPREAD = 0.005
"""Of the TTL: the least difference between the first and the last of four renewals, in two of three
rounds. A jitter of 5 % in all gives less once in 20,000 runs, one of 3.3 % (that of Vault's
LifetimeWatcher) once in 2,000.
"""
APART = 0.02
"""Of the TTL: so far apart, from their logins on, are four that each begin at a time of its own and
keep one pace from there: they never meet, though all wait alike. A slow start makes less.
"""
OFTEN = 0.5
"""Seconds from one call of an instance's caller to the next; the callers are apart in them."""
MEETINGS = 2
"""In so many rounds must four meet that logged in apart: once is chance."""
NEAR = 0.3
"""Seconds before a renewal in which a machine that is late makes the renewal late."""


@pytest.mark.scenario("TOK-02")
def test_renewals_are_spread(lab: Lab) -> None:
    """Five start together, and one is closed soon; four renew apart in each of three rounds."""
    if lab.environment.subject.kind == "http":
        raise NotClaimed("a server is one instance: several need several servers")
    first, brief = lab.start(), open_reading(lab)
    its_own = lab.accessor()
    instances = [first, *(open_reading(lab) for _ in range(INSTANCES - 1))]
    began = lab.history.now()
    looked = began + 2.4 * lab.ttl
    with contextlib.ExitStack() as callers:
        for instance in instances:
            if instance is not None:
                callers.enter_context(reading(instance, every=OFTEN))
                # Apart from each other: some renew in the call of whoever comes when it is time,
                # and would meet where all come at the same moments.
                lab.watch(OFTEN / INSTANCES)
        with contextlib.nullcontext() if brief is None else reading(brief, every=OFTEN):
            # Not before all have renewed once: who never does logs in instead, and is not asked.
            lab.history.wait_for(lambda: bool(_rounds(lab.history, but=its_own)), lab.ttl)
        closed = lab.history.now()
        if brief is not None:
            brief.close()
        lab.history.wait_for(
            lambda: len(_rounds(lab.history, but=its_own)) >= ROUNDS, looked - lab.history.now()
        )
        looked = lab.history.now()
    # One instance's login may seem to be in place of another's renewal: failed reads tell.
    if never_renews(lab.history) and not any(o.failed for o in lab.history.calls("read")):
        raise NotClaimed(LOGS_IN_INSTEAD)
    spread, alike, rounds = [], [], _rounds(lab.history, but=its_own)
    late = 0.0
    for turn in rounds:
        waits = _range(one.waited for one in turn)
        apart = _range(one.after for one in turn)
        # What the machine was late by may make a difference, and never hides one. Who waits anew
        # each time has it in all that follow.
        here = _lateness(lab.history, turn)
        late += here
        if waits < SPREAD * lab.ttl and apart < APART * lab.ttl:
            alike.append(waits)
        elif waits > SPREAD * lab.ttl + 2 * here or apart > APART * lab.ttl + 2 * late:
            spread.append(waits)
    lab.require(
        f"two rounds of renewals of {INSTANCES} instances that show whether they are spread",
        lambda _: Sighting(
            len(spread + alike) >= 2,
            f"{len(spread)} do, {len(alike)} do not, of {len(rounds)}",
            too_slow=len(rounds) >= 2,  # by as much as the others' waits differ
        ),
    )
    promise = "renewals of instances that start together are spread"
    met = _meetings(lab.history, rounds, within=SPREAD * lab.ttl)
    if len(alike) > len(spread):
        text = (
            f"in {len(alike)} of {len(spread + alike)} rounds the waits of {INSTANCES} instances "
        )
        text += f"differ by {max(alike) / lab.ttl:.2%} of the TTL or less"
        lab.note(Finding(promise, text))
    elif len(met) >= MEETINGS and _kept_apart(lab.history, since=began, until=looked):
        at = ", ".join(f"+{moment:.2f}" for moment in met)
        text = f"{INSTANCES} instances that had logged in apart renewed together at {at} s, "
        lab.note(Finding(promise, f"{text}within {max(met.values()):.3f} s of each other"))
    lab.judge(
        no_failed_read(),
        none_of(
            "the end of one ends no other: each renews its token, or replaces it",
            _let_go(lab.history, since=closed, until=looked, but=its_own),
        ),
    )


@dataclass(frozen=True)
class _Renewal:
    """One instance's renewal: when it came, how long it had waited for it, and since its login."""

    at: float
    waited: float
    after: float


def _rounds(history: History, *, but: str) -> list[tuple[_Renewal, ...]]:
    """Of each round, the renewal of each instance but the one with that accessor.

    A renewal right after the login, as Vault's LifetimeWatcher makes one, begins the first round.
    """
    lives = history.find(
        "login", "renew", where=lambda e: e.good and e.ended is not None and e.accessor != but
    )
    born: dict[str | None, float] = {}
    last: dict[str | None, float] = {}
    renewals: dict[str | None, list[_Renewal]] = {}
    for life in lives:
        granted = life.ended or life.began
        born.setdefault(life.accessor, granted)
        if life.kind == "renew" and life.accessor in last:
            wait = life.began - last[life.accessor]
            if wait > 0.1 * (life.ttl or 0.0):
                one = _Renewal(life.began, wait, life.began - born[life.accessor])
                renewals.setdefault(life.accessor, []).append(one)
        last[life.accessor] = granted
    if len(renewals) < INSTANCES:
        return []
    return list(zip(*renewals.values(), strict=False))


def _meetings(
    history: History, rounds: list[tuple[_Renewal, ...]], *, within: float
) -> dict[float, float]:
    """When all renewed within that time of each other, and within what, though they began apart.

    As at a tick of the clock on the wall, by which their waits differ as their logins do. One may
    begin a tick after another, so it is no matter in whose which round that is. What the machine
    was late by may let them meet, so it counts as time between them.
    """
    if not rounds:
        return {}
    first, *others = zip(*rounds, strict=True)
    found = {}
    for one in first:
        turn = [one, *(min(them, key=lambda it: abs(it.at - one.at)) for them in others)]
        between = _range(it.at for it in turn) + _lateness(history, turn)
        if between < within < _range(it.at - it.after for it in turn):
            found[one.at] = between
    return found


def _kept_apart(history: History, *, since: float, until: float) -> bool:
    """Whether no call or standstill was so long that callers who waited for it went on together."""
    calls = history.calls("read", since=since, until=until)
    took = [call.ended - call.began for call in calls if call.ended is not None]
    return max([history.lateness(since, until), *took]) < OFTEN


def _let_go(history: History, *, since: float, until: float, but: str) -> dict[str, float]:
    """Tokens of others that have ended by `until`, neither renewed nor replaced since one's end.

    Returns:
        Each in words, and when it ended.
    """
    given = history.find(
        "login", "renew", where=lambda e: e.good and e.ended is not None and e.accessor != but
    )
    last = {each.accessor: each for each in given if each.began < since}
    renewed = {each.accessor for each in given if each.kind == "renew" and each.began >= since}
    logins = [each for each in given if each.kind == "login"]
    found = {}
    for grant in sorted(last.values(), key=lambda each: each.began):
        ends = (grant.ended or grant.began) + (grant.ttl or math.inf)
        if grant.accessor in renewed or ends > until:
            continue
        # No login tells whose it is: each may stand for one of those that were not renewed.
        instead = next((e for e in logins if e.began > grant.began and e.came <= ends), None)
        if instead is None:
            found[f"a token renewed at +{grant.began:.2f} s ended at +{ends:.2f} s"] = ends
        else:
            logins.remove(instead)
    return found


def _range(times: Iterable[float]) -> float:
    """Seconds between the first and the last of them."""
    ordered = sorted(times)
    return ordered[-1] - ordered[0]


def _lateness(history: History, renewals: Iterable[_Renewal]) -> float:
    return max(history.lateness(one.at - NEAR, one.at) for one in renewals)


@pytest.mark.scenario("TOK-03")
def test_max_ttl_is_met_by_a_login_in_time(lab: Lab) -> None:
    """A max TTL and a bit pass under reads; the subject logs in anew before the token's end."""
    _ends_at_a_max_ttl(lab)


@pytest.mark.scenario("TOK-05")
def test_explicit_max_ttl_is_met_by_a_login_in_time(lab: Lab) -> None:
    """An explicit max TTL and a bit pass under reads; a renewal beyond it is capped."""
    _ends_at_a_max_ttl(lab)


def _ends_at_a_max_ttl(lab: Lab) -> None:
    longest = 1.5 * lab.ttl
    lab.start()
    with lab.reading(every=0.25):
        lab.watch(1.3 * longest)
        end = lab.history.now()
        alive = lab.tokens_alive()
    lives_under_reads(lab, 1.3, of=longest)
    lab.judge(
        no_failed_read(),
        no_refused_read(since=lab.steady_since),  # a start may ask before it has a token
        replaced_before_the_end(until=end),
        # In its turn, or five: one at the start, and two for each TTL that has passed, which are a
        # careful client's.
        logins_at_most(1, due=0.3, few=5),
        # Each lives for one and a half TTLs, and is replaced after half of one at the earliest. Who
        # never renews has no more than its logins leave: each of those lives for one TTL.
        *([] if never_renews(lab.history) else [at_most(3, alive, "tokens alive at once")]),
    )


@pytest.mark.scenario("TOK-04")
def test_token_whose_life_is_shortened_is_replaced(lab: Lab) -> None:
    """The role's max TTL is lowered under a live token, whose renewals are capped from then on."""
    shorter = 1.25 * lab.ttl
    lab.start()
    born = lab.history.logins()[-1]
    end_of_it = (born.ended or born.began) + shorter
    with (
        lab.reading(every=0.25),
        lab.vault.role(ROLE, token_max_ttl=f"{shorter:g}s") as lowered,
    ):
        granted = lab.history.find("renew", until=lowered.began, where=lambda e: e.good)
        if any((renewal.ttl or 0.0) > shorter for renewal in granted):
            raise NotClaimed(
                "it asks for longer lives than its role's, and was granted one before the maximum "
                "was lowered"
            )
        lab.watch(max(0.0, end_of_it + 0.1 * lab.ttl - lab.history.now()))
        end = lab.history.now()
    lives_under_reads(lab, 1.25, of=lab.ttl)
    replaced = lab.history.logins(since=lowered.began)
    lab.judge(
        no_failed_read(),
        no_refused_read(since=lab.steady_since, until=end),
        replaced_before_the_end(until=end),
        # As where a renewal is refused: the one that is capped and three more.
        renewals_at_most(
            4, since=lowered.began, until=replaced[0].began if replaced else end_of_it
        ),
        # Each renewal is capped here, and whoever renews at 0.3 of a life may log in for that. Or
        # three: one at the start, and two for a TTL that has passed, a careful client's.
        logins_at_most(1, due=0.3, until=end, whoever=True, few=3),
    )


@pytest.mark.scenario("TOK-06")
def test_token_that_cannot_be_renewed_is_replaced(lab: Lab) -> None:
    """Each login gives a token with `renewable` false; two answers to them are late, one by far."""
    lab.issue_instead(renewable=False)
    lab.start()
    hangs = min(WITHIN_A_CALL * lab.deadline, BEFORE_THE_END * lab.ttl)
    # So some read begins while there is no answer yet, and the token that there is still good.
    with (
        lab.http.delay("login", by=LATE, first=1) as late,
        lab.http.delay("login", by=hangs, nth=2) as slow,
        lab.reading(every=LATE, callers=2),
    ):
        late.optional = True  # who never logs in again has failed reads
        slow.optional = True  # who does so late has no third login by the end of this
        end = _one_life_and_a_bit(lab, every=LATE / 2)
        hung = _hanging_logins(lab.history)
    # Who does not wait so long for an answer has one try more: that token is nobody's.
    tried_again = sum(login.closed == "client" for login in hung)
    lab.judge(
        no_failed_read(),
        no_refused_read(since=lab.steady_since),  # a start may ask before it has a token
        renewals_at_most(len(lab.history.logins()), since=0.0),
        replaced_before_the_end(until=end),
        logins_at_most(1 + tried_again, due=0.3, whoever=True, few=5),
        *(
            renewals_hold_up_nobody(hangs / HELD_UP, since=one.began, until=until, of="login")
            for one in hung
            if (until := _good_until(lab, one)) > one.began
        ),
    )


BEFORE_THE_END = 0.15
"""Of a life, at most, for which a login hangs. A third one that comes within 1.6 lives comes by 0.8
of the life before, so that it is over by `ALL_BUT_THE_END`.
"""


def _good_until(lab: Lab, login: Exchange) -> float:
    """Until when the token before a login serves, whatever becomes of that."""
    before = math.nextafter(login.began, 0.0)
    return last_grant(lab.history, until=before) + ALL_BUT_THE_END * lab.ttl


def _hanging_logins(history: History) -> list[Exchange]:
    """The logins, after the second one, whose answer something has held back."""
    return history.find("login", where=lambda e: e.interference is not None)[1:]


def _one_life_and_a_bit(lab: Lab, *, every: float = 0.25) -> float:
    """Let 1.6 lives of a token pass under reads; returns when they had."""
    with lab.reading(every=every):
        lab.watch(1.6 * lab.ttl)
        end = lab.history.now()
    lives_under_reads(lab, 1.6, of=lab.ttl)
    return end


@pytest.mark.scenario("TOK-07")
def test_batch_token_is_replaced(lab: Lab) -> None:
    """A life and a bit of batch tokens; a gateway's page (200), then its JSON, answers a login."""
    client = lab.start()
    with lab.reading(every=0.25):
        began = lab.history.now()
        paged = [login for page in NO_LOGINS if (login := _answered_by_a_gateway(lab, *page))]
        lab.watch(max(0.0, began + 1.6 * lab.ttl - lab.history.now()))
        end = lab.history.now()
    lives_under_reads(lab, 1.6, of=lab.ttl)
    client.close(timeout=5.0)
    lab.judge(
        # Some log in in the call of whoever comes when it is time, and tell that one.
        no_failed_read(but=lambda call: any(at_the_same_time(call, login) for login in paged)),
        no_refused_read(since=lab.steady_since, until=end),
        # One does no harm: Vault answers 400, and the next token comes in its time.
        at_most(1, _most_of_one_token(lab.history, "renew"), "renewals of one token"),
        at_most(1, _most_of_one_token(lab.history, "revoke"), "revocations of one token"),
        replaced_before_the_end(until=end),
        logins_at_most(1 + len(paged), due=0.3, whoever=True, few=5 + len(paged)),
        steady=False,
    )


NO_LOGINS = (
    (SIGN_IN, HTML),
    (NOTICE, JSON),
)
"""What a gateway answers to a login, with 200: one is no JSON, in the other there is no `auth`."""

ENOUGH = 0.2
"""Of a life: a login that fails with less of it left may have no other after it in its time."""

EARLY = 1.0
"""Seconds by which a batch token may end before its time: Vault reckons its end in whole ones."""


def _answered_by_a_gateway(lab: Lab, body: bytes, headers: Mapping[str, str]) -> Exchange | None:
    """The login in place of the token in use that a gateway has answered, if one came soon.

    Waits until that token is replaced all the same, or has ended.
    """
    granted = last_grant(lab.history, until=lab.history.now())
    ends = granted + lab.ttl
    by = ends - EARLY - max(ENOUGH * lab.ttl, lab.declared("backoff_cap", 0.0) + 1.0)
    with lab.http.fail("login", status=200, body=body, headers=headers, first=1) as page:
        page.optional = True  # for who logs in late
        lab.until(lambda: bool(page.touched), within=max(0.0, by - lab.history.now()))
    lab.until(
        lambda: last_grant(lab.history, until=lab.history.now()) > granted,
        within=max(0.0, ends - lab.history.now()),
    )
    met = lab.history.find("login", since=page.began, where=lambda e: e.interference is not None)
    return next(iter(met), None)


def _most_of_one_token(history: History, kind: RequestKind, *, until: float | None = None) -> int:
    """How many requests of a kind were sent with the token that had most of them."""
    sent = Counter(each.token for each in history.find(kind, until=until))
    return max(sent.values(), default=0)


@pytest.mark.scenario("TOK-08")
def test_periodic_token_is_renewed(lab: Lab) -> None:
    """Three periods and a bit pass, past a max TTL; a gateway's page (200) answers a renewal."""
    lab.start()
    with lab.reading(every=0.5):
        began = lab.history.now()
        paged = _a_page_for_a_renewal(lab)
        lab.watch(began + lab.ttl - lab.history.now())
        open_before = _least_open(lab)
        lab.watch(began + 3.1 * lab.ttl - lab.history.now())
        end = lab.history.now()
        open_after = _least_open(lab)
    lives_under_reads(lab, 3.1, of=lab.ttl)
    since = 0.0 if paged is None else _judge_after(lab, paged)
    lab.judge(
        renews_within(0.3, 0.9, since=since, until=end),
        # Some log in where a renewal fails; that the token can be kept then is asked in TOK-16.
        logins_at_most(1 + (paged is not None), due=0.3),
        no_failed_read(),
        at_most(open_before + OPEN, open_after, "connections that stay open"),
    )


OPEN = 2
"""Connections that may stay open after three lives and did not after the first: a pool has some to
spare, and what is left by each renewal are more.
"""


def _least_open(lab: Lab) -> int:
    """How many connections are open all the time, between two calls too.

    Nobody stops reading for that: some renew in a call, and would be late for want of one.
    """
    looks = []
    for _ in range(10):
        looks.append(lab.recorder.open_connections())
        lab.watch(0.06)
    return min(looks)


SOON_ENOUGH = 0.7
"""Of a life: a renewal that comes later, and fails, may have no other after it in its time."""


def _a_page_for_a_renewal(lab: Lab) -> Exchange | None:
    """The renewal that a gateway answered in Vault's place, with a page, if one came soon."""
    lab.watch(0.2 * lab.ttl)  # some renew a new token at once, to learn its TTL
    by = last_grant(lab.history, until=lab.history.now()) + SOON_ENOUGH * lab.ttl
    with lab.http.fail("renew", status=200, body=SIGN_IN, headers=HTML, first=1) as page:
        page.optional = True  # for who renews late, or never
        lab.until(lambda: bool(page.touched), within=max(0.0, by - lab.history.now()))
    return next(iter(_held_back(lab.history)), None)


def _judge_after(lab: Lab, paged: Exchange) -> float:
    """Ask that the token is renewed, or replaced, in spite of that page.

    Returns:
        When it was, and a life began that is judged as any other; else when the page was given.
    """
    ends = last_grant(lab.history, until=paged.began) + lab.ttl
    lab.judge_later(renewed_or_replaced(since=paged.began, before=ends))
    granted = lab.history.find("renew", "login", since=paged.began, where=came_through)
    return granted[0].began if granted else paged.began


@pytest.mark.scenario("TOK-09")
def test_periodic_token_is_replaced_after_a_freeze(lab: Lab) -> None:
    """The client stands still for longer than a period, in which its token should be renewed."""
    lab.start()
    fault = sleeps(lab, 1.3 * lab.ttl)
    bound = 5.0
    with lab.reading(every=0.5):
        lab.recovers(after=fault, within=bound)
        lab.logs_in_again(since=fault.end, within=bound)
        lab.watch(1.0)
        end = lab.history.now()
    lab.judge(
        logins_at_most(1, since=fault.end),
        # The one that was under way, and three more as where they are refused.
        renewals_at_most(4, since=fault.end, until=end),
    )


USES = 6
"""`token_num_uses` in the catalogue."""

OTHERS = {
    "backend/database": "DB_PASSWORD",
    "backend/redis": "REDIS_PASSWORD",
    "shared/stripe": "STRIPE_SECRET_KEY",
}
"""Secrets that are read once: whoever keeps them fresh asks for four in each of its rounds."""


@pytest.mark.scenario("TOK-10")
def test_token_of_few_uses_is_used_up(lab: Lab) -> None:
    """Each token is good for six requests; three secrets are read once, a fourth on and on."""
    client = lab.start()
    if not has_its_files(lab):
        # Who looks at its secrets at its own pace, and answers from memory, spends as many uses.
        for path, key in OTHERS.items():
            lab.put("v1", path=path, key=key)
            client.read(path, key)
    # Who answers from memory spends it at its own pace, and may see only then that it is.
    bound = max(5.0, lab.refresh)
    with lab.reading(every=0.25):
        lab.watch(5.0)
        lab.until(lambda: bool(_spent(lab.history)), within=lab.reach)
        since, spent = _spent_life(lab.history)
        within = spent - since + bound
        lab.until(
            lambda: bool(lab.history.logins(since=since)),
            within=max(0.0, since + within - lab.history.now()),
        )
    reads = len(lab.history.calls("read"))
    tokens = len(lab.history.logins())
    lab.require(f"a token that was used {USES} times", lambda history: bool(_spent(history)))
    lab.judge(
        no_failed_read(),
        # Some of its uses may go into a look at itself, a renewal or a revocation.
        logins_at_most(2 + reads // 3),
        logs_in_again(since=since, within=within),
        requests_at_most(tokens, "lookup", since=0.0),
        no_health="a client that asks Vault uses its token up by that",
    )


def _spent(history: History) -> Exchange | None:
    """The last use that a token had, of the first that had its last; None if none had yet.

    The login that gave it is none: it has the token of its answer here.
    """
    used: Counter[str] = Counter()
    for each in history.find(
        where=lambda e: e.token is not None and e.kind not in ("login", "status")
    ):
        used[str(each.token)] += 1
        if used[str(each.token)] == USES:
            return each
    return None


def _spent_life(history: History) -> tuple[float, float]:
    """When the token that was spent first was got, and when it was; the first login, if none was.

    The login that must come counts from the first of the two: who looks ahead has made it before.
    """
    spent = _spent(history)
    first = history.logins()[0].began
    if spent is None:
        return first + 0.001, first + 0.001
    born = next((e.began for e in history.logins() if e.token == spent.token), first)
    return born + 0.001, spent.began


@pytest.mark.scenario("TOK-14")
def test_token_that_may_not_renew_itself_is_replaced(lab: Lab) -> None:
    """Without the policy ``default`` a renewal is denied; the next tokens live for less long."""
    lab.start()
    # What is planned by how long the first one lives comes too late for the next.
    shorter = f"{_shorter_life(lab)}s"
    with (
        lab.condition(
            "renewal denied", statuses=frozenset({403}), kinds=frozenset({"renew"}), optional=True
        ),
        lab.vault.role(ROLE, token_ttl=shorter),
    ):
        end = _one_life_and_a_bit(lab)
    lab.judge(
        no_failed_read(),
        at_most(4, _most_of_one_token(lab.history, "renew", until=end), "renewals of one token"),
        replaced_before_the_end(until=end),
        logins_at_most(1, due=0.3, whoever=True, few=5),
        no_health="without the policy default a token may not look at itself either",
    )


def _shorter_life(lab: Lab) -> int:
    """Two thirds of a life in whole seconds; not less than the client's timers are made for."""
    return max(round(2 * lab.ttl / 3), math.ceil(lab.declared("min_ttl", 0.0)))


# Lost before its time


@pytest.mark.scenario("TOK-11")
def test_revoked_token_costs_one_login(lab: Lab) -> None:
    """Somebody revokes the token under reads."""
    lab.start()
    _costs_one_login(lab, lambda: lab.vault.token_revoked(lab.accessor()))


@pytest.mark.scenario("TOK-13")
def test_token_that_dies_with_its_parent_costs_one_login(lab: Lab) -> None:
    """Each login gives the child of another token; that one is revoked under reads from a cache."""
    lab.issue_instead(with_parent=True)
    lab.start()

    def revoked() -> AbstractContextManager[Fault]:
        child = lab.accessor()
        return lab.vault.parent_revoked(lab.parent_of(child), child=child)

    # Where there are two ways of reading, each has to find out.
    _costs_one_login(lab, revoked, verb="read_cached" if lab.can("cached") else "read")


def _costs_one_login(
    lab: Lab, loses: Callable[[], AbstractContextManager[Fault]], *, verb: Verb = "read"
) -> None:
    """The token dies under reads by that fault: one login, and reads work again soon."""
    bound = min(0.1 * lab.ttl, 5.0)
    ask_for_a_whole(lab)  # whoever keeps a token for that has the one that is lost
    with lab.reading(every=0.25, verb=verb), contextlib.ExitStack() as losses:
        lab.watch(0.5)
        lost = [losses.enter_context(loses())]
        met = _meets_its_loss(lab, lost[-1])
        end = lost[0].began + lab.ttl + lab.reach
        while met is None and lab.history.now() < end:  # the next token is lost as well
            lost[-1].optional = True
            lab.watch(0.5)
            lost.append(losses.enter_context(loses()))
            met = _meets_its_loss(lab, lost[-1])
        lab.require(
            "a request that was refused for the lost token, before that was replaced in its turn",
            lambda _: met is not None,
        )
        if met is not None:
            lab.logs_in_again(since=met, within=bound)
            lab.until_good_read(since=met, within=bound)
            lab.judge_later(recovers_within(bound, since=met))
            wholes_come_back(lab, since=met, within=bound + lab.refresh)
        lab.watch(1.0)
    lab.judge(
        *(logins_at_most(1, since=a.began, until=b.began) for a, b in pairwise(lost)),
        # What was denied on another way may be remembered for a refresh time, and somebody's turn
        # come meanwhile.
        logins_at_most(1, since=lost[-1].began, due=0.3),
    )


def _meets_its_loss(lab: Lab, fault: Fault) -> float | None:
    """When a client was first refused something for its dead token; None if it met no such thing.

    Who never renews, and answers from memory, may have replaced it in its turn by then: nobody has
    told it that it was lost. That it cannot give the old one back tells it nothing it needs.
    """
    dead = lab.history.now()  # at the latest: a read may have been refused before that
    # Who answers from memory meets it at its next renewal only.
    lab.history.wait_for(
        lambda: bool(
            _refused(lab.history, since=fault.began) or lab.history.logins(since=fault.began)
        ),
        lab.ttl,
    )
    refused = _refused(lab.history, since=fault.began)
    replaced = lab.history.logins(since=fault.began)
    if replaced and (not refused or replaced[0].began < refused[0].began):
        return None
    return refused[0].began if refused else dead


def _refused(history: History, *, since: float) -> list[Exchange]:
    """What was refused but the end of a token, which a client may ask for that has another."""
    return history.find(since=since, where=lambda e: e.status == 403 and e.kind != "revoke")


READERS = 50

LATE = 0.15
"""Seconds by which answers are late while fifty readers ask."""

REFUSED = 10
"""How many of them must meet the dead token, of a client that lets so many ask at once."""

TWO = 2
"""How many must meet it of any client: one who is refused alone needs one login, whoever asks."""


@pytest.mark.scenario("TOK-12")
def test_fifty_readers_cause_one_login(lab: Lab) -> None:
    """Fifty callers have sent their reads when the first of them hears that the token is dead."""
    client = lab.start()
    if lab.leaves("file"):
        raise NotClaimed("its reads are looks into a file, which meet no token")
    # Each then reads a secret that was not there before: a cache has to ask for it.
    paths = [f"backend/readers/{number}" for number in range(1, READERS + 1)]
    with contextlib.ExitStack() as callers, contextlib.ExitStack() as late:
        # Late answers: all have asked before one has heard, however quick the client is.
        slow = late.enter_context(lab.network.slow(latency=LATE))
        slow.optional = True
        with lab.reading(every=1.0, callers=READERS):
            lab.watch(1.5)
        before = lab.tokens_alive()
        for path in paths:
            lab.put("v1", path=path, key=KEY)
        with lab.vault.token_revoked(lab.accessor()) as fault:
            dead = lab.history.now()
            over = threading.Event()
            for path in paths:
                callers.enter_context(reading(client, every=1.0, path=path, key=KEY, stop=over))
            # Who looks at its token now and then may have been refused before that.
            lab.logs_in_again(since=fault.began, within=0.1 * lab.ttl + lab.deadline)
            lab.until_good_read(since=dead, within=lab.deadline)
            lab.watch(1.0)
            after = lab.tokens_alive()
        late.close()
        _each_is_served(lab, paths, within=lab.deadline + lab.refresh)
    # Who asks for a few readers at once, and takes the token then, is refused for these few alone.
    few = _most_at_once(lab.history, since=fault.began, until=slow.end) // 2
    lab.must_have(refused_readers=max(TWO, min(REFUSED, few)), since=fault.began)
    lab.judge(
        logins_at_most(1, since=fault.began, due=0.3),  # the last of them waits for R, and longer
        at_most(
            before,
            after,
            "tokens alive, as before",
            late=logins_given_up(lab.history, since=fault.began),
        ),
    )


def _each_is_served(lab: Lab, paths: Iterable[str], *, within: float) -> None:
    """Wait until each reader has its secret, and ask later whether that was in time.

    No answer is late any more. A call may be under way that nobody serves, and what a client holds
    of a secret that it has not got it may hold for as long as a value.
    """
    since = lab.history.now()
    lab.until(
        lambda: {o.path for o in lab.history.calls("read", since=since) if o.good}.issuperset(
            paths
        ),
        within=within + lab.deadline,
    )
    lab.judge_later(*(recovers_within(within, since=since, path=path) for path in paths))


def _most_at_once(history: History, *, since: float, until: float) -> int:
    """The most reads that a client has on their way at once while answers are late.

    No answer comes before that time is over, so whatever was sent meanwhile waits for its own.
    """
    reads = history.find("read", since=since, until=until - LATE)
    return max(
        (len(history.find("read", since=o.began, until=o.began + LATE)) for o in reads), default=0
    )


UNASKED = 0.93
"""Of a life: who renews by a timer of its own, or logs in instead, has done so by here."""

SURELY_OVER = 0.5
"""Seconds after a token's end, as Vault has it, in which it ends by any client's clock."""


@pytest.mark.scenario("TOK-15")
def test_refused_renewal_ends_in_a_login(lab: Lab) -> None:
    """The token is revoked while nobody reads, so that a renewal is the first to meet it."""
    lab.start()
    with lab.vault.token_revoked(lab.accessor()) as fault:
        ends = last_grant(lab.history, until=fault.began) + lab.ttl
        by_itself = lab.until(
            lambda: bool(_of_its_token(lab.history, since=fault.began)),
            within=max(0.0, ends - (1 - UNASKED) * lab.ttl - lab.history.now()),
        )
        if not by_itself:  # some renew in the call of whoever comes when it is time
            lab.client.read()
            lab.require(
                "a renewal, where a caller comes late in the life",
                lambda history: bool(history.find("renew", since=fault.began)),
            )
        first = _of_its_token(lab.history, since=fault.began)
        met = first[0].began if first else lab.history.now()
    if never_renews(lab.history) and not lab.touched(fault):
        raise NotClaimed(LOGS_IN_INSTEAD)
    over = ends + SURELY_OVER
    replaced = lab.until(
        lambda: bool(lab.history.logins(since=met)),
        within=max(0.0, over - lab.history.now()),
    )
    if not replaced:  # some leave the login to the next caller, and need none before
        lab.client.read()
    lab.logs_in_again(since=met, within=max(ends - met, 0.0) + lab.deadline)
    lab.until_good_read_by_asking(within=lab.deadline)
    lab.watch(1.0)
    logins = lab.history.logins(since=met)
    lab.judge(
        renewals_at_most(4, since=met, until=logins[0].began if logins else None),
        logins_at_most(1, since=met),
        # Who takes it for good although it was not renewed finds out by the refusal of a read.
        no_refused_read(since=over, may_be_empty=True),
    )


def _of_its_token(history: History, *, since: float) -> list[Exchange]:
    """What a client asked for with its token, or to have one: whether Vault serves needs none."""
    return history.find(since=since, where=lambda e: e.kind != "status")


def _end_of(lab: Lab) -> float:
    """When the token in use ends, if nobody renews it from now on."""
    return last_grant(lab.history, until=lab.history.now()) + lab.ttl


KEPT_FOR = 0.8
"""Of a life: from here on who could not look after its token since 0.2 of it may give it up."""


@pytest.mark.scenario("TOK-16")
def test_failed_renewal_is_tried_again(lab: Lab) -> None:
    """The audit log cannot be written until a renewal was answered 500; then all is well."""
    lab.start()
    lab.watch(0.2 * lab.ttl)
    with contextlib.ExitStack() as callers:
        with lab.vault.audit_unwritable() as fault:
            renewal_comes(
                lab,
                fault,
                callers,
                lambda: bool(_failed(lab.history, "renew", "login", since=fault.began)),
            )
        if not (failed := _failed(lab.history, "renew", since=fault.began)):
            _tried_no_renewal(lab, fault)
            return
        # Vault is well before it is noted so, and what is tried in that moment counts.
        again = failed[0].ended or failed[0].began
        ends = last_grant(lab.history, until=failed[0].began) + lab.ttl
        lab.history.wait_for(
            lambda: bool(lab.history.find("renew", since=again, where=lambda e: e.good)),
            ends - lab.history.now(),
        )
    lab.judge(renews_again(since=again, before=ends), same_token(since=fault.began))


def _failed(history: History, *kinds: RequestKind, since: float) -> list[Exchange]:
    """The requests of these kinds that Vault could not serve."""
    return history.find(*kinds, since=since, where=lambda e: e.status == 500)


def _tried_no_renewal(lab: Lab, fault: Fault) -> None:
    """Judge who tried no renewal while they failed: it may have thrown its token away instead.

    Raises:
        NotClaimed: It renews no token, and logged in for that.
        NotExercised: It did nothing.
    """
    good_until = last_grant(lab.history, until=fault.began) + KEPT_FOR * lab.ttl
    if lab.history.find("login", since=fault.began, until=good_until):
        # A login in its turn, or a token that was given up: the next turn tells which.
        lab.until(
            lambda: (
                bool(lab.history.find("renew")) or len(lab.history.logins(since=fault.began)) > 1
            ),
            within=lab.recovery_after(fault) + 0.95 * lab.ttl,
        )
        if lab.history.find("renew"):
            lab.judge(same_token(since=fault.began, until=good_until))
            return
    if never_renews(lab.history):
        raise NotClaimed(LOGS_IN_INSTEAD)
    raise NotExercised(
        "no renewal was tried while renewals failed, up to nine tenths of the token's life"
    )


HANGS = 3.0
"""Seconds for which the answer to a renewal is late."""

WITHIN_A_CALL = 0.75
"""Of a call's deadline: for no longer does it hang, so that nobody has to take it for an outage."""

HELD_UP = 3
"""Who waits for more than one such part of that time is held up by it."""

ALL_BUT_THE_END = 0.95
"""Of a life: from here on a reader may have to wait for another token."""

NOT_THE_LAST = 0.9
"""Of a life: by here no renewal hangs any more but the first, if that comes late."""

AT_LAST = 0.93
"""Of a life: beside a renewal that comes later there are no five reads to judge."""

MEANWHILE = 5
"""Callers, each with a secret of its own: who asks once for all that want the same is not meant."""


@pytest.mark.scenario("TOK-22")
def test_renewal_that_hangs_holds_nobody_up(lab: Lab) -> None:
    """Renewals are not answered for seconds, an early one never; five read with a good token."""
    lab.start()
    if lab.leaves("file"):
        raise NotClaimed("its reads are looks into a file, which wait for no token")
    hangs = min(HANGS, WITHIN_A_CALL * lab.deadline)
    paths = [f"backend/readers/{number}" for number in range(1, MEANWHILE + 1)]
    for path in paths:
        lab.put("v1", path=path, key=KEY)
    with contextlib.ExitStack() as callers:
        over = threading.Event()
        for path in paths:
            callers.enter_context(reading(lab.client, every=0.4, path=path, key=KEY, stop=over))
            lab.watch(0.4 / MEANWHILE)  # apart from each other
        with lab.http.delay("renew", by=hangs) as fault:
            fault.optional = True  # the first may be the only one, and is never answered then
            first = _first_that_hangs(lab)
            granted = _granted_last(lab.history)
            ends = granted + lab.ttl
            # Who gives a renewal up sooner, and tries again, meets it for as long in all, but not
            # in the last tenth of a life: one of those that come then has to succeed. What is held
            # back when this is over stays so for its whole time.
            over_by = granted + NOT_THE_LAST * lab.ttl - hangs
            lab.until(
                lambda: _hung(lab.history) >= hangs or bool(lab.history.logins(since=first.began)),
                within=max(0.0, over_by - lab.history.now()),
            )
        lab.until(lambda: all(e.ended for e in _held_back(lab.history)), within=lab.deadline)
        lab.until(
            lambda: any(
                came_through(e) for e in lab.history.find("renew", "login", since=first.began)
            ),
            within=max(0.0, ends + 0.5 - lab.history.now()),  # what comes late is told
        )
        lab.recovers(after=fault)
    good_until = granted + ALL_BUT_THE_END * lab.ttl
    lab.require(
        f"a renewal that hung for {hangs:g} s, or until the client gave it up", _waited_for(hangs)
    )
    lab.require(
        f"reads of {MEANWHILE} callers meanwhile",
        lambda history: _callers_beside(history, good_until) == MEANWHILE,
    )
    lab.judge(
        renewals_hold_up_nobody(hangs / HELD_UP, since=first.began, until=good_until),
        renewed_or_replaced(since=first.began, before=ends),
        logins_at_most(1, since=fault.began),
    )


def _first_that_hangs(lab: Lab) -> Exchange:
    """The first renewal on which a fault acts, waited for up to `AT_LAST` of the life.

    It is never answered if it comes so early that whoever gives it up has time for another one. All
    others, and those that come after it, are answered in the end.
    """
    granted = _granted_last(lab.history)

    def comes(by: float) -> None:
        lab.until(
            lambda: bool(_held_back(lab.history)) or never_renews(lab.history),
            within=max(0.0, by - lab.history.now()),
        )

    with lab.http.delay("renew", by=lab.ttl, first=1) as never:
        never.optional = True  # for who renews late
        comes(by=granted + lab.ttl - _to_try_again(lab))
    comes(by=granted + AT_LAST * lab.ttl)
    if renewals := _held_back(lab.history):
        return renewals[0]
    if never_renews(lab.history):
        raise NotClaimed(LOGS_IN_INSTEAD)
    raise NotExercised(
        f"no renewal was tried up to {AT_LAST:g} of the token's life, so none could hang while "
        "reads with it are judged"
    )


def _to_try_again(lab: Lab) -> float:
    """Seconds for a renewal that nobody answers and the next one, or a login.

    A deadline, and what is granted after any fault that is as long.
    """
    return lab.deadline + lab.or_its_pause(1.5 * lab.deadline + 2.0)


def _granted_last(history: History) -> float:
    """When the token in use was last given its life; a renewal that hangs has not given it yet."""
    grants = history.find("login", "renew", where=came_through)
    last = [each for each in grants if each.interference is None][-1]
    return last.ended or last.began


def _held_back(history: History) -> list[Exchange]:
    """The renewals on which the fault acted."""
    return history.find("renew", where=lambda e: e.interference is not None)


def _hung(history: History) -> float:
    """For how many seconds they were, in all."""
    return sum((e.ended or history.now()) - e.began for e in _held_back(history))


def _waited_for(seconds: float) -> Callable[[History], str]:
    """Whether one of them was held back for so long, unless the client itself ended it before."""

    def condition(history: History) -> str:
        took = [
            f"{(e.ended or history.now()) - e.began:.1f} s"
            for e in _held_back(history)
            if e.closed == "client" or (e.ended or history.now()) - e.began >= 0.9 * seconds
        ]
        return ", ".join(took)

    return condition


def _callers_beside(history: History, until: float) -> int:
    """How many callers had a read under way while a renewal hung."""
    return len(
        {
            call.caller
            for call in history.calls("read", until=until)
            for e in _held_back(history)
            if call.began < (e.ended or until) and e.began < (call.ended or until)
        }
    )


@pytest.mark.scenario("TOK-17")
def test_deleted_role_ends_nothing_at_once(lab: Lab) -> None:
    """The role is deleted, then made again with new ids; renewals are answered 500 meanwhile."""
    lab.start()
    with lab.reading(every=0.4):
        with lab.vault.role_deleted(ROLE, keeps_its_id=False) as fault:
            ends = _end_of(lab)  # some renew a new token at once, and a start may take its time
            lab.watch(ends + 1.0 - lab.history.now())
            if lab.can("health"):
                # Who says what its own last look came to has had another one by then.
                within = max(0.5 * lab.ttl, lab.refresh + 1.0)
                turns(lab, well=False, within=within, every=1.0)
                lab.judge_later(
                    says_of_its_health(well=False, since=fault.began, until=lab.history.now())
                )
            lab.watch(0.5)
        lab.role_id = approle.role_id(lab.operator, ROLE)
        lab.new_secret_id()
        lab.recovers(after=fault)
    served_while_its_token_lives(lab, since=fault.began, ends=ends)
    lab.judge(
        no_failed_read(until=fault.began, may_be_empty=True),
        # As in a storm: one peak, and one a second for the half of a life in which they fail.
        renewals_at_most(STORM_PEAK + int(lab.ttl / 2), since=fault.began, until=ends),
        bad_logins_at_most(4),
    )


# The clean end, and what is left behind


@pytest.mark.scenario("TOK-18")
def test_clock_that_is_set(lab: Lab) -> None:
    """Its clock goes forward for a life, back while a value is new, forward while Vault is gone."""
    client = lab.start()
    pid = client.subject.pid
    assert pid is not None
    loaded = lab.clock.look(pid)
    with reading_in_each_way(lab, every=0.5):
        with _leasing(lab) as leased:
            with lab.clock.set(HALF_AN_HOUR):
                lab.watch(1.1 * lab.ttl)
            with lab.clock.set(-HALF_AN_HOUR):
                lab.watch(1.0)
                # What a cache holds gets old by the time that passes, whatever time of day it is.
                lab.put("v2")
                changed = lab.history.now()
                lab.watch(max(1.1 * lab.ttl - 1.0, lab.refresh + 2.0))
            end = lab.history.now()
        # The clock is right by when Vault is back: a pause that ends at a time of day has half an
        # hour to go then.
        with vault_gone(lab) as gone:
            gone.optional = True  # who answers from memory may not meet it, and rests for nobody
            with lab.clock.set(HALF_AN_HOUR):
                lab.hold(gone, 1.0)
                # What a cache holds stands in for as long by that clock too, once it is not fresh.
                if lab.can("cached") and lab.declared("max_stale", 0.0) > lab.refresh:
                    met = min(lab.refresh + lab.deadline, STANDS_IN)
                    lab.until(lambda: bool(_not_fresh(lab, gone)), within=met)
            # And so has a call that is tried again until a time of day.
            if lab.deadline <= LONGEST_CALL:
                lab.watch(lab.deadline + 1.0)
        lab.recovers(after=gone, within=lab.ttl)
    lab.require("a process that takes its time from libfaketime", lambda _: loaded)
    lives_under_reads(lab, 2.2, of=lab.ttl)
    if leased is not None:
        bound = lab.deadline + 2.0
        lab.judge_later(
            no_refused_use(since=leased, until=end, around_logins=AROUND),
            uses_go_on(bound, since=leased, until=end),
            # Who never renews a lease takes another in its turn; with a new token comes one, too.
            credentials_apart(
                ITS_TURN * (lab.entry.lease_ttl or 0.0),
                since=leased,
                until=end,
                around_logins=AROUND,
            ),
        )
    lab.judge(
        *(sees("v2", PATH, since=changed, within=lab.refresh, verb=verb) for verb in ways(lab)),
        renews_within(0.3, 0.9, until=end),
        logins_at_most(1, until=end, due=0.3),
        no_failed_read(until=end - lab.deadline),  # a call that is under way then may be cut off
        none_of(
            "an old value is served for max_stale, as time passes, whatever time of day it is",
            _refused_too_soon(lab, gone),
        ),
    )


ITS_TURN = 0.3
"""Of a lease's life: from here on it may be replaced by who never renews one."""

AROUND = 1.0
"""Seconds before and after a login at Vault: with another token come other credentials."""


@contextlib.contextmanager
def _leasing(lab: Lab) -> Iterator[float | None]:
    """Log in to a database with what is leased while the block runs, where the subject leases.

    Yields:
        When it began; None if there is no database, or the subject claims no leases.
    """
    if not lab.has_database:
        yield None
        return
    began = lab.history.now()
    first_credential(lab)
    with pool(lab, every=LOGS_IN_EVERY, reports=False):
        yield began


LOGS_IN_EVERY = 0.25
"""Seconds from one login at the database to the next."""

LONGEST_CALL = 4.0
"""Seconds: a longer deadline would let the token end in that outage."""

STANDS_IN = 4.0
"""Seconds for which that outage lasts longer at most, where a cache is fresh until then, or a call
tries for as long as it has before it is given what the cache holds."""


def _not_fresh(lab: Lab, gone: Fault) -> list[Operation]:
    """The answers from a cache in that outage that it marks as old, or has not got any more."""
    return lab.history.calls(
        "read_cached", since=gone.began, where=lambda o: o.outcome is not None and not o.good
    )


def _refused_too_soon(lab: Lab, gone: Fault) -> dict[str, float]:
    """What a cache did not serve then, of who declares for how long it does (max_stale)."""
    limit = lab.declared("max_stale", 0.0) - lab.refresh  # it may have been as old as R before
    until = min(gone.end, gone.began + limit)
    until -= lab.history.slack(gone.began, until)
    return {
        f"a read_cached ended {call.told}": call.began
        for call in reversed(_not_fresh(lab, gone))
        if call.failed and (call.ended or call.began) < until
    }


SILENT_AFTER = 5.0
"""Seconds after which a client that was ended has ended, and asks for nothing any more."""


@pytest.mark.scenario("TOK-19")
def test_clean_end_revokes_the_token(lab: Lab) -> None:
    """The subject is ended as a deployment would; the rest of its token's life is silence."""
    before = lab.tokens_alive()
    client = lab.start()
    if lab.leaves("token"):
        raise NotClaimed("it leaves its token behind when it ends, as it says")
    held = lab.tokens_alive() - before
    lab.require("a token that was alive before the end", lambda _: held > 0)
    ends = _end_of(lab)
    ended = client.close(timeout=5.0)
    if ended.outcome != "ok":
        text = f"it {ended.told}"
        lab.note(Finding("a clean end within five seconds", text, ended.began))
    else:
        _call_once_more(lab, client)
    lab.history.wait_for(lambda: lab.tokens_alive() <= before, SILENT_AFTER)
    left = lab.tokens_alive()
    # Until then the renewal of a token that is no more would come, and what is done for its loss.
    lab.watch(max(0.0, ends - lab.history.now()))
    lab.judge(
        at_most(before, left, "tokens alive five seconds after the end"),
        at_most(before, lab.tokens_alive(), "tokens alive when that token would have ended"),
        requests_at_most(0, since=ended.began + SILENT_AFTER),
        steady=False,
    )


def _call_once_more(lab: Lab, client: Driver) -> None:
    """Read from a closed object, as a request that is served while its service ends.

    A program is gone by then, and whatever runs behind HTTP is nobody's to call.
    """
    if isinstance(client.subject, InProcessSubject):
        lab.history.mark("a read after the end")
        with contextlib.suppress(OperationFailed, SubjectError):
            client.subject.read_once_closed(PATH, KEY, timeout=lab.deadline)


@pytest.mark.scenario("TOK-20")
def test_restarts_leak_no_token(lab: Lab) -> None:
    """Ended after reads, ended at once, ended while it logs in, each way; by a signal alone too."""
    before = lab.tokens_alive()
    for _ in range(2):
        client = lab.start()
        if lab.leaves("token"):
            raise NotClaimed("it leaves its token behind when it ends, as it says")
        client.close(timeout=5.0)
    if (idle := lab.open()) is not None:
        idle.close(timeout=5.0)
    _end_by_a_signal(lab, lab.start())
    with lab.network.slow(latency=0.4) as slow:
        for end in (_end_by_its_close, _end_by_its_close, _end_by_a_signal):
            _end_while_it_logs_in(lab, end)
    if not lab.history.find("login", since=slow.began):
        raise NotExercised("the subject did not log in, so it was not ended while it did")
    lab.history.wait_for(lambda: lab.tokens_alive() <= before, 5.0)
    lab.judge(
        at_most(before, lab.tokens_alive(), "tokens alive five seconds after the last end"),
        steady=False,
    )


def _end_while_it_logs_in(lab: Lab, end: Callable[[Lab, Driver], None]) -> None:
    began = lab.history.now()
    client = lab.open()
    if client is None:
        return
    reader = threading.Thread(target=_read_in_vain, args=(client,), daemon=True)
    reader.start()
    lab.history.wait_for(lambda: bool(lab.history.find("login", since=began)), 3.0)
    end(lab, client)
    reader.join(timeout=10.0)


def _end_by_its_close(_: Lab, client: Driver) -> None:
    client.close(timeout=5.0)


def _end_by_a_signal(lab: Lab, client: Driver) -> None:
    """SIGTERM, and nothing else: so a program is ended where it runs, which hears of no `close`."""
    subject = client.subject
    if not isinstance(subject, Terminable):
        client.close(timeout=5.0)  # it has no end of its own, or ends by that signal anyhow
        return
    client.closed = True
    lab.history.mark("SIGTERM alone")
    subject.terminate()
    began = lab.history.now()
    # As for any end; a call may hang when it comes. One that cannot be asked any more, since it has
    # closed its output or said a word of its end there, may run on.
    if not lab.history.wait_for(lambda: subject.exit_code is not None, lab.deadline + 5.0):
        text = f"it still ran {lab.history.now() - began:.1f} s after it"
        lab.note(Finding("SIGTERM alone ends it", text, began, rests_on=(), lacks=True))
        subject.kill()


def _read_in_vain(client: Driver) -> None:
    """A read that nobody hears the end of, since the subject is ended first."""
    with contextlib.suppress(OperationFailed, SubjectError):
        client.subject.read(PATH, KEY, timeout=8.0)


FIRST_CALLERS = 10
"""Who all ask a client that has no token yet, in the time of its first login."""


@pytest.mark.scenario("TOK-21")
def test_no_login_for_each_read(lab: Lab) -> None:
    """Ten callers are the first, five read three secrets in each way; the token lives for 768 h."""
    with lab.http.delay("login", by=LATE) as slow:
        slow.optional = True  # a server that is one for all scenarios may have a token
        lab.start(callers=FIRST_CALLERS)
    others = {"backend/database": "DB_PASSWORD", "backend/redis": "REDIS_PASSWORD"}
    for path, key in others.items():
        lab.put("v1", path=path, key=key)
    with (
        lab.reading(every=0.4, callers=2),
        lab.reading(every=0.4, verb="read_cached" if lab.can("cached") else "read"),
        lab.reading(every=0.4, path="backend/database", key="DB_PASSWORD"),
        lab.reading(every=0.4, path="backend/redis", key="REDIS_PASSWORD"),
    ):
        lab.watch(4.0)
        alive = lab.tokens_alive()
    calls, read = len(lab.history.calls("read", "read_cached")), lab.history.now()
    if lab.can("health"):
        for _ in range(3):
            lab.client.healthy()
    lab.require("forty calls or more", lambda _: f"{calls} calls" if calls >= 40 else "")
    lab.judge(
        logins_at_most(1),
        at_most(1, alive, "tokens alive"),
        # Right after the login, if at all: its turn is days away, more milliseconds than 31 bits
        # can count for who renews at four fifths of a life.
        at_most(1, _most_of_one_token(lab.history, "renew"), "renewals of one token"),
        requests_at_most(3 + calls // 4, "lookup", "capabilities", since=0.0, until=read),
        no_failed_read(),
    )
