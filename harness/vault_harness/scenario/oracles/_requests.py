"""Oracles on how many requests a client sends, and with which pauses.

A bound on a count holds where nothing was counted: that is what it asks for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Literal

from vault_harness.faults import RequestKind
from vault_harness.scenario.history import History, between
from vault_harness.scenario.observations import Exchange, Operation
from vault_harness.scenario.oracles._base import (
    Oracle,
    ToTheEnd,
    counted,
    lacking,
    requests,
    surest,
    times,
)
from vault_harness.scenario.oracles._dead_tokens import NEWS
from vault_harness.scenario.oracles._lives import but_in_their_turn
from vault_harness.scenario.verdict import Finding

STORM_PEAK = 5
"""Requests of the client's own, whoever calls, in one second."""

STORM_MEAN = 1
"""Requests a second of the client's own over the whole of a fault, beyond one peak."""

A_CALLER = 2
"""Requests a second for each caller, however often it calls."""

AT_ONCE = 1
"""More of them for each caller in any one second: pauses between tries begin short, and grow."""

A_SECRET = 1
"""Requests a second for each secret that the client kept fresh before, and nobody asks for now."""

PAUSE = 0.1
"""Seconds from one try to the next within a call; the first repetition may come at once."""

OF_THE_SERVER = frozenset({"sys/health", "sys/seal-status", "sys/leader", "sys/init"})
"""What is asked about a server, whichever namespace a client works in."""

LOOKS_FOR_A_DENIAL = 1
"""Looks at the token for each denied read: it may be the token or the policy."""

READS_FOR_A_DENIED_CALL = 2
"""The read of a call that is denied, and one repetition."""

LOGINS_FOR_DENIALS = 1
"""Logins for all of them: it shows whether the role has got another policy."""

IN_A_CALL = 1
"""Requests of a client's own pace that may fall into a call: one that looks every half minute has
shown no pace to be known by.
"""

LOOKS: tuple[RequestKind, ...] = ("lookup", "capabilities")
"""Kinds of requests by which a client looks at its token."""

_DENIED: dict[RequestKind, tuple[str, tuple[str, ...]]] = {
    "read": ("read", ("read", "read_cached", "read_all")),
    "credential": ("request", ("lease",)),
}
"""What may be denied, in a word, and the calls in which it is asked for."""

MOUNTS = "sys/internal/ui/mounts"
"""Where some ask first which mount a secret is in; 403 for one that is not there."""


def no_request_storm(*, since: float, until: float, denied: str | None = None) -> Oracle:
    """While a fault lasts, a client sends few requests.

    In any second `STORM_PEAK` and `AT_ONCE` for each caller, and over the whole time `STORM_MEAN` a
    second and one `STORM_PEAK`; to both are added `A_CALLER` a second for each caller, who waits
    for a client to start being one, and
    `A_SECRET` for each secret that the client keeps of its own accord. Of many clients each further
    one adds `STORM_MEAN` to both, and has secrets of its own. How often a caller calls does not
    count, and neither does a request that Vault asks for: a quota tells the last second of its
    interval as ``Retry-After: 0``. It holds for silence.

    Args:
        since: When it begins.
        until: When it ends.
        denied: Path of a secret that is denied then: `a_denial_costs_little` has a count of its own
            for what that may cost, which is left out here.
    """
    promise = _quiet("request")

    def oracle(history: History) -> list[Finding]:
        sent = _unbidden(
            history.find(
                since=since,
                until=until,
                where=lambda e: denied is None or not _for_a_denial(e, denied),
            )
        )
        budget = _budget(history, since, until)
        peak = STORM_PEAK + budget + AT_ONCE * _callers(history, since, until)
        for first in sent:
            burst = [e for e in sent if first.came <= e.came <= first.came + 1.0]
            if len(burst) > peak:
                text = f"{len(burst)} requests in one second, {peak} are allowed"
                return [_storm(promise, f"{text}: {requests(burst)}", first.began)]
        allowed = _in_all(budget, since, until)
        if len(sent) > allowed:
            text = f"{len(sent)} requests in {until - since:.1f} s, {allowed} are allowed"
            return [_storm(promise, f"{text}: {requests(sent)}", since)]
        return []

    return oracle


