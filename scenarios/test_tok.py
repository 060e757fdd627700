"""Tokens: renewal, max TTL, kinds, revocation, and the clean end."""

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
from vault_harness.judge.conditions import Sighting
from vault_harness.judge.driver import Driver, Verb, reading
from vault_harness.judge.faults.http import HTML, JSON, NOTICE, SIGN_IN
from vault_harness.judge.helpers.calls import (
    HELD_UP,
    WITHIN_A_CALL,
    ask_for_a_whole,
    has_its_files,
    reading_keys,
    secret_of_the_cache,
    wholes_come_back,
)
from vault_harness.judge.helpers.database import LOGS_IN_EVERY, first_credential, pool
from vault_harness.judge.helpers.instead import vault_gone
from vault_harness.judge.helpers.lives import (
    ALL_BUT_THE_END,
    at_the_same_time,
    let_go,
    renewal_comes,
    served_until_its_token_ends,
    sleeps,
)
from vault_harness.judge.helpers.starts import ends_cleanly, open_reading, turns
from vault_harness.judge.helpers.traces import (
    BUSY,
    footprint_between_calls,
    processor_at_most,
    processor_time,
)
from vault_harness.judge.lab import KEY, PATH, ROLE, Lab
from vault_harness.judge.oracles import (
    LOGS_IN_INSTEAD,
    at_most,
    bad_logins_at_most,
    came_through,
    credentials_apart,
    failed_reads_at_most,
    last_grant,
    logins_at_most,
    logs_in_again,
    never_renews,
    no_failed_read,
    no_refused_read,
    no_refused_use,
    none_of,
    quiet,
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
from vault_harness.judge.subjects import InProcessSubject, OperationFailed, Terminable
from vault_harness.judge.verdict import Finding, NotClaimed, NotExercised
from vault_harness.local.vault import approle
from vault_harness.recorder.fault import Fault, RequestKind
from vault_harness.recorder.history import SLACK, History
from vault_harness.recorder.observations import Exchange, Operation

# Renewed in time, replaced in time


def lives_under_reads(lab: Lab, lives: float, *, of: float) -> None:
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
    """Each token is renewed between 0.3 and 0.9 of its life, for more than two lives."""
    lab.start()
    with lab.reading(every=0.5):
        lab.watch(2.2 * lab.ttl)
        end = lab.history.now()
    lives_under_reads(lab, 2.2, of=lab.ttl)
    lab.judge(renews_within(0.3, 0.9, until=end), no_failed_read())


HALF_AN_HOUR = 1800
"""Seconds by which the clock is set; a TLS certificate is valid an hour back."""

INSTANCES, ROUNDS = 4, 3
SPREAD = 0.005
"""Part of the TTL: the least difference between four instances' waits, in two of three rounds. A
jitter of 5 % fails once in 20,000 runs, and one of 3.3 % (Vault's LifetimeWatcher) once in 2,000.
"""
APART = 0.02
"""Part of the TTL: instances of such different ages that renew at one pace never meet. A slow start
alone makes a smaller difference.
"""
OFTEN = 0.5
"""Seconds between the calls to an instance."""
MEETINGS = 2
"""Rounds in which instances that logged in apart renew together; one may be chance."""
NEAR = 0.3
"""Seconds before a renewal in which a late machine makes it late."""


@pytest.mark.scenario("TOK-02")
def test_renewals_are_spread(lab: Lab) -> None:
    """Four instances that start together renew apart, and the end of a fifth ends no other."""
    if lab.environment.subject.kind == "http":
        raise NotClaimed("a server is one instance: several need several servers")
    first, brief = lab.start(), open_reading(lab)
    its_own = lab.tokens.accessor()
    instances = [first, *(open_reading(lab) for _ in range(INSTANCES - 1))]
    began = lab.history.now()
    looked = began + 2.4 * lab.ttl
    with contextlib.ExitStack() as callers:
        for instance in instances:
            if instance is not None:
                callers.enter_context(reading(instance, every=OFTEN))
                # Spread: clients that renew within a call would all renew at once.
                lab.watch(OFTEN / INSTANCES)
        with contextlib.nullcontext() if brief is None else reading(brief, every=OFTEN):
            # The fifth is closed after all have renewed once. A client that never renews is not
            # judged.
            lab.history.wait_for(lambda: bool(_rounds(lab.history, but=its_own)), lab.ttl)
        closed = lab.history.now()
        if brief is not None:
            brief.close()
        lab.history.wait_for(
            lambda: len(_rounds(lab.history, but=its_own)) >= ROUNDS, looked - lab.history.now()
        )
        looked = lab.history.now()
    # A login can look like a replacement for another's renewal; failed reads tell them apart.
    if never_renews(lab.history) and not any(o.failed for o in lab.history.calls("read")):
        raise NotClaimed(LOGS_IN_INSTEAD)
    spread, alike, rounds = [], [], _rounds(lab.history, but=its_own)
    late = 0.0
    for turn in rounds:
        waits = _range(one.waited for one in turn)
        apart = _range(one.after for one in turn)
        # A late machine may cause a difference, but never hides one.
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
            too_slow=len(rounds) >= 2,  # the machine was as late as the waits differ
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
            let_go(lab.history, since=closed, until=looked, but=its_own),
        ),
    )


