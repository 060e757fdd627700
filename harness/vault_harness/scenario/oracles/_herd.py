"""Oracles on many instances that come back after the same outage."""

from __future__ import annotations

import math

from vault_harness.faults import RequestKind
from vault_harness.scenario.history import History
from vault_harness.scenario.observations import Exchange
from vault_harness.scenario.oracles._base import Oracle, lacking, requests
from vault_harness.scenario.oracles._callers import READS
from vault_harness.scenario.oracles._logins import given_up
from vault_harness.scenario.oracles._requests import A_SECRET, kept_unasked
from vault_harness.scenario.verdict import Finding

AN_INSTANCE = 2
"""Requests that an instance needs to come back: a login and a read."""

NEW = 1.0
"""Seconds for which a token is new: what is asked with it then belongs to its login."""

AT_ITS_PACE: frozenset[RequestKind] = frozenset({"lookup", "capabilities", "status", "metadata"})
"""Kinds of requests by which a client looks at its token, at Vault or at a version, now and then.

What a loss of the token makes each instance send, logins, reads and renewals, has its own count.
"""

BUNCH = 0.3
"""Seconds in which no more than `BUNCHED` of a herd may log in."""

BUNCHED = 0.85
"""Of twenty that come at random times within half a second, as those do that pause for 1 to 1.5 s,
16 come within 0.3 s in one run of four, and 18 in one of thirty, which is asked once more.
"""


def no_stampede(count: int, *, since: float, before: float) -> Oracle:
    """In the first second after an outage each instance sends a login and a read.

    What its callers ask for in that second comes on top, once for each call, and `A_SECRET` for
    each secret that an instance keeps of its own accord. What a client does first with a new token
    to learn its TTL does not count, be it a renewal, as Vault's own LifetimeWatcher makes one, or a
    look at it; nor does that each gives its old token back; nor one question of each whether Vault
    serves, which needs no token. Whoever looked at its token, or at Vault, at a pace of its own
    before the outage may go on with that: as many such requests come on top as all instances sent
    in the busiest second before it, but for what belongs to a login (`NEW`).

    Args:
        count: How many instances there are.
        since: When Vault served again.
        before: When the outage began.
    """
    promise = f"no stampede: in any second {AN_INSTANCE} requests for each of {count} instances, "
    promise += "and one for each call"

    def oracle(history: History) -> list[Finding]:
        sent = _but_first_looks(history.find(since=since))
        each = AN_INSTANCE + A_SECRET * kept_unasked(history, since)
        steady = _busiest(_at_its_pace(history, count, before))
        for first in sent:
            burst = _but_one_question(_within(sent, first.came, 1.0), count)
            calls = history.calls(*READS, since=first.came, until=first.came + 1.0)
            paced = sum(one.kind in AT_ITS_PACE for one in burst)
            allowed = each * count + len(calls) + min(steady, paced)
            if len(burst) > allowed:
                text = f"{len(burst)} in one second, {allowed} are allowed: {requests(burst)}"
                return [Finding(promise, text, first.began, rests_on=())]
        return []

    return oracle


def _but_first_looks(sent: list[Exchange]) -> list[Exchange]:
    """All but the first renewal of each token whose login is among them, or the first look at it.

    One of the two: either tells the TTL. And but the first revocation of each token from before.
    """
    given_back: set[str | None] = set()
    new = {e.token for e in sent if e.kind == "login" and e.good and e.token is not None}
    looked_at: set[str | None] = set()
    left = []
    for one in sent:
        if one.kind in ("renew", "lookup") and one.token in new - looked_at:
            looked_at.add(one.token)
        elif one.kind == "revoke" and one.token not in new | given_back:
            given_back.add(one.token)
        else:
            left.append(one)
    return left


