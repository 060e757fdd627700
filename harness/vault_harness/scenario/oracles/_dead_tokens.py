"""The standing oracle on tokens that are dead, and known to be.

Who may know what is told by the answers that reached the client. The recorder stands behind the
link: an answer that it has seen may still come late, or never.
"""

from __future__ import annotations

from collections import defaultdict
from math import inf

from vault_harness.scenario.history import History
from vault_harness.scenario.observations import Exchange
from vault_harness.scenario.oracles._base import Oracle, surest
from vault_harness.scenario.verdict import Finding

NEWS = 0.25
"""Seconds in which a new token reaches every call that was about to be sent with the old one."""

PATIENCE = 0.5
"""Seconds for which every client waits for an answer; after that it may have given up unseen."""

DENIED = "1 error occurred"
"""How Vault begins where a policy denies what a living token asks for."""


def no_request_with_a_dead_token(deadline: float) -> Oracle:
    """A token that Vault called dead, and that a new login replaced, is never sent again.

    It was called dead by a look at itself or a renewal that was answered 403, unless that was the
    policy's denial; or the client gave it back itself, after which it needs no other to know. That
    counts from when the answer reached the client, and the new token too. What was about to be sent
    then may still come. Only a fault that holds up or loses answers that Vault has given
    (`Signature.answers_late`) gives more time; whatever else is broken does not. A request is
    judged by when it came: the last of two hundred is read long after that.

    Where nothing else comes, what does within as long again as `NEWS` counts if it is found once
    more.

    How long it waits for an answer is a client's own matter, and no word tells when it has given
    up: one that took longer than `PATIENCE` was heard for sure only if its connection was used
    again.

    Args:
        deadline: Seconds after which a client waits no more for an answer, and no request of a call
            that began before is sent.
    """
    promise = "no request with a token that is known to be dead"

    def oracle(history: History) -> list[Finding]:
        sent: defaultdict[str | None, list[Exchange]] = defaultdict(list)
        for exchange in history.find():  # once: a herd gives hundreds of tokens back
            sent[exchange.token].append(exchange)
        found = []
        for token, (told, known) in _known_dead(history, deadline).items():
            late = [e for e in sent[token] if e.kind != "login" and e.came >= known]
            if late:
                first = late[0]
                seen = (
                    f"{len(late)} with {token}, the first a {first.kind} "
                    f"{first.came - told:.1f} s after the client knew that"
                )
                # Whoever had it in hand, and got no core, sends it when there is one.
                late_by_little = all(e.came < known + NEWS for e in late)
                found.append(
                    Finding(promise, seen, first.began, rests_on=(), repeated=late_by_little)
                )
        return surest(found)

    return oracle


def _known_dead(history: History, deadline: float) -> dict[str, tuple[float, float]]:
    """When the client was told of each dead token, and when it must not be seen any more."""
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
        known[token] = told, over + history.slack(told, over)
    return known


def given_back(word: Exchange) -> bool:
    """Whether the client has given a token back by this, as Vault has confirmed."""
    return word.kind == "revoke" and word.good and word.path.endswith("revoke-self")


def _calls_dead(history: History, word: Exchange) -> bool:
    """Whether Vault says that the token is dead, and not that its policy denies this."""
    if word.kind == "revoke" or word.status != 403 or word.by != "vault":
        return False
    if any(DENIED in error for error in word.errors):
        return False
    served = history.find(since=word.ended or word.began, where=lambda e: e.token == word.token)
    return not any(e.good and e.by == "vault" for e in served)


def _replaced(history: History, word: Exchange, deadline: float) -> float | None:
    """When the client had another token than the dead one; None if it never had.

    Where several instances are at work, only a login that ends after the token was called dead can
    be taken for one of that client's; in a herd no login tells whose it is, and it was among them
    for sure once there were as many as there are clients.
    """
    logins = [login for login in history.logins() if login.ended is not None]
    born = [login for login in logins if login.token == word.token]
    said = word.ended or word.began
    if any((login.ended or 0.0) >= word.began for login in born):
        return None  # a cache between client and Vault has handed it out once more
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
    """When the token of a login reached the client: by its first use, if it may not have heard."""
    heard = _heard(history, login, deadline)
    if heard is not None:
        return heard
    uses = history.find(since=login.began, where=lambda e: e.token == login.token)
    return next((use.began for use in uses if use.kind != "login"), None)


def _heard(history: History, exchange: Exchange, deadline: float) -> float | None:
    """When an answer had reached the client for sure; None if that cannot be told."""
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
    """Whether something else was asked over its connection: by then its answer had been heard.

    But over HTTP/2, where one of several streams is given up.
    """
    same = exchange.connection
    if any(one.connection == same and one.protocol == "h2" for one in history.handshakes):
        return False
    return bool(history.find(where=lambda e: e.connection == same and e.number > exchange.number))


def _settled(history: History, told: float, deadline: float) -> float:
    """When nothing from before that is still on its way, or waits for a connection."""
    at = told
    for fault in sorted(history.faults, key=lambda one: one.began):
        late = fault.signature.answers_late
        if late and fault.began <= at + NEWS and (fault.ended is None or fault.ended > at):
            end = inf if fault.ended is None else fault.ended
            at = end if late == inf else min(end, at + deadline)
    return at