@dataclass(frozen=True)
class _Renewal:
    """A renewal: when it came, its wait, and the time since its login."""

    at: float
    waited: float
    after: float


def _rounds(history: History, *, but: str) -> list[tuple[_Renewal, ...]]:
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
    """Return when instances that logged in apart renewed together.

    Clients that renew at a tick of the wall clock do so. A delay of the machine counts as time
    between them.
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
    calls = history.calls("read", since=since, until=until)
    took = [call.ended - call.began for call in calls if call.ended is not None]
    return max([history.lateness(since, until), *took]) < OFTEN


def _range(times: Iterable[float]) -> float:
    ordered = sorted(times)
    return ordered[-1] - ordered[0]


def _lateness(history: History, renewals: Iterable[_Renewal]) -> float:
    return max(history.lateness(one.at - NEAR, one.at) for one in renewals)


@pytest.mark.scenario("TOK-03")
def test_max_ttl_is_met_by_a_login_in_time(lab: Lab) -> None:
    """At its max TTL a token is replaced by a login before its end, and no read fails."""
    _ends_at_a_max_ttl(lab)


@pytest.mark.scenario("TOK-05")
def test_explicit_max_ttl_is_met_by_a_login_in_time(lab: Lab) -> None:
    """At its explicit max TTL a token is replaced by a login before its end."""
    _ends_at_a_max_ttl(lab)


def _ends_at_a_max_ttl(lab: Lab) -> None:
    longest = 1.5 * lab.ttl
    lab.start()
    with lab.reading(every=0.25):
        lab.watch(1.3 * longest)
        end = lab.history.now()
        alive = lab.tokens.alive()
    lives_under_reads(lab, 1.3, of=longest)
    lab.judge(
        no_failed_read(),
        no_refused_read(since=lab.steady_since),  # at its start a client may read without a token
        replaced_before_the_end(until=end),
        # Each lives for 1.5 TTLs, and is replaced after half a TTL at the earliest. A client that
        # never renews leaves only tokens from its logins.
        *([] if never_renews(lab.history) else [at_most(3, alive, "tokens alive at once")]),
    )


@pytest.mark.scenario("TOK-04")
def test_token_whose_life_is_shortened_is_replaced(lab: Lab) -> None:
    """A token whose role's max TTL is lowered is replaced before its end, after few renewals."""
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
        # The renewal that Vault caps, and three more.
        renewals_at_most(
            4, since=lowered.began, until=replaced[0].began if replaced else end_of_it
        ),
        logins_at_most(2, until=end),
    )


@pytest.mark.scenario("TOK-06")
def test_token_that_cannot_be_renewed_is_replaced(lab: Lab) -> None:
    """A token that cannot be renewed is replaced in time, and late logins hold up no reader."""
    lab.tokens.issue_instead(renewable=False)
    lab.start()
    hangs = min(WITHIN_A_CALL * lab.deadline, BEFORE_THE_END * lab.ttl)
    # So often that one read begins while the login hangs and the old token is good.
    with (
        lab.http.delay("login", by=LATE, first=1) as late,
        lab.http.delay("login", by=hangs, nth=2) as slow,
        lab.reading(every=LATE, callers=2),
    ):
        late.optional = True  # a client that never logs in again fails reads
        slow.optional = True  # a late client may have no third login
        end = _one_life_and_a_bit(lab, every=LATE / 2)
        hung = _hanging_logins(lab.history)
    lab.judge(
        no_failed_read(),
        no_refused_read(since=lab.steady_since),  # at its start a client may read without a token
        renewals_at_most(len(lab.history.logins()), since=0.0),
        replaced_before_the_end(until=end),
        logins_at_most(1, since=late.began),  # a loop that began before is a failure too
        *(
            renewals_hold_up_nobody(hangs / HELD_UP, since=one.began, until=until, of="login")
            for one in hung
            if (until := _good_until(lab, one)) > one.began
        ),
    )


BEFORE_THE_END = 0.15
"""Part of a life: the longest hang that is over by `ALL_BUT_THE_END`."""


def _good_until(lab: Lab, login: Exchange) -> float:
    before = math.nextafter(login.began, 0.0)
    return last_grant(lab.history, until=before) + ALL_BUT_THE_END * lab.ttl


