"""Judge the lives of tokens, and requests with tokens that the client knows to be dead.

A request is late by when it came, and early by when it was read, so a busy recorder fails no
client. A client knows only the answers that reached it. The recorder stands behind the link, where
answers may still be late or lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import inf

from vault_harness.judge.oracles.base import Oracle, counted, lacking, times, too_many
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


NEWS = 0.25
"""Seconds in which a new token reaches every call that was about to use the old one."""

PATIENCE = 0.5
"""Seconds for which every client waits for an answer. Later it may give up unseen."""

DENIED = "1 error occurred"
"""The start of Vault's error when a policy denies a request."""


def no_request_with_a_dead_token(deadline: float) -> Oracle:
    """Check that no token is sent again after Vault called it dead and a login replaced it.

    A 403 to a lookup or a renewal calls a token dead, unless a policy denied that. A token that the
    client revoked needs no replacement.

    Requests on their way may still come for a moment, and for longer in a fault that holds up
    Vault's answers (`Signature.answers_late`). The moment when a request came counts, since the
    last of two hundred requests is read much later.

    Args:
        deadline: Seconds after which a client neither waits for an answer nor sends a request of an
            earlier call.
    """
    promise = "no request with a token that is known to be dead"

    def oracle(history: History) -> list[Finding]:
        sent: defaultdict[str | None, list[Exchange]] = defaultdict(list)
        for exchange in history.find():  # sorted once: a herd gives hundreds of tokens back
            sent[exchange.token].append(exchange)
        found = []
        for token, (told, known) in _known_dead(history, deadline).items():
            late = [e for e in sent[token] if e.kind != "login" and e.came >= known]
            if late:
                first = late[0]
                seen = (
                    f"{counted(len(late), 'request')} with {token}, the first a {first.kind} "
                    f"{first.came - told:.1f} s after the client knew that"
                )
                found.append(Finding(promise, seen, first.began, rests_on=()))
        return found[:1]

    return oracle


def _known_dead(history: History, deadline: float) -> dict[str, tuple[float, float]]:
    """Return when the client learned of each dead token, and since when it must not send it."""
    known: dict[str, tuple[float, float]] = {}
    for word in history.find("lookup", "renew", "revoke"):
        token = word.token
        if token is None or token in known or (told := _heard(history, word, deadline)) is None:
            continue
        if not given_back(word):
            if not _calls_dead(history, word):
                continue
            replaced = _replaced(history, word, deadline)
            if replaced is None:
                continue
            told = max(told, replaced)
        over = _settled(history, told, deadline) + NEWS
        known[token] = told, over + SLACK
    return known


def given_back(word: Exchange) -> bool:
    return word.kind == "revoke" and word.good and word.path.endswith("revoke-self")


def _calls_dead(history: History, word: Exchange) -> bool:
    """Return whether Vault says that the token is dead, not that a policy denies the request."""
    if word.kind == "revoke" or word.status != 403 or word.by != "vault":
        return False
    if any(DENIED in error for error in word.errors):
        return False
    served = history.find(since=word.ended or word.began, where=lambda e: e.token == word.token)
    return not any(e.good and e.by == "vault" for e in served)


def _replaced(history: History, word: Exchange, deadline: float) -> float | None:
    """Return when the client had a new token after the dead one; None if it never had.

    A login does not show its instance. So the client has a new token once as many logins as there
    are clients have ended after the 403.
    """
    logins = [login for login in history.logins() if login.ended is not None]
    born = [login for login in logins if login.token == word.token]
    said = word.ended or word.began
    if any((login.ended or 0.0) >= word.began for login in born):
        return None  # a cache between client and Vault has handed out the dead token again
    alone = len(history.calls("start")) <= 1 and not history.calls("fork", "herd")
    since = max((login.began for login in born), default=-inf)
    came = [
        _came(history, login, deadline)
        for login in logins
        if login.token not in (None, word.token)
        and (login.began > since if alone else (login.ended or 0.0) >= said)
    ]
    times = sorted(at for at in came if at is not None)
    return times[history.clients - 1] if len(times) >= history.clients else None


def _came(history: History, login: Exchange, deadline: float) -> float | None:
    """Return when a login's token reached the client."""
    heard = _heard(history, login, deadline)
    if heard is not None:
        return heard
    uses = history.find(since=login.began, where=lambda e: e.token == login.token)
    return next((use.began for use in uses if use.kind != "login"), None)


def _heard(history: History, exchange: Exchange, deadline: float) -> float | None:
    """Return when an answer had surely reached the client; None if nobody can tell.

    A client may give up unseen after `PATIENCE`, unless it uses the connection again.
    """
    ended = exchange.ended
    if ended is None or exchange.status is None or exchange.closed is not None:
        return None
    at = ended
    for fault in history.faults:
        if fault.began <= ended + NEWS and (fault.ended is None or fault.ended >= ended):
            at = max(at, ended + fault.signature.answers_late)
    took = at - exchange.came
    if took > deadline or (took > PATIENCE and not _used_again(history, exchange)):
        return None
    return at


def _used_again(history: History, exchange: Exchange) -> bool:
    """Return whether a later request shows that the client had the answer.

    HTTP/2 does not show that: a client can give up one stream of several.
    """
    same = exchange.connection
    if any(one.connection == same and one.protocol == "h2" for one in history.handshakes):
        return False
    return bool(history.find(where=lambda e: e.connection == same and e.number > exchange.number))


def _settled(history: History, told: float, deadline: float) -> float:
    """Return when no request from before `told` can still be on its way."""
    at = told
    for fault in sorted(history.faults, key=lambda one: one.began):
        late = fault.signature.answers_late
        if late and fault.began <= at + NEWS and (fault.ended is None or fault.ended > at):
            end = inf if fault.ended is None else fault.ended
            at = end if late == inf else min(end, at + deadline)
    return at
