"""How a client keeps itself alive, by what it did before the first fault.

TOK-21 asks whether the client logs in, or looks at its token, more often than it needs. All other
scenarios accept that as its style and judge what its callers see.
"""

from __future__ import annotations

from vault_harness.recorder.history import History

LOGINS = 3
"""Logins of each client with a young token before the first fault that make a style."""

READS = 3
"""Reads before the first fault that show whether a client looks at its token in each read."""


def logs_in_for_each_call(history: History) -> bool:
    """Return whether a client logs in for each call or refresh although its token lives."""
    logins = [e for e in history.logins(until=_calm(history)) if e.ttl]
    if not logins:
        return False
    young = [e for e in logins if e.began - logins[0].began < 0.3 * (logins[0].ttl or 0.0)]
    return len(young) >= LOGINS * holders(history)


def looks_before_each_read(history: History) -> bool:
    """Return whether a client looked at its token, or logged in, in each read before any fault."""
    until = _calm(history)
    asked = [e.began for e in history.find("lookup", "login", until=until)]
    reads = [o for o in history.calls("read", "warm-up") if o.good and (o.ended or until) <= until]
    return (
        len(reads) >= READS
        and bool(history.find("lookup", until=until))
        and all(any(o.began <= at <= (o.ended or until) for at in asked) for o in reads)
    )


def holders(history: History) -> int:
    """Return how many clients have a token of their own; each start and each child counts."""
    return max(history.clients, len(history.calls("start"))) + len(history.calls("fork"))


def _calm(history: History) -> float:
    """Return when the first fault began; now, if there was none."""
    return min((fault.began for fault in history.faults), default=history.now())