def _hanging_logins(history: History) -> list[Exchange]:
    return history.find("login", where=lambda e: e.interference is not None)[1:]


def _one_life_and_a_bit(lab: Lab, *, every: float = 0.25) -> float:
    with lab.reading(every=every):
        lab.watch(1.6 * lab.ttl)
        end = lab.history.now()
    lives_under_reads(lab, 1.6, of=lab.ttl)
    return end


@pytest.mark.scenario("TOK-07")
def test_batch_token_is_replaced(lab: Lab) -> None:
    """A batch token is replaced in time, even if a gateway's page answers a login."""
    client = lab.start()
    with lab.reading(every=0.25):
        began = lab.history.now()
        paged = [login for page in NO_LOGINS if (login := _answered_by_a_gateway(lab, *page))]
        lab.watch(max(0.0, began + 1.6 * lab.ttl - lab.history.now()))
        end = lab.history.now()
    lives_under_reads(lab, 1.6, of=lab.ttl)
    client.close(timeout=5.0)
    lab.judge(
        # Some clients log in within a call, which may fail.
        no_failed_read(but=lambda call: any(at_the_same_time(call, login) for login in paged)),
        no_refused_read(since=lab.steady_since, until=end),
        # One does no harm: Vault answers 400, and the next token comes in time.
        at_most(1, _most_of_one_token(lab.history, "renew"), "renewals of one token"),
        at_most(1, _most_of_one_token(lab.history, "revoke"), "revocations of one token"),
        replaced_before_the_end(until=end),
        logins_at_most(1),
        steady=False,
    )


NO_LOGINS = (
    (SIGN_IN, HTML),
    (NOTICE, JSON),
)

ENOUGH = 0.2
"""Part of a life that a failed login must leave for the next one."""

EARLY = 1.0
"""Seconds: Vault counts a batch token's end in whole ones."""


def _answered_by_a_gateway(lab: Lab, body: bytes, headers: Mapping[str, str]) -> Exchange | None:
    """Answer the next login with a gateway's page, and wait for another token or the end.

    Return that login; None if it comes too late.
    """
    granted = last_grant(lab.history, until=lab.history.now())
    ends = granted + lab.ttl
    by = ends - EARLY - max(ENOUGH * lab.ttl, lab.declared("backoff_cap", 0.0) + 1.0)
    with lab.http.fail("login", status=200, body=body, headers=headers, first=1) as page:
        page.optional = True
        lab.until(lambda: bool(page.touched), within=max(0.0, by - lab.history.now()))
    lab.until(
        lambda: last_grant(lab.history, until=lab.history.now()) > granted,
        within=max(0.0, ends - lab.history.now()),
    )
    met = lab.history.find("login", since=page.began, where=lambda e: e.interference is not None)
    return next(iter(met), None)


def _most_of_one_token(history: History, kind: RequestKind, *, until: float | None = None) -> int:
    sent = Counter(each.token for each in history.find(kind, until=until))
    return max(sent.values(), default=0)


@pytest.mark.scenario("TOK-08")
def test_periodic_token_is_renewed(lab: Lab) -> None:
    """A periodic token is renewed past a max TTL, and the renewals leave nothing behind."""
    lab.start()
    with lab.reading(every=0.5):
        began = lab.history.now()
        lab.until(lambda: bool(lab.history.find("renew")), within=lab.ttl)
        before = footprint_between_calls(lab)
        lab.watch(began + 3.1 * lab.ttl - lab.history.now())
        end = lab.history.now()
        after = footprint_between_calls(lab)
    lives_under_reads(lab, 3.1, of=lab.ttl)
    lab.require("what it holds is counted", lambda _: before.compared(after))
    lab.judge(
        renews_within(0.3, 0.9, until=end),
        logins_at_most(1),
        no_failed_read(),
        none_of("renewals leave nothing behind", before.growth(after, spare=OPEN)),
    )


OPEN = 2
"""Growth: a pool may open two more, and a leak opens three."""


@pytest.mark.scenario("TOK-09")
def test_periodic_token_is_replaced_after_a_freeze(lab: Lab) -> None:
    """A periodic token that ended during a freeze is replaced by one login soon after."""
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
        # The renewal that was under way, and three more.
        renewals_at_most(4, since=fault.end, until=end),
    )


USES = 6

OTHERS = {
    "backend/database": "DB_PASSWORD",
    "backend/redis": "REDIS_PASSWORD",
    "shared/stripe": "STRIPE_SECRET_KEY",
}
"""Read once. A client that keeps them fresh sends four requests a round."""