def no_connection_storm(*, since: float, until: float) -> Oracle:
    """The same for connections, where they end before a request can be sent."""
    promise = _quiet("connection")

    def oracle(history: History) -> list[Finding]:
        opened = sorted(at for at in list(history.connections) if since <= at <= until)
        budget = _budget(history, since, until)
        peak = STORM_PEAK + budget + AT_ONCE * _callers(history, since, until)
        for at in opened:
            seen = between(opened, at, at + 1.0)
            if seen > peak:
                text = f"{seen} connections in one second, {peak} are allowed"
                return [_storm(promise, text, at)]
        allowed = _in_all(budget, since, until)
        if len(opened) > allowed:
            text = f"{len(opened)} connections in {until - since:.1f} s, {allowed} are allowed"
            return [_storm(promise, text, since)]
        return []

    return oracle


def no_credential_sent(
    *, since: float, until: float, to: str = "another host", harm: bool = True
) -> Oracle:
    """Over connections whose handshake was in that time, no token and no secret-id is sent.

    For a time in which the server shows a certificate that no client may take. It holds for
    silence.

    Args:
        since: When it begins.
        until: When it ends.
        to: Whom that certificate is of, in few words.
        harm: Whether it counts whatever else happened.
    """
    promise = f"no token and no secret-id goes to a server whose certificate is one of {to}"

    def oracle(history: History) -> list[Finding]:
        taken = {
            one.connection
            for one in list(history.handshakes)
            if one.protocol is not None and since <= one.at <= until
        }
        return [
            Finding(
                promise,
                f"a {sent.kind} was sent to {to}, with {label}",
                sent.began,
                harm=harm,
                rests_on=(),  # it was sent, whether or not anything was refused
            )
            for sent in history.find(since=since)
            if sent.connection in taken and (label := sent.secret_id or sent.token)
        ][:2]

    return oracle


def _quiet(what: str) -> str:
    return (
        f"no {what} storm (at most {STORM_PEAK} {what}s a second of the client's own, "
        f"and {A_CALLER + AT_ONCE} for each caller)"
    )


def _unbidden(sent: Sequence[Exchange]) -> list[Exchange]:
    """Requests but those which Vault asked for: one after each answer that says to wait 0 s."""
    left, invitations = [], deque[float]()
    for one in sent:
        if invitations and invitations[0] <= one.began:
            invitations.popleft()
        else:
            left.append(one)
        if one.retry_after == 0 and one.ended is not None:
            invitations.append(one.ended)
    return left


def _storm(promise: str, text: str, at: float) -> Finding:
    return Finding(promise, text, at, rests_on=())


def _budget(history: History, since: float, until: float) -> int:
    """Requests a second for those who call, and for what the client keeps."""
    kept = A_SECRET * kept_unasked(history, since, until) * history.clients
    callers = A_CALLER * _callers(history, since, until)
    return callers + kept + STORM_MEAN * (history.clients - 1)


def _callers(history: History, since: float, until: float) -> int:
    """How many call in that time, or wait for the client to start.

    Whoever starts it is the scenario itself, which has no number among callers: with its first call
    after the start it is one caller, and not two.
    """

    def then(*verbs: str) -> list[Operation]:
        calls = history.calls(*verbs, until=until)
        return [o for o in calls if o.ended is None or o.ended >= since]

    verbs = ("read", "read_cached", "read_all", "write", "update", "lease")
    calling = {(o.verb, o.path, o.caller) for o in then(*verbs)}
    waits = bool(then("start")) and not any(caller == 0 for *_, caller in calling)
    return len(calling) + waits


def kept_unasked(history: History, since: float, until: float | None = None) -> int:
    """How many secrets a client had read before `since` that nobody has asked for by `until`."""
    calling = history.calls("read", "read_cached", "write", "update", until=until)
    kept = {e.path for e in history.find("read", until=since, where=lambda e: e.good)}
    return max(0, len(kept) - len({o.path for o in calling}))


def quiet_requests(callers: int, seconds: float) -> int:
    """How many requests are no storm in so many seconds, of a client whose secrets are asked for.

    What `no_request_storm` allows in all, for where it is one of two bounds.
    """
    return _in_all(A_CALLER * callers, 0.0, seconds)


def _in_all(budget: int, since: float, until: float) -> int:
    return int((STORM_MEAN + budget) * max(until - since, 1.0)) + STORM_PEAK


