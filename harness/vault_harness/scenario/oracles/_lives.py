"""Oracles on the lives of tokens: renewed in time, and replaced before they end.

All times are the recorder's own, so they are compared to the millisecond. Whether a request is
late is judged by when it came, whether it is early by when it was read: a busy recorder fails none.
"""

from __future__ import annotations

from collections.abc import Mapping

from vault_harness.scenario.history import History
from vault_harness.scenario.observations import Exchange
from vault_harness.scenario.oracles._base import Oracle, counted, lacking, times
from vault_harness.scenario.oracles._dead_tokens import NEWS, given_back
from vault_harness.scenario.verdict import Finding

LOGS_IN_INSTEAD = "it renews no token: it logs in anew in its time instead"
"""Why a scenario is not about a client of which `never_renews` is true."""

INSTEAD = (0.3, 0.95)
"""The part of a life in which a login is one instead of a renewal."""


def renews_within(
    low: float, high: float, *, since: float = 0.0, until: float, may_be_empty: bool = False
) -> Oracle:
    """In each token's life a renewal or a login lands in ``[low, high]`` of the time it was given.

    The first renewal after a login is taken for the beginning of that life: Vault's own
    LifetimeWatcher begins so, to learn the TTL. Whether one after that comes too early is seen at
    once, however little of its life has passed by the end.

    Args:
        low: As a share of the TTL.
        high: The same.
        since: Lives that began before are not judged.
        until: Of a life that had not reached `high` by then only what is too early is judged.
        may_be_empty: Whether it holds where no life was judged.
    """
    promise = f"a renewal or a login between {low:g} and {high:g} of each token's life"

    def oracle(history: History) -> list[Finding]:
        lives = history.find("login", "renew", since=since, where=lambda e: e.good and bool(e.ttl))
        findings = []
        judged = 0
        for life, following in zip(lives, [*lives[1:], None], strict=False):
            ttl = life.ttl or 0.0
            start = _answered(life)
            late, early = start + high * ttl, start + low * ttl
            # A login, or a renewal right after one, does no harm.
            renewed = following if following and life.kind == following.kind == "renew" else None
            if renewed and renewed.began < min(early, until):
                text = f"renewed {renewed.began - start:.2f} s into a life of {ttl:g} s"
                findings.append(Finding(promise, text, renewed.began))
            if late > until:
                continue
            judged += 1
            if following is None or following.came > late + history.slack(start, late):
                gap = f"after {following.came - start:.2f} s" if following else "never"
                findings.append(
                    Finding(
                        promise,
                        f"the next came {gap}, the token's TTL was {ttl:g} s",
                        start,
                        missed=following.came - late if following else None,
                        until=late,
                    )
                )
        if not judged and not findings and not may_be_empty:
            return lacking(promise, f"life that had come to {high:g} of its time", since, until)
        return findings

    return oracle


def replaced_before_the_end(*, since: float = 0.0, until: float, at_least: int = 1) -> Oracle:
    """Each token is replaced while it lives: the next accepted login comes before it ends.

    A token ends its TTL after the answer to its login, or to its last renewal. Nothing is granted
    beyond that: a client that plans ahead is seconds early, and one that logs in when it finds
    its token ended is late by however little.

    Args:
        since: Tokens from logins before are not judged.
        until: A token that had not ended by then, and was not replaced, is not judged.
        at_least: How many tokens must have been judged.
    """
    promise = "a token is replaced before it ends"

    def oracle(history: History) -> list[Finding]:
        logins = history.find("login", since=since, where=lambda e: e.good and bool(e.ttl))
        renewals = history.find("renew", since=since, where=lambda e: e.good and bool(e.ttl))
        findings = []
        judged = 0
        for login, following in zip(logins, [*logins[1:], None], strict=False):
            grants = [login]
            if login.accessor:  # a batch token has none, and cannot be renewed
                grants += [e for e in renewals if e.accessor == login.accessor]
            end = max(_answered(grant) + (grant.ttl or 0.0) for grant in grants)
            if following is None and end > until:
                continue
            judged += 1
            if following is None or following.came > end:
                gap = f"{following.came - end:.3f} s after it" if following else "never"
                text = f"the token of the login at +{login.began:.2f} s ended at +{end:.2f} s, "
                text += f"the next login came {gap}"
                missed = following.came - end if following else None
                findings.append(Finding(promise, text, end, missed=missed, until=end))
        if judged < at_least:
            seen = f"only {counted(judged, 'token')} came to an end or a replacement"
            return [Finding(promise, f"{seen} by +{until:.2f} s", since), *findings]
        return findings

    return oracle