@pytest.mark.scenario("TOK-10")
def test_token_of_few_uses_is_used_up(lab: Lab) -> None:
    """A token that is good for six requests is replaced when it is used up, and no read fails."""
    client = lab.start()
    if not has_its_files(lab):
        for path, key in OTHERS.items():
            lab.put("v1", path=path, key=key)
            client.read(path, key)
    # A client that answers from memory may notice only when it refreshes.
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
        # Some uses may be for a look at the token, a renewal or a revocation.
        at_most(2 + reads // 3, tokens, "logins"),
        logs_in_again(since=since, within=within),
        requests_at_most(tokens, "lookup", since=0.0),
        no_health="a client that asks Vault uses its token up by that",
    )


def _spent(history: History) -> Exchange | None:
    """Return the last use of the first token that was used up, or None.

    The login is no use, although the history lists it with its token.
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
    spent = _spent(history)
    first = history.logins()[0].began
    if spent is None:
        return first + 0.001, first + 0.001
    born = next((e.began for e in history.logins() if e.token == spent.token), first)
    return born + 0.001, spent.began


@pytest.mark.scenario("TOK-14")
def test_token_that_may_not_renew_itself_is_replaced(lab: Lab) -> None:
    """A token that may not renew itself is replaced in time, even if the next one lives shorter."""
    lab.start()
    # A client that plans with the first token's life comes too late for the next.
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
        logins_at_most(1),
        no_health="without the policy default a token may not look at itself either",
    )


def _shorter_life(lab: Lab) -> int:
    return max(round(2 * lab.ttl / 3), math.ceil(lab.declared("min_ttl", 0.0)))


# Lost before its time


@pytest.mark.scenario("TOK-11")
def test_revoked_token_costs_one_login(lab: Lab) -> None:
    """A token that is revoked under reads costs one login, and reads soon work again."""
    lab.start()
    _costs_one_login(lab, lambda: lab.vault.token_revoked(lab.tokens.accessor()))


@pytest.mark.scenario("TOK-13")
def test_token_that_dies_with_its_parent_costs_one_login(lab: Lab) -> None:
    """A token that ends with its parent costs one login, and cached reads soon work again."""
    lab.tokens.issue_instead(with_parent=True)
    lab.start()

    def revoked() -> AbstractContextManager[Fault]:
        child = lab.tokens.accessor()
        return lab.vault.parent_revoked(lab.tokens.parent_of(child), child=child)

    _costs_one_login(lab, revoked, verb="read_cached" if lab.can("cached") else "read")


def _costs_one_login(
    lab: Lab, loses: Callable[[], AbstractContextManager[Fault]], *, verb: Verb = "read"
) -> None:
    bound = min(0.1 * lab.ttl, 5.0)
    ask_for_a_whole(lab)  # a token of its own for this way is lost too
    with lab.reading(every=0.25, verb=verb), contextlib.ExitStack() as losses:
        lab.watch(0.5)
        lost = [losses.enter_context(loses())]
        met = _meets_its_loss(lab, lost[-1])
        end = lost[0].began + lab.ttl + lab.reach
        while met is None and lab.history.now() < end:
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
        logins_at_most(1, since=lost[-1].began),
    )


def _meets_its_loss(lab: Lab, fault: Fault) -> float | None:
    """Return when the dead token was first refused; None if another was used."""
    dead = lab.history.now()  # at the latest
    # A client that answers from memory meets the loss at its next renewal.
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
    """Return refused requests, without revocations, which say nothing about a newer token."""
    return history.find(since=since, where=lambda e: e.status == 403 and e.kind != "revoke")


READERS = 50

LATE = 0.15
"""Seconds, so that all callers ask before the first answer."""

REFUSED = 10
"""Readers that must meet the dead token, if the client sends so many at once."""

TWO = 2
"""Readers that must in any case: one refusal never costs two logins."""


@pytest.mark.scenario("TOK-12")
def test_fifty_readers_cause_one_login(lab: Lab) -> None:
    """Fifty reads that are under way with a dead token cause one login, and all are served."""
    client = lab.start()
    if lab.leaves("file"):
        raise NotClaimed("its reads are looks into a file, which meet no token")
    # New secrets, so that a cache has to ask.
    paths = [f"backend/readers/{number}" for number in range(1, READERS + 1)]
    with contextlib.ExitStack() as callers, contextlib.ExitStack() as late:
        # All have asked before the first answer, however fast the client is.
        slow = late.enter_context(lab.network.slow(latency=LATE))
        slow.optional = True
        with lab.reading(every=1.0, callers=READERS):
            lab.watch(1.5)
        before = lab.tokens.alive()
        for path in paths:
            lab.put("v1", path=path, key=KEY)
        with lab.vault.token_revoked(lab.tokens.accessor()) as fault:
            dead = lab.history.now()
            over = threading.Event()
            for path in paths:
                callers.enter_context(reading(client, every=1.0, path=path, key=KEY, stop=over))
            # From the fault on: a client that checks its token may be refused earlier.
            lab.logs_in_again(since=fault.began, within=0.1 * lab.ttl + lab.deadline)
            lab.until_good_read(since=dead, within=lab.deadline)
            lab.watch(1.0)
            after = lab.tokens.alive()
        late.close()
        _each_is_served(lab, paths, within=lab.deadline + lab.refresh)
    # A client that sends a few requests at once has only these refused.
    few = _most_at_once(lab.history, since=fault.began, until=slow.end) // 2
    lab.must_have(refused_readers=max(TWO, min(REFUSED, few)), since=fault.began)
    lab.judge(
        logins_at_most(1, since=fault.began),
        at_most(
            before,
            after,
            "tokens alive, as before",
        ),
    )


def _each_is_served(lab: Lab, paths: Iterable[str], *, within: float) -> None:
    since = lab.history.now()
    lab.until(
        lambda: {o.path for o in lab.history.calls("read", since=since) if o.good}.issuperset(
            paths
        ),
        within=within + lab.deadline,
    )
    lab.judge_later(*(recovers_within(within, since=since, path=path) for path in paths))


def _most_at_once(history: History, *, since: float, until: float) -> int:
    reads = history.find("read", since=since, until=until - LATE)
    return max(
        (len(history.find("read", since=o.began, until=o.began + LATE)) for o in reads), default=0
    )


UNASKED = 0.93
"""Part of a life in which a client with a timer has renewed, or logged in."""

SURELY_OVER = 0.5
"""Seconds from a token's end at Vault to its end by any client's clock."""


@pytest.mark.scenario("TOK-15")
def test_refused_renewal_ends_in_a_login(lab: Lab) -> None:
    """A renewal that is refused because the token is lost leads to one login in time."""
    lab.start()
    with lab.vault.token_revoked(lab.tokens.accessor()) as fault:
        ends = last_grant(lab.history, until=fault.began) + lab.ttl
        by_itself = lab.until(
            lambda: bool(_of_its_token(lab.history, since=fault.began)),
            within=max(0.0, ends - (1 - UNASKED) * lab.ttl - lab.history.now()),
        )
        if not by_itself:  # some clients renew within a call
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
    if not replaced:  # some clients leave the login to the next caller
        lab.client.read()
    lab.logs_in_again(since=met, within=max(ends - met, 0.0) + lab.deadline)
    lab.until_good_read_by_asking(within=lab.deadline)
    lab.watch(1.0)
    logins = lab.history.logins(since=met)
    lab.judge(
        renewals_at_most(4, since=met, until=logins[0].began if logins else None),
        logins_at_most(1, since=met),
        # A client without renewals learns of the end from a refused read.
        no_refused_read(since=over, may_be_empty=True),
    )


def _of_its_token(history: History, *, since: float) -> list[Exchange]:
    """Return requests with the client's token or for one; health checks need none."""
    return history.find(since=since, where=lambda e: e.kind != "status")