def requests_at_most(
    count: int, *kinds: str, since: float, until: float | None = None, path: str | None = None
) -> Oracle:
    """At most so many requests of these kinds in that time."""
    what = " and ".join(kinds) or "all kinds"
    promise = f"at most {count} requests ({what})"

    def oracle(history: History) -> list[Finding]:
        seen = history.find(
            since=since,
            until=until,
            where=lambda e: (
                (not kinds or e.kind in kinds) and (path is None or e.path.endswith(path))
            ),
        )
        if len(seen) <= count:
            return []
        return [Finding(promise, _listed(seen, kinds), seen[count].began, rests_on=())]

    return oracle


def requests_a_call_at_most(
    count: int,
    *kinds: str,
    since: float,
    until: float | None = None,
    path: str | None = None,
    may_be_empty: bool = False,
) -> Oracle:
    """During each read at most so many requests of these kinds are sent. For a single caller.

    Of who sends some of these while nobody calls, as one that keeps that secret fresh does, as many
    come on top as `a_denial_costs_little` grants for that: `IN_A_CALL`, and `STORM_MEAN` a second.

    Args:
        count: How many may be.
        kinds: Which requests; all, if none is named.
        since: When it begins.
        until: When it ends.
        path: What is read, and asked for; anything, if None.
        may_be_empty: Whether it holds where nobody read then.
    """
    promise = f"at most {count} requests ({' and '.join(kinds)}) for one call"

    def oracle(history: History) -> list[Finding]:
        calls = history.calls(
            "read",
            "read_cached",
            since=since,
            until=until,
            where=lambda o: path is None or o.path == path,
        )
        if not calls and not may_be_empty:
            return lacking(promise, "read", since, until)
        for call in calls:
            seen = [
                e
                for e in history.find(since=call.began, until=call.ended)
                if _is_one(e, kinds, path)
            ]
            took = (history.now() if call.ended is None else call.ended) - call.began
            if len(seen) > count + _at_its_own_pace(history, kinds, path, took=took, until=until):
                text = f"{_listed(seen, kinds)} in one call"
                return [Finding(promise, text, call.began, rests_on=())]
        return []

    return oracle


def _is_one(exchange: Exchange, kinds: tuple[str, ...], path: str | None) -> bool:
    """Whether it is a request of these kinds, for that secret; for any, if none is named."""
    return (not kinds or exchange.kind in kinds) and (path is None or exchange.path.endswith(path))


def _at_its_own_pace(
    history: History,
    kinds: tuple[str, ...],
    path: str | None = None,
    *,
    took: float,
    until: float | None = None,
) -> int:
    """How many requests a client may send by itself in so many seconds; none of who does not.

    It does so if it has sent any such request by then while nobody called: who keeps other secrets
    fresh asks no more often for this one, nor who keeps this one so once it is there.
    """
    calls = history.calls()
    asked = history.find(until=until, where=lambda e: _is_one(e, kinds, path))
    if all(any(_during(each, one) for each in calls) for one in asked):
        return 0
    return IN_A_CALL + int(STORM_MEAN * took)


def _listed(seen: list[Exchange], kinds: tuple[str, ...]) -> str:
    """So many requests of these kinds, each with its time; by kind, where there may be several."""
    return (
        f"{counted(len(seen), f'{kinds[0]} request')} ({times(seen)})"
        if len(kinds) == 1
        else f"{counted(len(seen), 'request')}: {requests(seen)}"
    )


def pauses_between_tries(*, since: float, until: float) -> Oracle:
    """Within one call, tries of a read come with pauses. For a single caller.

    The first repetition may come at once; from the next on there is `PAUSE` for each on average.
    What the client may look for by itself from the first to the last of them, as in
    `requests_a_call_at_most`, is no try. It holds where no call tries three times: how often it
    must is another promise.
    """
    promise = f"tries within a call come {PAUSE:g} s apart, the second one excepted"

    def oracle(history: History) -> list[Finding]:
        for call in history.calls("read", "read_cached", since=since, until=until):
            tries = history.find("read", since=call.began, until=call.ended)
            if len(tries) < 3:
                continue
            # When one came is known to a few milliseconds only, which may be all the difference.
            took = max(tries[-1].came - tries[0].came, tries[-1].began - tries[0].began)
            own = _at_its_own_pace(history, ("read",), took=took)
            if took < PAUSE * (len(tries) - own - 2):
                text = f"{len(tries)} tries in {took:.2f} s ({times(tries)})"
                return [Finding(promise, text, tries[0].began, rests_on=())]
        return []

    return oracle


