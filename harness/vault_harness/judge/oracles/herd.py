"""Judge whether callers are served continuously, also as a herd."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Literal

from vault_harness.judge.oracles.base import Oracle, bursts, counted, lacking, requests, times
from vault_harness.judge.oracles.callers import READS
from vault_harness.judge.oracles.credentials import renews_a_lease
from vault_harness.judge.oracles.logins import given_up
from vault_harness.judge.oracles.requests import A_SECRET, kept_unasked
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.fault import RequestKind
from vault_harness.recorder.history import SLACK, History
from vault_harness.recorder.observations import Exchange, Operation

AN_INSTANCE = 2
"""A login and a read."""

NEW = 1.0
"""Seconds for which a request with a new token belongs to its login."""

AT_ITS_PACE: frozenset[RequestKind] = frozenset({"lookup", "capabilities", "status", "metadata"})
"""Kinds of periodic requests: for a token, Vault's state or a version."""

BUNCH = 0.3
"""Seconds in which no more than `BUNCHED` of a herd may log in."""

BUNCHED = 0.85
"""Of twenty clients that pause for 1 to 1.5 s, 16 come within `BUNCH` in one run of four, and 18 in
one run of thirty; such a run is confirmed.
"""


def no_stampede(count: int, *, since: float, before: float) -> Oracle:
    """Check that each instance sends at most a login and a read in any second after an outage.

    Each call adds one request, and each secret that an instance keeps by itself adds `A_SECRET`.
    These do not count:

    - the first renewal or lookup with a new token, by which a client learns the TTL
    - the revocation of the old token
    - one question of each instance whether Vault serves
    - as many periodic requests as in the busiest second before the outage

    Args:
        since: When Vault served again.
        before: When the outage began.
    """
    promise = f"no stampede: in any second {AN_INSTANCE} requests for each of {count} instances, "
    promise += "and one for each call"

    def oracle(history: History) -> list[Finding]:
        sent = _without_first_looks(history.find(since=since))
        each = AN_INSTANCE + A_SECRET * kept_unasked(history, since)
        steady = max(map(len, bursts(_at_its_pace(history, count, before), 1.0)), default=0)
        for crowd in bursts(sent, 1.0):
            first, burst = crowd[0], _without_one_question(crowd, count)
            calls = history.calls(*READS, since=first.came, until=first.came + 1.0)
            paced = sum(one.kind in AT_ITS_PACE for one in burst)
            allowed = each * count + len(calls) + min(steady, paced)
            if len(burst) > allowed:
                text = f"{len(burst)} in one second, {allowed} are allowed: {requests(burst)}"
                return [Finding(promise, text, first.began, rests_on=())]
        return []

    return oracle


def _without_first_looks(sent: list[Exchange]) -> list[Exchange]:
    """Leave out revocations of old tokens, and the first renewal or lookup of each new one."""
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
    """Return the periodic requests once each instance had its first token."""
    logins = history.logins(until=until)
    if len(logins) < count:
        return []
    got: dict[str | None, float] = {e.token: e.began for e in logins if e.token is not None}
    return [
        one
        for one in history.find(*AT_ITS_PACE, since=logins[count - 1].began, until=until)
        if one.began - got.get(one.token, -math.inf) > NEW
    ]


def _without_one_question(sent: list[Exchange], count: int) -> list[Exchange]:
    questions = [one.number for one in sent if one.kind == "status"][:count]
    return [one for one in sent if one.number not in questions]


def logins_are_spread(count: int, *, since: float, share: float = BUNCHED) -> Oracle:
    """Check that the instances do not all log in at the same moment.

    A login counts when it came: reading two hundred takes time and would make a crowd look spread.
    Unanswered logins count too, since in a crowd clients give up the last ones.

    Args:
        since: When the outage began.
    """
    most = int(share * count)
    promise = f"at most {most} of {count} instances log in within {BUNCH:g} s"

    def oracle(history: History) -> list[Finding]:
        logins = history.logins(since=since)
        if not logins:
            return lacking(promise, "login", since, None)
        again = min(login.came for login in logins)
        logins += history.find("login", since=again, where=given_up)
        for bunch in bursts(logins, BUNCH):
            if len(bunch) > most:
                first, last = bunch[0], bunch[-1]
                text = f"{len(bunch)} logged in within {last.came - first.came:.2f} s"
                return [Finding(promise, text, first.began, until=last.began)]
        return []

    return oracle


def each_caller_recovers(bound: float, *, since: float) -> Oracle:
    """Check that each caller that read before `since` has a good read within `bound` seconds."""
    promise = f"each caller has a good read within {bound:.3g} s after the fault"

    def oracle(history: History) -> list[Finding]:
        callers = _callers(history, since)
        if not callers:
            return lacking(promise, "caller", 0.0, since)
        end = since + bound
        end += SLACK
        if missing := still_waiting(history, since=since, until=end):
            text = f"{len(missing)} of {len(callers)} callers had none"
            late = [_first_good(history, caller, since) for caller in missing]
            last = max(late)
            missed = last - end if last < math.inf else None
            if missed is not None:
                text += f" in that time, the last one had it after {last - since:.2f} s"
            return [Finding(promise, text, since, missed=missed, until=end)]
        return []

    return oracle