def _end_of(lab: Lab) -> float:
    return last_grant(lab.history, until=lab.history.now()) + lab.ttl


KEPT_FOR = 0.8
"""Part of a life after which a client may give up an unrenewed token."""


@pytest.mark.scenario("TOK-16")
def test_failed_renewal_is_tried_again(lab: Lab) -> None:
    """A renewal that failed (500) is tried again in time, and costs no login."""
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
        # Vault is well a moment before the fault's end is noted: a try then counts.
        again = failed[0].ended or failed[0].began
        ends = last_grant(lab.history, until=failed[0].began) + lab.ttl
        lab.history.wait_for(
            lambda: bool(lab.history.find("renew", since=again, where=lambda e: e.good)),
            ends - lab.history.now(),
        )
    lab.judge(renews_again(since=again, before=ends), same_token(since=fault.began))


def _failed(history: History, *kinds: RequestKind, since: float) -> list[Exchange]:
    return history.find(*kinds, since=since, where=lambda e: e.status == 500)


def _tried_no_renewal(lab: Lab, fault: Fault) -> None:
    """Judge a client that tried no renewal, and may have dropped its token.

    `NotClaimed` if it never renews but logs in, `NotExercised` if it did nothing.
    """
    good_until = last_grant(lab.history, until=fault.began) + KEPT_FOR * lab.ttl
    if lab.history.find("login", since=fault.began, until=good_until):
        # It logs in instead, or gave up its token: the next life shows which.
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
"""Seconds by which a renewal's answer is late."""

NOT_THE_LAST = 0.9
"""Part of a life after which only a late first renewal hangs."""

AT_LAST = 0.93
"""Part of a life after which five reads beside a renewal cannot be judged."""