def _at_its_pace(history: History, count: int, until: float) -> list[Exchange]:
    """Looks at tokens that were not `NEW`, and at Vault, from when each instance had its first."""
    logins = history.logins(until=until)
    if len(logins) < count:
        return []
    got: dict[str | None, float] = {e.token: e.began for e in logins if e.token is not None}
    return [
        one
        for one in history.find(*AT_ITS_PACE, since=logins[count - 1].began, until=until)
        if one.began - got.get(one.token, -math.inf) > NEW
    ]


def _busiest(sent: list[Exchange]) -> int:
    """How many came in the second in which most of them did."""
    return max((len(_within(sent, first.came, 1.0)) for first in sent), default=0)


def _but_one_question(sent: list[Exchange], count: int) -> list[Exchange]:
    """All but so many questions whether Vault serves."""
    questions = [one.number for one in sent if one.kind == "status"][:count]
    return [one for one in sent if one.number not in questions]


def logins_are_spread(count: int, *, since: float, share: float = BUNCHED) -> Oracle:
    """The instances do not all log in at the same moment.

    What counts is when a login came, not when there was time to read it: the last of two hundred
    waits for all others, which would make a crowd look spread. Nor does it count whether it was
    answered: of those that come together the last ones wait too long for that.

    Args:
        count: How many instances there are.
        since: When the outage began.
        share: How many of them may log in within `BUNCH`, as a part of all: the more there are, the
            less is left to chance.
    """
    most = int(share * count)
    promise = f"at most {most} of {count} instances log in within {BUNCH:g} s"

    def oracle(history: History) -> list[Finding]:
        logins = history.logins(since=since)
        if not logins:
            return lacking(promise, "login", since, None)
        again = min(login.came for login in logins)
        logins += history.find("login", since=again, where=given_up)
        logins.sort(key=lambda login: login.came)
        for first in logins:
            bunch = _within(logins, first.came, BUNCH)
            if len(bunch) > most:
                took = bunch[-1].came - first.came
                text = f"{len(bunch)} logged in within {took:.2f} s"
                until = bunch[-1].began
                return [Finding(promise, text, first.began, until=until, repeated=True)]
        return []

    return oracle


def each_caller_recovers(bound: float, *, since: float) -> Oracle:
    """Each of the callers that read before has a good read at most so long after `since`."""
    promise = f"each caller has a good read within {bound:.3g} s after the fault"

    def oracle(history: History) -> list[Finding]:
        callers = _callers(history, since)
        if not callers:
            return lacking(promise, "caller", 0.0, since)
        end = since + bound
        end += history.slack(since, end)
        if missing := still_waiting(history, since=since, until=end):
            text = f"{len(missing)} of {len(callers)} callers had none"
            late = [_first_good(history, caller, since) for caller in missing]
            last = max(late)
            missed = last - end if last < math.inf else None
            if missed is not None:
                text += f" by then, the last after {last - since:.2f} s"
            lacks = missed is None
            return [Finding(promise, text, since, missed=missed, until=end, lacks=lacks)]
        return []

    return oracle


def _first_good(history: History, caller: int, since: float) -> float:
    """When a caller's first good read from then on ended; infinite if none did."""
    good = history.calls(*READS, where=lambda o: o.good and o.caller == caller)
    return min(
        (c.ended for c in good if c.ended is not None and c.ended >= since), default=math.inf
    )


def still_waiting(history: History, *, since: float, until: float = math.inf) -> set[int]:
    """Callers that read before `since`, and had no good read from then until `until`."""
    served = {
        call.caller
        for call in history.calls(*READS, where=lambda o: o.good)
        if call.ended is not None and since <= call.ended <= until
    }
    return _callers(history, since) - served


def _callers(history: History, until: float) -> set[int]:
    """Those that read before a moment."""
    return {call.caller for call in history.calls(*READS, until=until) if call.caller}


def _within(events: list[Exchange], since: float, seconds: float) -> list[Exchange]:
    return [event for event in events if since <= event.came <= since + seconds]