def obeys_retry_after(
    *,
    since: float,
    until: float,
    kind: Literal["read", "write", "metadata"] = "read",
    may_be_empty: bool = False,
) -> Oracle:
    """After a 429 with ``Retry-After`` no such request is sent before that time is over.

    One that another call had on its way when the answer came cannot know of it.
    Where nothing else came after any 429 but what such a call sent a moment later, as who gets no
    core does, that counts if it is found again.

    Args:
        since: When it begins.
        until: When it ends.
        kind: What is refused, and not sent meanwhile.
        may_be_empty: Whether it holds where Vault told nobody to wait.
    """
    each = {"read": "", "write": " by each write", "metadata": " by each look at a version"}
    promise = f"Retry-After is obeyed{each[kind]}"

    def oracle(history: History) -> list[Finding]:
        asked = history.find(kind, since=since, until=until)
        told = [e for e in asked if e.status == 429 and e.retry_after and e.ended is not None]
        if not told and not may_be_empty:
            return lacking(promise, "429 with a time to wait", since, until)
        found = []
        for refusal in told:
            began, wait = refusal.ended or 0.0, refusal.retry_after or 0.0
            # The client may have had the answer a moment before its end was noted.
            end = began + wait - history.slack(refusal.began, began)
            hasty = [
                e
                for e in asked
                if began < e.came and e.began < end and not _on_its_way(history, e, refusal)
            ]
            if hasty:
                text = f"asked again after {hasty[0].began - began:.2f} s, told to wait {wait:g} s;"
                text += f" {counted(len(hasty), kind)} within that time ({times(hasty)})"
                late = all(_had_been_on_its_way(history, e, refusal) for e in hasty)
                found.append(Finding(promise, text, hasty[0].began, rests_on=(), repeated=late))
        return surest(found)

    return oracle


def _on_its_way(history: History, request: Exchange, refusal: Exchange) -> bool:
    """Whether a request may have been sent before the client had that answer.

    So it may, for a moment, by another connection that was open by then, or beside it by one of
    HTTP/2. Over the one that brought the answer nothing else is sent before it, and who opens one
    afterwards had time to know: but for a second call that had just begun, whose connection is
    noted when it is accepted, a moment after it was asked for. Where more was sent than there were
    calls, one of them has asked twice, and the second time it was told. What was answered well
    before the refused one was sent is none of that: who has waited as it was told may try again.
    """
    ended = refusal.ended or refusal.began
    slack = history.slack(ended, request.came)
    if request.came > ended + slack:
        return False
    if request.connection == refusal.connection:
        shaken = [one for one in history.handshakes if one.connection == request.connection]
        return any(one.protocol == "h2" for one in shaken)
    opened = history.connections[request.connection - 1 : request.connection]
    if any(at < ended for at in opened):
        return True
    calls = [o for o in history.operations if o.began < ended and (o.ended or ended) >= ended]
    if len(calls) < 2 or not any(o.began > ended - slack for o in calls):
        return False
    since = min(o.began for o in calls)
    sent = history.find(
        request.kind,
        since=since,
        where=lambda e: e.came <= request.came and (e.ended or inf) > refusal.began - slack,
    )
    asked = [o for o in history.operations if since <= o.began <= request.came]
    return len(sent) <= len(asked)


def _had_been_on_its_way(history: History, request: Exchange, refusal: Exchange) -> bool:
    """Whether another call had begun when that answer came, and may have sent it a moment later."""
    ended = refusal.ended or refusal.began
    if request.came > ended + NEWS:
        return False
    calls = [o for o in history.operations if o.began < ended and (o.ended or ended) >= ended]
    return len(calls) > 1 and any(o.ended is None or o.ended >= request.came for o in calls)