MEANWHILE = 5
"""Callers, each with a secret: a client cannot merge their requests."""


@pytest.mark.scenario("TOK-22")
def test_renewal_that_hangs_delays_no_call(lab: Lab) -> None:
    """A renewal that hangs holds up no reader, and the token is renewed or replaced in time."""
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
            lab.watch(0.4 / MEANWHILE)
        with lab.http.delay("renew", by=hangs) as fault:
            fault.optional = True  # the first renewal may be the only one
            first = _first_that_hangs(lab)
            granted = _granted_last(lab.history)
            ends = granted + lab.ttl
            # If the client gives up sooner, its renewals hang for that long in all. In the last
            # tenth of a life nothing hangs.
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
            within=max(0.0, ends + 0.5 - lab.history.now()),
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
    """Return the first renewal that meets a fault, up to `AT_LAST`.

    It is never answered if it leaves time for another.
    """
    granted = _granted_last(lab.history)

    def comes(by: float) -> None:
        lab.until(
            lambda: bool(_held_back(lab.history)) or never_renews(lab.history),
            within=max(0.0, by - lab.history.now()),
        )

    with lab.http.delay("renew", by=lab.ttl, first=1) as never:
        never.optional = True
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
    return lab.deadline + lab.or_its_pause(1.5 * lab.deadline + 2.0)


def _granted_last(history: History) -> float:
    """Return when the token's life last began, without a renewal that hangs."""
    grants = history.find("login", "renew", where=came_through)
    last = [each for each in grants if each.interference is None][-1]
    return last.ended or last.began


def _held_back(history: History) -> list[Exchange]:
    return history.find("renew", where=lambda e: e.interference is not None)


def _hung(history: History) -> float:
    return sum((e.ended or history.now()) - e.began for e in _held_back(history))


def _waited_for(seconds: float) -> Callable[[History], str]:
    """Require a renewal that hung for `seconds`, or until it was given up."""

    def condition(history: History) -> str:
        took = [
            f"{(e.ended or history.now()) - e.began:.1f} s"
            for e in _held_back(history)
            if e.closed == "client" or (e.ended or history.now()) - e.began >= 0.9 * seconds
        ]
        return ", ".join(took)

    return condition


def _callers_beside(history: History, until: float) -> int:
    return len(
        {
            call.caller
            for call in history.calls("read", until=until)
            for e in _held_back(history)
            if call.began < (e.ended or until) and e.began < (call.ended or until)
        }
    )


@pytest.mark.scenario("TOK-23")
def test_login_that_is_never_answered_costs_no_token(lab: Lab) -> None:
    """A login without an answer costs no token and holds up no reader while the old token lives."""
    lab.tokens.issue_instead(renewable=False)
    lab.start()
    history, ends = lab.history, last_grant(lab.history, until=lab.history.now()) + lab.ttl
    with lab.reading(every=0.25, callers=3):
        with lab.http.delay("login", by=lab.ttl, first=1) as never:
            never.optional = True
            by = ends - _to_try_again(lab)
            lab.until(lambda: bool(never.touched), within=max(0.0, by - history.now()))
        if not (sent := history.find("login", since=never.began)):
            raise NotClaimed("it logs in too late in a token's life to try again in time")
        lab.until(
            lambda: any(came_through(each) for each in history.find("login", since=never.began)),
            within=max(0.0, ends + 0.5 - history.now()),
        )
        lab.watch(1.0)
    first = sent[0].began
    lab.judge(
        renewals_hold_up_nobody(
            lab.deadline / 2, since=first, until=ends - 0.05 * lab.ttl, of="login"
        ),
        failed_reads_at_most(2, since=first, until=ends),
        renewed_or_replaced(since=first, before=ends),
        logins_at_most(1, since=first),
    )


@pytest.mark.scenario("TOK-17")
def test_deleted_role_ends_nothing_at_once(lab: Lab) -> None:
    """A deleted role ends no living token at once, and a new role is used when it exists."""
    lab.start()
    with lab.reading(every=0.4):
        with lab.vault.role_deleted(ROLE, keeps_its_id=False) as fault:
            ends = _end_of(lab)  # here, since a start may be slow
            lab.watch(ends + 1.0 - lab.history.now())
            if lab.can("health"):
                # A client may report its last check: leave time for another.
                within = max(0.5 * lab.ttl, lab.refresh + 1.0)
                turns(lab, well=False, within=within, every=1.0)
                lab.judge_later(
                    says_of_its_health(well=False, since=fault.began, until=lab.history.now())
                )
            lab.watch(0.5)
        lab.role_id = approle.role_id(lab.operator, ROLE)
        lab.new_secret_id()
        lab.recovers(after=fault)
    served_until_its_token_ends(lab, since=fault.began, ends=ends)
    lab.judge(
        no_failed_read(until=fault.began, may_be_empty=True),
        renewals_at_most(quiet(lab.ttl / 2), since=fault.began, until=ends),
        bad_logins_at_most(4),
    )


