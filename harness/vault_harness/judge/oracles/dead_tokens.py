"""Judge requests with tokens that the client knows to be dead.

A client knows only the answers that reached it. The recorder stands behind the link, where answers
may still be late or lost.
"""

from __future__ import annotations

from collections import defaultdict
from math import inf

from vault_harness.judge.oracles.base import Oracle, counted
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import SLACK, History
from vault_harness.recorder.observations import Exchange

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