def a_denial_costs_little(
    *,
    since: float,
    until: float | None = None,
    path: str | None = None,
    logins: int = LOGINS_FOR_DENIALS,
    may_be_empty: bool = False,
    kind: Literal["read", "credential"] = "read",
) -> Oracle:
    """A denied read (403) costs one look at the token and one repetition, all of them one login.

    The rule for every 403 whose token lives: it may be the token or the policy, so each one may
    cost a look at the token (``lookup-self`` or ``capabilities-self``), each call one more try, and
    once in a while a login shows whether the role has got another policy. Who asks for a secret's
    metadata first is denied there, and may repeat that as it may a read; who asks first which
    mounts there are may look at its token for a 403 to that. Who looks at its token at a pace of
    its own, whatever is denied, or at the secret to keep it fresh, has `STORM_MEAN` a second of
    each beside these, outside of calls, and `IN_A_CALL` whatever its pace is.

    Args:
        since: When it begins.
        until: When it ends.
        path: The denied path; any read, if None.
        logins: How many logins may be.
        may_be_empty: Whether it holds where no read was denied.
        kind: What is denied: a read, or the request for a dynamic credential.
    """
    thing, verbs = _DENIED[kind]
    promise = f"a denial costs one look at the token, one repetition of the {thing}, and one login"

    def oracle(history: History) -> list[Finding]:
        asked = history.find(since=since, until=until, where=lambda e: _asks_for(e, path, kind))
        reads = [e for e in asked if e.kind == kind]
        metadata = [e for e in asked if e.kind == "metadata"]
        denied = [e for e in asked if e.status == 403]
        mounts = history.find(
            since=since, until=until, where=lambda e: e.status == 403 and MOUNTS in e.path
        )
        calls = history.calls(
            *verbs, since=since, until=until, where=lambda o: path in (None, o.path)
        )
        looks = history.find(*LOOKS, since=since, until=until)
        seconds = (history.now() if until is None else until) - since

        def at_its_pace(seen: list[Exchange]) -> int:
            own = sum(not any(_during(call, one) for call in calls) for one in seen)
            return min(own, int(STORM_MEAN * seconds)) + IN_A_CALL

        of_calls = READS_FOR_A_DENIED_CALL * len(calls)
        tried = but_in_their_turn(history, history.find("login", since=since, until=until))
        findings = []
        for word, seen, most in (
            (
                "looks at the token",
                looks,
                LOOKS_FOR_A_DENIAL * len([*denied, *mounts]) + at_its_pace(looks),
            ),
            (f"{thing}s", reads if path else [], of_calls + at_its_pace(reads)),
            ("metadata reads", metadata if path else [], of_calls + at_its_pace(metadata)),
            ("logins", tried, logins),
        ):
            if len(seen) > most:
                text = f"{len(seen)} {word} for {counted(len(denied), f'denied {thing}')} of "
                text += f"{counted(len(calls), 'call')}, {most} are allowed ({times(seen)})"
                findings.append(Finding(promise, text, seen[most].began, rests_on=()))
        if not denied and not may_be_empty:
            findings.extend(lacking(promise, f"denied {thing}", since, until))
        return findings

    return oracle


def _asks_for(request: Exchange, path: str | None, kind: RequestKind = "read") -> bool:
    """Whether it asks for that, or for any of the kind, or is a denied read of its metadata."""
    if path is not None and not f"/{request.path}".endswith(f"/{path}"):
        return False
    return request.kind == kind or (request.kind == "metadata" and request.status == 403)


def _for_a_denial(request: Exchange, path: str) -> bool:
    """Whether `a_denial_costs_little` counts it."""
    return request.kind in (*LOOKS, "login") or _asks_for(request, path)


def _during(call: Operation, request: Exchange) -> bool:
    """Whether a request was sent while a call was under way."""
    return call.began <= request.began and (call.ended is None or request.began <= call.ended)


def names_its_namespace(namespace: str) -> Oracle:
    """Each request names that namespace, in its header or at the head of its path.

    Whether the server serves at all is not asked in a namespace: none has a health of its own, and
    HashiCorp Vault does not answer such a question there. It is asked to the end: its last
    request gives its token back.

    Args:
        namespace: Where the client works. Requests below it, in a child, are none of its own.
    """
    promise = f"every request names the namespace {namespace}"

    def oracle(history: History) -> list[Finding]:
        asked = history.find(where=lambda e: e.path not in OF_THE_SERVER)
        stray = [e for e in asked if e.namespace != namespace]
        firsts = {e.kind: e for e in reversed(stray)}
        return [
            Finding(
                promise,
                f"a {kind} named {first.namespace or 'none'} ({first.method} {first.path})",
                first.began,
                rests_on=(),
            )
            for kind, first in sorted(firsts.items(), key=lambda each: each[1].began)
        ]

    return ToTheEnd(oracle)