# The clean end, and what is left behind


@pytest.mark.scenario("TOK-18")
def test_clock_that_is_set(lab: Lab) -> None:
    """A clock that is set forward or back costs no read, no login and no late renewal."""
    client = lab.start()
    pid = client.subject.pid
    assert pid is not None
    loaded = lab.clock.look(pid)
    with reading_keys(lab, every=0.5):
        with _leasing(lab) as leased:
            with lab.clock.set(HALF_AN_HOUR):
                lab.watch(1.1 * lab.ttl)
            with lab.clock.set(-HALF_AN_HOUR):
                lab.watch(1.0)
                # A cached value ages by passed time, not by the time of day.
                lab.put("v2")
                if lab.can("cached"):
                    cached, key = secret_of_the_cache(lab)
                    lab.put("v2", path=cached, key=key)
                changed = lab.history.now()
                lab.watch(max(1.1 * lab.ttl - 1.0, lab.refresh + 2.0))
            end = lab.history.now()
        # The clock is right again when Vault is back. A client that rests until a time of day would
        # rest for half an hour more.
        with vault_gone(lab) as gone:
            gone.optional = True  # a client that answers from memory may not meet it
            with lab.clock.set(HALF_AN_HOUR):
                lab.hold(gone, 1.0)
                # A cached value that is no longer fresh must be served just as long.
                if lab.can("cached") and lab.declared("max_stale", 0.0) > lab.refresh:
                    met = min(lab.refresh + lab.deadline, STANDS_IN)
                    lab.until(lambda: bool(_not_fresh(lab, gone)), within=met)
            # A call that tries until a time of day would now take half an hour.
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
            # A client that never renews a lease replaces it. A new token brings a new lease too.
            credentials_apart(
                ITS_TURN * (lab.entry.lease_ttl or 0.0),
                since=leased,
                until=end,
                around_logins=AROUND,
            ),
        )
    if lab.can("cached"):
        lab.judge_later(
            sees(f"{cached}:v2", cached, since=changed, within=lab.refresh, verb="read_cached")
        )
    lab.judge(
        sees("v2", PATH, since=changed, within=lab.refresh, verb="read"),
        renews_within(0.3, 0.9, until=end),
        logins_at_most(1, until=end),
        no_failed_read(until=end - lab.deadline),  # a call under way at the end may be cut off
        none_of(
            "an old value is served for max_stale, as time passes, whatever time of day it is",
            _refused_too_soon(lab, gone),
        ),
    )


ITS_TURN = 0.3
"""Part of a lease's life after which a client that never renews may replace it."""

AROUND = 1.0
"""Seconds around a login: a new token brings new credentials."""


@contextlib.contextmanager
def _leasing(lab: Lab) -> Iterator[float | None]:
    """Log in to the database with leases while the block runs; yield when that began.

    Yield None if the subject leases nothing.
    """
    if not lab.has_database:
        yield None
        return
    began = lab.history.now()
    first_credential(lab)
    with pool(lab, every=LOGS_IN_EVERY, reports=False):
        yield began


LONGEST_CALL = 4.0
"""Seconds; with a longer deadline the token would end in the outage."""

STANDS_IN = 4.0
"""Seconds that the outage may be longer, until a value is no longer fresh."""


def _not_fresh(lab: Lab, gone: Fault) -> list[Operation]:
    return lab.history.calls(
        "read_cached", since=gone.began, where=lambda o: o.outcome is not None and not o.good
    )


def _refused_too_soon(lab: Lab, gone: Fault) -> dict[str, float]:
    limit = lab.declared("max_stale", 0.0) - lab.refresh  # the value may have been as old as R
    until = min(gone.end, gone.began + limit)
    until -= SLACK
    return {
        f"a read_cached ended {call.told}": call.began
        for call in reversed(_not_fresh(lab, gone))
        if call.failed and (call.ended or call.began) < until
    }


SILENT_AFTER = 5.0
"""Seconds until a client that was told to end is silent."""