def _answered(exchange: Exchange) -> float:
    return exchange.ended if exchange.ended is not None else exchange.began


def part_of_a_life(history: History, login: Exchange) -> float:
    """How much of the life before it was over when a login was sent; 0 where there was none."""
    replaced = _life_before(history, login)
    return 0.0 if replaced is None else (login.began - replaced.began) / (replaced.ttl or 1.0)


def _life_before(history: History, login: Exchange) -> Exchange | None:
    granted = history.find("login", "renew", until=login.began, where=lambda e: e.good)
    before = [life for life in granted if life is not login and life.ttl]
    return before[-1] if before else None


def in_its_turn(history: History, login: Exchange, due: float) -> bool:
    """Whether it came between that part of the life before it and the end of that life."""
    life = _life_before(history, login)
    return life is not None and due <= part_of_a_life(history, login) and _by_the_end(login, life)


def _by_the_end(login: Exchange, life: Exchange) -> bool:
    """Whether it came before the end of that life, however late it was read."""
    return login.came <= _answered(life) + (life.ttl or 0.0)


def in_turn(history: History, due: float, *, since: float, holders: int = 1) -> set[int]:
    """The numbers of the logins that came when it was time to replace a token, by logins alone.

    No login tells whose it is. Whoever keeps its turn logs in once in `due` of a life, so all of
    them together log in no more than `holders` times within that: a login is in the place of the
    oldest of as many tokens as there are holders, and one that finds none old enough is an excess.
    Its token is nobody's then: were it taken for one, a single login too many would make all that
    follow seem too early.

    Args:
        history: What was seen.
        due: The part of a life from which on it is somebody's turn.
        since: Of tokens from before that the end counts too, as an outage may have outlived them;
            whether others are replaced before their end is another promise.
        holders: How many have a token of their own.
    """
    lives: list[Exchange] = []
    found: set[int] = set()
    for login in sorted((e for e in history.logins() if e.ttl), key=lambda e: e.came):
        if len(lives) >= holders:
            oldest = lives[-holders]
            if (login.came - oldest.came) / (oldest.ttl or 1.0) < due:
                continue
            if _by_the_end(login, oldest) or oldest.began >= since:
                found.add(login.number)
        lives.append(login)
    return found


def but_in_their_turn(history: History, logins: list[Exchange]) -> list[Exchange]:
    """Those logins of a client that came before their turn; all of them, if it renews.

    Whoever has tried no renewal may log in instead, from `INSTEAD` of its token's life on. Vault
    may refuse one such login of each life; those that it refuses after it are too many. What an
    outage makes of one is no refusal, so it is tried again: how often is a matter of storms.
    """
    if history.find("renew"):
        return logins
    left = []
    missed: set[int] = set()
    for login in logins:
        life = _life_before(history, login)
        if life is None or not in_its_turn(history, login, INSTEAD[0]):
            left.append(login)
        elif not login.good and not _met_an_outage(login):
            if life.number in missed:
                left.append(login)
            missed.add(life.number)
    return left


def _met_an_outage(login: Exchange) -> bool:
    """Whether a login was answered by nobody, or by somebody who cannot say whether it is good."""
    return login.status is None or login.by == "stub" or login.status == 429 or login.status >= 500


def replaced_in_turn(history: History) -> int:
    """How many tokens a client that never renews has replaced in its turn: each may live on."""
    return 0 if history.find("renew") else len(in_turn(history, INSTEAD[0], since=0.0))


def never_renews(history: History) -> bool:
    """Whether a client has renewed nothing, and logged in anew where others renew."""
    if history.find("renew"):
        return False
    first, last = INSTEAD
    parts = [part_of_a_life(history, login) for login in history.find("login")]
    return any(first <= part <= last for part in parts)