def _first_good(history: History, caller: int, since: float) -> float:
    good = history.calls(*READS, where=lambda o: o.good and o.caller == caller)
    return min(
        (c.ended for c in good if c.ended is not None and c.ended >= since), default=math.inf
    )


def still_waiting(history: History, *, since: float, until: float = math.inf) -> set[int]:
    """Return callers that read before `since`, and had no good read then."""
    served = {
        call.caller
        for call in history.calls(*READS, where=lambda o: o.good)
        if call.ended is not None and since <= call.ended <= until
    }
    return _callers(history, since) - served


def _callers(history: History, until: float) -> set[int]:
    return {call.caller for call in history.calls(*READS, until=until) if call.caller}


def reads_go_on(bound: float, *, since: float, until: float, path: str) -> Oracle:
    """Check that there are at most `bound` seconds from one good read of a secret to the next.

    `since` and `until` count as such.
    """
    promise = f"no reader of {path} waits longer than {bound:g} s for a good read"

    def oracle(history: History) -> list[Finding]:
        good = [
            o.ended
            for o in history.calls("read", "read_cached", where=lambda o: o.good and o.path == path)
            if o.ended is not None and since < o.ended < until
        ]
        for one, next_one in pairwise([since, *sorted(good), until]):
            over = next_one - one - bound - SLACK
            if over > 0:
                text = f"none came for {next_one - one:.2f} s, from +{one:.2f} s on"
                return [Finding(promise, text, one, missed=over, until=next_one)]
        return []

    return oracle


def nobody_waits(
    bound: float,
    *,
    since: float,
    until: float,
    of: Collection[str],
    what: Literal["secret", "credential"] = "secret",
) -> Oracle:
    """Check that slow secrets hold up no read of others.

    Args:
        of: The secrets or paths that no fault concerns.
    """
    verbs: tuple[str, ...] = ("lease",) if what == "credential" else READS
    who = "reader of another secret" if what == "secret" else "caller with another credential"
    act = "read" if what == "secret" else "call"
    promise = f"no {who} waits longer than {bound:.3g} s for a slow one"

    def oracle(history: History) -> list[Finding]:
        calls = history.calls(*verbs, since=since, until=until, where=lambda o: o.path in of)
        if not calls:
            return lacking(promise, act, since, until)
        held = []
        for call in calls:
            ended = history.now() if call.ended is None else call.ended
            over = ended - call.began - bound - SLACK
            if call.failed or over > 0:
                held.append((math.inf if call.failed else over, call))
        if not held:
            return []
        over, worst = max(held, key=lambda one: one[0])
        text = f"{len(held)} of {counted(len(calls), act)} waited or failed"
        text += f" ({times(call for _, call in held)}), the worst of {worst.path}"
        missed = None if math.isinf(over) else over
        return [Finding(promise, text, worst.began, missed=missed, until=worst.ended)]

    return oracle


def renewals_hold_up_nobody(
    bound: float, *, since: float, until: float, of: Literal["token", "lease", "login"] = "token"
) -> Oracle:
    """Check that renewals under way delay no read by more than `bound` seconds.

    One read may wait for each renewal, since a client may renew within a call.

    Args:
        until: Later renewals and reads are not judged: a caller may then need a new token.
    """
    verbs: tuple[str, ...] = ("lease",) if of == "lease" else READS
    one, whole = ("call", "call for a credential") if of == "lease" else ("read", "read")
    act = "login" if of == "login" else "renewal"
    promise = f"a {act} that hangs holds up no {whole} for {bound:g} s, except one that makes it"

    def oracle(history: History) -> list[Finding]:
        renewals = history.find("login" if of == "login" else "renew", since=since, until=until)
        if of == "lease":
            renewals = history.find("lease", since=since, until=until, where=renews_a_lease)
        calls = history.calls(*verbs, until=until)
        waits = [(_overlap(history, call, renewals), call) for call in calls]
        beside = [(waited, call) for waited, call in waits if waited > 0]
        if not beside:
            return lacking(promise, f"{whole} beside a {act}", since, until)
        held = []
        for waited, call in beside:
            over = waited - bound - SLACK
            if call.failed or over > 0:
                held.append((math.inf if call.failed else over, call))
        if len(held) <= len(renewals):
            return []
        held.sort(key=lambda one: one[0], reverse=True)
        over, worst = held[len(renewals)]
        those = sorted((call for _, call in held), key=lambda call: call.began)
        text = f"{len(held)} of {counted(len(beside), one)} waited or failed ({times(those)})"
        text += f" beside {counted(len(renewals), act)} ({times(renewals)})"
        missed = None if math.isinf(over) else over
        return [Finding(promise, text, worst.began, missed=missed, until=worst.ended)]

    return oracle


def _overlap(history: History, call: Operation, renewals: Sequence[Exchange]) -> float:
    now = history.now()
    ended = now if call.ended is None else call.ended
    shared = (
        min(ended, now if e.ended is None else e.ended) - max(call.began, e.began) for e in renewals
    )
    return sum(max(one, 0.0) for one in shared)
