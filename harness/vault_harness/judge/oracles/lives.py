"""Judge the lives of tokens.

A request is late by when it came, and early by when it was read, so a busy recorder fails no
client.
"""

from __future__ import annotations

from collections.abc import Mapping

from vault_harness.judge.oracles.base import Oracle, counted, lacking, times, too_many
from vault_harness.judge.oracles.dead_tokens import NEWS, given_back
from vault_harness.judge.oracles.profile import (
    answered,
    came_through,
    looks_before_each_read,
)
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import SLACK, History
from vault_harness.recorder.observations import Exchange


def renews_within(low: float, high: float, *, since: float = 0.0, until: float) -> Oracle:
    """Check that each token is renewed or replaced between `low` and `high` of its life.

    A renewal right after a login is never too early: Vault's LifetimeWatcher renews at once to
    learn the TTL.

    Args:
        until: A life that has not reached `high` at this time is judged only for early renewals.
    """
    promise = f"a renewal or a login between {low:g} and {high:g} of each token's life"

    def oracle(history: History) -> list[Finding]:
        if looks_before_each_read(history):
            return []
        lives = history.find("login", "renew", since=since, where=lambda e: e.good and bool(e.ttl))
        findings = []
        judged = 0
        for life, following in zip(lives, [*lives[1:], None], strict=False):
            ttl = life.ttl or 0.0
            start = answered(life)
            late, early = start + high * ttl, start + low * ttl
            # A login, or a renewal right after a login, is never too early.
            renewed = following if following and life.kind == following.kind == "renew" else None
            if renewed and renewed.began < min(early, until):
                text = f"renewed {renewed.began - start:.2f} s into a life of {ttl:g} s"
                findings.append(Finding(promise, text, renewed.began))
            if late > until:
                continue
            judged += 1
            if following is None or following.came > late + SLACK:
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
        if not judged and not findings:
            return lacking(promise, f"life that had come to {high:g} of its time", since, until)
        return findings

    return oracle


def replaced_before_the_end(*, until: float) -> Oracle:
    """Check that the next login comes before a token ends, one TTL after its last grant.

    There is no slack, because a client that plans ahead is seconds early.

    Args:
        until: A token that has neither ended nor been replaced at this time is not judged.
    """
    promise = "a token is replaced before it ends"

    def oracle(history: History) -> list[Finding]:
        if looks_before_each_read(history):
            return []
        logins = history.find("login", where=lambda e: e.good and bool(e.ttl))
        renewals = history.find("renew", where=lambda e: e.good and bool(e.ttl))
        findings = []
        judged = 0
        for login, following in zip(logins, [*logins[1:], None], strict=False):
            grants = [login]
            if login.accessor:  # a batch token has no accessor and cannot be renewed
                grants += [e for e in renewals if e.accessor == login.accessor]
            end = max(answered(grant) + (grant.ttl or 0.0) for grant in grants)
            if following is None and end > until:
                continue
            judged += 1
            if following is None or following.came > end:
                gap = f"{following.came - end:.3f} s after it" if following else "never"
                text = f"the token of the login at +{login.began:.2f} s ended at +{end:.2f} s, "
                text += f"the next login came {gap}"
                missed = following.came - end if following else None
                findings.append(Finding(promise, text, end, missed=missed, until=end))
        if not judged:
            return lacking(promise, "token that ended or was replaced", 0.0, until)
        return findings

    return oracle


def renewals_at_most(count: int, *, since: float, until: float | None = None) -> Oracle:
    """Check that at most `count` renewals are tried in that time."""
    promise = f"at most {counted(count, 'renewal')}"

    def oracle(history: History) -> list[Finding]:
        return too_many(promise, count, history.find("renew", since=since, until=until))

    return oracle


def renews_again(*, since: float, before: float) -> Oracle:
    """Check that a renewal succeeds in that time."""
    promise = "the next renewal succeeds before the token's life ends"

    def oracle(history: History) -> list[Finding]:
        if history.find("renew", since=since, where=lambda e: e.good and e.came <= before):
            return []
        tries = history.find("renew", since=since, until=before)
        were = "was" if len(tries) == 1 else "were"
        text = f"{len(tries)} {were} tried, none succeeded"
        return [Finding(promise, text, since, until=before)]

    return oracle


def last_grant(history: History, *, until: float) -> float:
    """Return when the last login or renewal was answered. There must be one."""
    grants = history.find("login", "renew", until=until, where=came_through)
    return answered(grants[-1])


def renewed_or_replaced(*, since: float, before: float) -> Oracle:
    """Check that an answered renewal or login is sent before the token ends.

    `before` is its end as far as the client can know.
    """
    promise = "the token is renewed, or replaced, before its end"

    def oracle(history: History) -> list[Finding]:
        sent = history.find("renew", "login", since=since)
        first = next((e.came for e in sent if came_through(e)), None)
        if first is not None and first <= before:
            return []
        tried = [e for e in sent if e.came <= before]
        text = f"it ended at +{before:.2f} s; {counted(len(tried), 'request')} for it had failed, "
        text += f"and the first success came {_after(first, before)}"
        missed = None if first is None else first - before
        return [Finding(promise, text, before, missed=missed, until=before)]

    return oracle


def _after(moment: float | None, end: float) -> str:
    return "never" if moment is None else f"{moment - end:.3f} s after it"


def no_refused_read(
    *, since: float = 0.0, until: float | None = None, may_be_empty: bool = False
) -> Oracle:
    """Check that no read is answered 403, even if the caller does not notice.

    A read on its way may have a token that the client has just replaced and revoked.
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
    """Return whether the client replaced and revoked its token while the read was on its way."""
    word = given.get(read.token)
    if word is None or answered(read) < word.came:
        return False
    others = history.logins(until=word.began)
    if not others or others[-1].token == read.token or answered(others[-1]) > word.began:
        return False
    gone = answered(word)
    return read.came <= gone + NEWS + SLACK