@pytest.mark.scenario("TOK-19")
def test_clean_end_revokes_the_token(lab: Lab) -> None:
    """A client that ends cleanly revokes its token, and sends nothing afterwards."""
    before = lab.tokens.alive()
    client = lab.start()
    if lab.leaves("token"):
        raise NotClaimed("it leaves its token behind when it ends, as it says")
    held = lab.tokens.alive() - before
    lab.require("a token that was alive before the end", lambda _: held > 0)
    ends = _end_of(lab)
    ended = ends_cleanly(lab, client)
    if not ended.failed:
        _call_a_closed_client(lab, client)
    lab.history.wait_for(lambda: lab.tokens.alive() <= before, SILENT_AFTER)
    left = lab.tokens.alive()
    # A renewal of the dead token, and what follows, would come in this time.
    lab.watch(max(0.0, ends - lab.history.now()))
    lab.judge(
        at_most(before, left, "tokens alive five seconds after the end"),
        at_most(before, lab.tokens.alive(), "tokens alive when that token would have ended"),
        requests_at_most(0, since=ended.began + SILENT_AFTER),
        steady=False,
    )


def _call_a_closed_client(lab: Lab, client: Driver) -> None:
    if isinstance(client.subject, InProcessSubject):
        lab.history.mark("a read after the end")
        with contextlib.suppress(OperationFailed, SubjectError):
            client.subject.read_once_closed(PATH, KEY, timeout=lab.deadline)


@pytest.mark.scenario("TOK-20")
def test_restarts_leak_no_token(lab: Lab) -> None:
    """No token is left after ends of many kinds: idle, after an outage, in a login, by a signal."""
    before = lab.tokens.alive()
    for _ in range(2):
        client = lab.start()
        if lab.leaves("token"):
            raise NotClaimed("it leaves its token behind when it ends, as it says")
        client.close(timeout=5.0)
    _end_after_an_outage(lab, lab.start())
    if (idle := lab.open()) is not None:
        idle.close(timeout=5.0)
    _end_by_a_signal(lab, lab.start())
    with lab.network.slow(latency=0.4) as slow:
        for end in (_end_by_its_close, _end_by_its_close, _end_by_a_signal):
            _end_while_it_logs_in(lab, end)
    if not lab.history.find("login", since=slow.began):
        raise NotExercised("the subject did not log in, so it was not ended while it did")
    lab.history.wait_for(lambda: lab.tokens.alive() <= before, 5.0)
    lab.judge(
        at_most(before, lab.tokens.alive(), "tokens alive five seconds after the last end"),
        steady=False,
    )


def _end_after_an_outage(lab: Lab, client: Driver) -> None:
    with lab.network.down() as gone:
        gone.optional = True  # a client that answers from memory does not meet it
        client.read()
    lab.until_good_read_by_asking(within=lab.recovery_after(gone))
    client.close(timeout=5.0)


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
    """Send SIGTERM without a `close`, as a supervisor does."""
    subject = client.subject
    if not isinstance(subject, Terminable):
        client.close(timeout=5.0)  # without a process of its own, or its `close` is that signal
        return
    client.closed = True
    lab.history.mark("SIGTERM alone")
    subject.terminate()
    began = lab.history.now()
    # A call may hang when the signal comes. A program that has closed its output may still run.
    if not lab.history.wait_for(lambda: subject.exit_code is not None, lab.deadline + 5.0):
        text = f"it still ran {lab.history.now() - began:.1f} s after it"
        lab.note(Finding("SIGTERM alone ends it", text, began, rests_on=()))
        subject.kill()


def _read_in_vain(client: Driver) -> None:
    with contextlib.suppress(OperationFailed, SubjectError):
        client.subject.read(PATH, KEY, timeout=8.0)


FIRST_CALLERS = 10


CALM = 3.0


@pytest.mark.scenario("TOK-21")
def test_no_login_for_each_read(lab: Lab) -> None:
    """Many first callers and many reads cost one login, and a long-lived token is left alone."""
    with lab.http.delay("login", by=LATE) as slow:
        slow.optional = True  # an HTTP subject that all scenarios share may have a token
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
        alive = lab.tokens.alive()
    calls, read = len(lab.history.calls("read", "read_cached")), lab.history.now()
    used = processor_time(lab)
    lab.watch(CALM)
    calm, spent = lab.history.now(), processor_time(lab).since(used)
    if lab.can("health"):
        for _ in range(3):
            lab.client.healthy()
    lab.require("forty calls or more", lambda _: f"{calls} calls" if calls >= 40 else "")
    lab.judge(
        at_most(1, len(lab.history.logins()), "logins"),
        at_most(1, alive, "tokens alive"),
        # One right after the login is fine. The next is due in days: more milliseconds than 31 bits
        # count.
        at_most(1, _most_of_one_token(lab.history, "renew"), "renewals of one token"),
        requests_at_most(3 + calls // 4, "lookup", "capabilities", since=0.0, until=read),
        requests_at_most((1 + len(others)) * quiet(CALM), since=read, until=calm),
        # Only a client with a process of its own is asked.
        processor_at_most(lab, BUSY * CALM, spent, "while nobody calls"),
        no_failed_read(),
    )