def renewals_at_most(count: int, *, since: float, until: float | None = None) -> Oracle:
    """At most so many renewals are tried in that time; none is fine."""
    promise = f"at most {counted(count, 'renewal')}"

    def oracle(history: History) -> list[Finding]:
        seen = history.find("renew", since=since, until=until)
        if len(seen) <= count:
            return []
        text = f"{len(seen)} ({times(seen)})"
        return [Finding(promise, text, seen[count].began, rests_on=())]

    return oracle


def renews_again(*, since: float, before: float) -> Oracle:
    """A renewal succeeds in that time."""
    promise = "the next renewal succeeds before the token's life ends"

    def oracle(history: History) -> list[Finding]:
        if history.find("renew", since=since, where=lambda e: e.good and e.came <= before):
            return []
        tries = history.find("renew", since=since, until=before)
        were = "was" if len(tries) == 1 else "were"
        text = f"{len(tries)} {were} tried, none succeeded"
        return [Finding(promise, text, since, until=before)]

    return oracle


def came_through(exchange: Exchange) -> bool:
    """Whether Vault did what was asked, and its answer came to the client.

    A gateway's page with a good status, in its place, gives no life.
    """
    answered = exchange.by == "vault" or exchange.ttl is not None
    return exchange.good and answered and exchange.closed is None and exchange.ended is not None


def last_grant(history: History, *, until: float) -> float:
    """When the answer came that last gave the token in use its life; there has to be a login."""
    grants = history.find("login", "renew", until=until, where=came_through)
    return _answered(grants[-1])


def renewed_or_replaced(*, since: float, before: float) -> Oracle:
    """A renewal or a login is sent in that time whose answer comes, then or later.

    Args:
        since: When it begins.
        before: When the token ends, as far as the client can know. Nothing is granted beyond that.
    """
    promise = "the token is renewed, or replaced, before its end"

    def oracle(history: History) -> list[Finding]:
        sent = history.find("renew", "login", since=since)
        first = next((e.came for e in sent if came_through(e)), None)
        if first is not None and first <= before:
            return []
        tried = [e for e in sent if e.came <= before]
        text = f"it ended at +{before:.2f} s; {counted(len(tried), 'request')} for it had come to "
        text += f"nothing by then, the first that did not came {_after(first, before)}"
        missed = None if first is None else first - before
        return [Finding(promise, text, before, missed=missed, until=before)]

    return oracle


def _after(moment: float | None, end: float) -> str:
    return "never" if moment is None else f"{moment - end:.3f} s after it"


def no_refused_read(
    *, since: float = 0.0, until: float | None = None, may_be_empty: bool = False
) -> Oracle:
    """No read is answered 403 in that time, which the caller may not have noticed.

    But for one that was about to be sent when the client, with another token, gave that one back.

    Args:
        since: When it begins.
        until: When it ends.
        may_be_empty: Whether it holds where no read reached Vault.
    """
    promise = "no read is sent with a token that has ended"

    def oracle(history: History) -> list[Finding]:
        reads = history.find("read", since=since, until=until)
        if not reads and not may_be_empty:
            return lacking(promise, "read that reached Vault", since, until)
        given = {word.token: word for word in history.find("revoke", where=given_back)}
        refused = [e for e in reads if e.status == 403 and not _overtaken(history, e, given)]
        if not refused:
            return []
        first = refused[0]
        were = "read was" if len(refused) == 1 else "reads were"
        seen = f"{len(refused)} {were} answered 403 ({times(refused)})"
        return [Finding(promise, f"{seen}, the first with {first.token}", first.began, rests_on=())]

    return oracle


def _overtaken(history: History, read: Exchange, given: Mapping[str | None, Exchange]) -> bool:
    """Whether the client gave its token back while a read with it was on its way, or nearly so.

    It had another by then: who gives one back first, and looks for another afterwards, has none for
    whoever reads meanwhile.
    """
    word = given.get(read.token)
    if word is None or _answered(read) < word.came:
        return False
    others = history.logins(until=word.began)
    if not others or others[-1].token == read.token or _answered(others[-1]) > word.began:
        return False
    gone = _answered(word)
    return read.came <= gone + NEWS + history.slack(gone, read.came)
