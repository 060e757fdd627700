"""Tell how a client keeps itself alive, from what it did before the first fault.

TOK-21 judges logins and lookups that are not needed. All other scenarios accept them as the
client's profile.
"""

from __future__ import annotations

from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Exchange

LOGINS = 3
"""Logins with a young token that show a login for each call."""

USED = 0.5
"""The part of its tokens that a client with a login for each call reads with."""

UPKEEP = ("login", "renew", "lookup", "revoke")
"""Requests that keep or end a token, and use it for nothing else."""

READS = 3
"""Reads that show a look at the token before each read."""

INSTEAD = (0.3, 0.95)
"""The part of a life in which a login counts as made instead of a renewal."""

LOGS_IN_INSTEAD = "it renews no token: it logs in again in time instead"


def logs_in_for_each_call(history: History) -> bool:
    """Return whether a client logs in for each call or refresh although its token lives.

    A loop of logins is not that: it leaves most tokens unused.
    """
    logins = [e for e in history.logins(until=_calm(history)) if e.ttl]
    if not logins:
        return False
    young = [e for e in logins if e.began - logins[0].began < 0.3 * (logins[0].ttl or 0.0)]
    if len(young) < LOGINS * holders(history):
        return False
    granted = {e.token for e in history.logins() if e.ttl}
    used = {e.token for e in history.exchanges if e.kind not in UPKEEP}
    return len(granted & used) >= USED * len(granted)


def looks_before_each_read(history: History) -> bool:
    """Return whether each read before any fault had a look at the token or a login."""
    until = _calm(history)
    asked = [e.began for e in history.find("lookup", "login", until=until)]
    reads = [o for o in history.calls("read", "warm-up") if o.good and (o.ended or until) <= until]
    return (
        len(reads) >= READS
        and bool(history.find("lookup", until=until))
        and all(any(o.began <= at <= (o.ended or until) for at in asked) for o in reads)
    )


def never_renews(history: History) -> bool:
    if history.find("renew"):
        return False
    first, last = INSTEAD
    parts = [part_of_a_life(history, login) for login in history.find("login")]
    return any(first <= part <= last for part in parts)


def holders(history: History) -> int:
    """Return how many clients, starts and children have their own token."""
    return max(history.clients, len(history.calls("start"))) + len(history.calls("fork"))


def _calm(history: History) -> float:
    """Return when the first fault began, or now."""
    return min((fault.began for fault in history.faults), default=history.now())


def part_of_a_life(history: History, login: Exchange) -> float:
    """Return the part of the previous life that was over; 0 if there was none."""
    replaced = _life_before(history, login)
    return 0.0 if replaced is None else (login.began - replaced.began) / (replaced.ttl or 1.0)


def in_its_turn(history: History, login: Exchange, due: float) -> bool:
    """Return whether a login came within the previous life, after the part `due` of it."""
    life = _life_before(history, login)
    return life is not None and due <= part_of_a_life(history, login) and _by_the_end(login, life)


def in_turn(history: History) -> set[int]:
    """Return the numbers of the logins that came when it was time to replace a token.

    A login does not show its client, so each replaces the oldest token in use. The token of a login
    that came too early is ignored, or all later logins would seem too early.
    """
    lives: list[Exchange] = []
    found: set[int] = set()
    count = holders(history)
    logins = (e for e in history.logins() if e.ttl and came_through(e))
    for login in sorted(logins, key=lambda e: e.came):
        if len(lives) >= count:
            oldest = lives[-count]
            if (login.came - oldest.came) / (oldest.ttl or 1.0) < INSTEAD[0]:
                continue
            found.add(login.number)
        lives.append(login)
    return found


def replaced_in_turn(history: History) -> int:
    return 0 if history.find("renew") else len(in_turn(history))


def without_logins_in_turn(history: History, logins: list[Exchange]) -> list[Exchange]:
    """Return the logins that came too early; all of them if the client renews.

    Vault may refuse one login that is due in each life. A failure in an outage is no refusal.
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


def _life_before(history: History, login: Exchange) -> Exchange | None:
    granted = history.find("login", "renew", until=login.began, where=lambda e: e.good)
    before = [life for life in granted if life is not login and life.ttl]
    return before[-1] if before else None


def _by_the_end(login: Exchange, life: Exchange) -> bool:
    return login.came <= answered(life) + (life.ttl or 0.0)


def _met_an_outage(login: Exchange) -> bool:
    return login.status is None or login.by == "stub" or login.status == 429 or login.status >= 500


def came_through(exchange: Exchange) -> bool:
    """Return whether Vault granted a request and the answer reached the client.

    A gateway's page with a good status grants no life.
    """
    granted = exchange.by == "vault" or exchange.ttl is not None
    return exchange.good and granted and exchange.closed is None and exchange.ended is not None


def answered(exchange: Exchange) -> float:
    return exchange.ended if exchange.ended is not None else exchange.began
