"""Judge how many requests a client sends, and with which pauses."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Literal

from vault_harness.judge.oracles.base import (
    Oracle,
    ToTheEnd,
    bursts,
    counted,
    lacking,
    requests,
    times,
    too_many,
)
from vault_harness.judge.oracles.profile import (
    logs_in_for_each_call,
    looks_before_each_read,
    without_logins_in_turn,
)
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.fault import RequestKind
from vault_harness.recorder.history import SLACK, History, between
from vault_harness.recorder.observations import Exchange, Operation

STORM = 3
"""A storm is more than this many times what a careful client sends."""

OF_ITS_OWN = 1
"""Requests a second without a call."""

A_CALLER = 3
"""Requests a second for each caller: of two calls a second, parts of three fit into it."""

A_SECRET = 1
"""Requests a second for each secret that is kept fresh without a caller."""

PAUSE = 0.1
"""Seconds from one try to the next; the first repetition may come at once."""

OF_THE_SERVER = frozenset({"sys/health", "sys/seal-status", "sys/leader", "sys/init"})
"""Paths that belong to no namespace."""

LOOKS_FOR_A_DENIAL = 1
"""Lookups for each denied read: the cause may be the token or the policy."""

READS_FOR_A_DENIED_CALL = 2

LOGINS_FOR_DENIALS = 1
"""A login shows whether the role has a new policy."""

IN_A_CALL = 1
"""Periodic requests that may fall into a call, however long their period is."""

LOOKS: tuple[RequestKind, ...] = ("lookup", "capabilities")

_DENIED: dict[RequestKind, tuple[str, tuple[str, ...]]] = {
    "read": ("read", ("read", "read_cached", "read_all")),
    "credential": ("request", ("lease",)),
}
"""The name of what may be denied, and the verbs of its calls."""

MOUNTS = "sys/internal/ui/mounts"
"""Where some clients first ask for a secret's mount. Vault answers 403 if there is none."""


def no_request_storm(*, since: float, until: float, denied: str | tuple[str, ...] = ()) -> Oracle:
    """Check that no second has a storm of requests.

    Requests that Vault asks for with ``Retry-After: 0`` do not count, as in the last second of a
    quota's interval.

    Args:
        denied: Paths whose requests `a_denial_costs_little` counts instead.
    """
    paths = _several(denied)

    def oracle(history: History) -> list[Finding]:
        sent = _unbidden(
            history.find(
                since=since,
                until=until,
                where=lambda e: not paths or not _for_a_denial(e, paths),
            )
        )
        allowed = _allowed(history, since, until)
        for burst in bursts(sent, 1.0):
            if len(burst) > allowed:
                text = f"{len(burst)} requests in one second, {allowed} are allowed"
                return [_storm("request", f"{text}: {requests(burst)}", burst[0].began)]
        return []

    return oracle


def no_connection_storm(*, since: float, until: float) -> Oracle:
    """Check that no second has a storm of connections, which may end before any request."""

    def oracle(history: History) -> list[Finding]:
        opened = sorted(at for at in list(history.connections) if since <= at <= until)
        allowed = _allowed(history, since, until)
        for at in opened:
            seen = between(opened, at, at + 1.0)
            if seen > allowed:
                text = f"{seen} connections in one second, {allowed} are allowed"
                return [_storm("connection", text, at)]
        return []

    return oracle


def quiet(seconds: float) -> int:
    """Return how many requests of one kind are no storm."""
    return STORM * OF_ITS_OWN * max(1, int(seconds))


def no_credential_sent(
    *, since: float, until: float, to: str = "another host", harm: bool = True
) -> Oracle:
    """Check that no token and no secret-id is sent over connections made in that time.

    Use it while the server shows a certificate that no client may accept.
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
                rests_on=(),  # a sent credential counts, whether or not anything was refused
            )
            for sent in history.find(since=since)
            if sent.connection in taken and (label := sent.secret_id or sent.token)
        ][:2]

    return oracle


def _unbidden(sent: Sequence[Exchange]) -> list[Exchange]:
    """Leave out the requests that Vault invited, one by each ``Retry-After: 0``."""
    left, invitations = [], deque[float]()
    for one in sent:
        if invitations and invitations[0] <= one.began:
            invitations.popleft()
        else:
            left.append(one)
        if one.retry_after == 0 and one.ended is not None:
            invitations.append(one.ended)
    return left


def _storm(what: str, text: str, at: float) -> Finding:
    promise = f"no {what} storm ({STORM} times what a careful client sends in one second)"
    return Finding(promise, text, at, rests_on=())


def _allowed(history: History, since: float, until: float) -> int:
    own = OF_ITS_OWN + A_SECRET * kept_unasked(history, since, until)
    called = A_CALLER * max(1, _callers(history, since, until))
    return STORM * (own * history.clients + called)


def _callers(history: History, since: float, until: float) -> int:
    """Return how many callers call, or wait for the client to start.

    A start that the scenario waits for and its first call count as one caller.
    """

    def then(*verbs: str) -> list[Operation]:
        calls = history.calls(*verbs, until=until)
        return [o for o in calls if o.ended is None or o.ended >= since]

    verbs = ("read", "read_cached", "read_all", "write", "update", "lease")
    calling = {(o.verb, o.path, o.caller) for o in then(*verbs)}
    waits = bool(then("start")) and not any(caller == 0 for *_, caller in calling)
    return len(calling) + waits


def kept_unasked(history: History, since: float, until: float | None = None) -> int:
    """Return how many secrets were read before `since` and not asked for later."""
    calling = history.calls("read", "read_cached", "write", "update", until=until)
    kept = {e.path for e in history.find("read", until=since, where=lambda e: e.good)}
    return max(0, len(kept) - len({o.path for o in calling}))


def requests_at_most(
    count: int, *kinds: str, since: float, until: float | None = None, path: str | None = None
) -> Oracle:
    """Check that there are at most `count` requests of these kinds in that time."""
    what = " and ".join(kinds) or "all kinds"
    promise = f"at most {count} requests ({what})"

    def oracle(history: History) -> list[Finding]:
        seen = history.find(since=since, until=until, where=lambda e: _is_one(e, kinds, path))
        return too_many(promise, count, seen, _listed(seen, kinds))

    return oracle


def requests_a_call_at_most(
    count: int,
    *kinds: str,
    since: float,
    until: float | None = None,
    path: str | None = None,
) -> Oracle:
    """Check that each read takes at most `count` requests of these kinds, for a single caller.

    Periodic requests may be added.
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
        if not calls:
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
    return (not kinds or exchange.kind in kinds) and (path is None or exchange.path.endswith(path))


def _at_its_own_pace(
    history: History,
    kinds: tuple[str, ...],
    path: str | None = None,
    *,
    took: float,
    until: float | None = None,
) -> int:
    """Return how many periodic requests a client may send in `took` seconds.

    It sends them if one came while no call was under way.
    """
    calls = history.calls()
    asked = history.find(until=until, where=lambda e: _is_one(e, kinds, path))
    if all(any(_during(each, one) for each in calls) for one in asked):
        return 0
    return IN_A_CALL + int(OF_ITS_OWN * took)


def _listed(seen: list[Exchange], kinds: tuple[str, ...]) -> str:
    return (
        f"{counted(len(seen), f'{kinds[0]} request')} ({times(seen)})"
        if len(kinds) == 1
        else f"{counted(len(seen), 'request')}: {requests(seen)}"
    )


def pauses_between_tries(*, since: float, until: float) -> Oracle:
    """Check that the tries of a read within one call have pauses.

    The first repetition may come at once; later ones need `PAUSE` each on average. Periodic
    requests are not tries.
    """
    promise = f"tries within a call come {PAUSE:g} s apart, the second one excepted"

    def oracle(history: History) -> list[Finding]:
        for call in history.calls("read", "read_cached", since=since, until=until):
            tries = history.find("read", since=call.began, until=call.ended)
            if len(tries) < 3:
                continue
            # The time of a request is known only to a few milliseconds.
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
    kind: Literal["read", "write", "metadata", "login", "renew", "credential"] = "read",
    may_be_empty: bool = False,
) -> Oracle:
    """Check that a client waits as long as a 429 or 503 with ``Retry-After`` says.

    Requests on their way do not count, nor does the first request of a new call after the refused
    call has failed: the caller decided to call again.
    """
    each = {"read": "", "metadata": " by each look at a version"}
    promise = f"Retry-After is obeyed{each.get(kind, f' by each {kind}')}"

    def oracle(history: History) -> list[Finding]:
        asked = history.find(kind, since=since, until=until)
        told = [e for e in asked if e.status in (429, 503) and e.retry_after and e.ended]
        if not told and not may_be_empty:
            return lacking(promise, "429 with a time to wait", since, until)
        found = []
        for refusal in told:
            began, wait = refusal.ended or 0.0, refusal.retry_after or 0.0
            # The client may get an answer a moment before its end is noted.
            end = began + wait - SLACK
            hasty = [
                e
                for e in asked
                if began < e.came
                and e.began < end
                and (kind != "credential" or e.path == refusal.path)
                and not _on_its_way(history, e, refusal)
                and not _of_a_new_call(history, e, refusal)
            ]
            if hasty:
                text = f"asked again after {hasty[0].began - began:.2f} s, told to wait {wait:g} s;"
                text += f" {counted(len(hasty), kind)} within that time ({times(hasty)})"
                found.append(Finding(promise, text, hasty[0].began, rests_on=()))
        return found[:1]

    return oracle


def _on_its_way(history: History, request: Exchange, refusal: Exchange) -> bool:
    """Return whether a request may have been sent before the client had the refusal.

    A request over another open connection, or over HTTP/2, may. Otherwise the client had time to
    know, except in a call that had just begun. If there are more unanswered requests than calls,
    one call has asked twice and knew the answer.
    """
    ended = refusal.ended or refusal.began
    if request.came > ended + SLACK:
        return False
    if request.connection == refusal.connection:
        shaken = [one for one in history.handshakes if one.connection == request.connection]
        if any(one.protocol == "h2" for one in shaken):
            return True
    elif any(at < ended for at in history.connections[request.connection - 1 : request.connection]):
        return True
    calls = [
        o for o in history.operations if o.began < ended + SLACK and (o.ended or ended) >= ended
    ]
    if len(calls) < 2 or not any(o.began > ended - SLACK for o in calls):
        return False
    since = min(o.began for o in calls)
    sent = history.find(
        request.kind,
        since=since,
        where=lambda e: e.came <= request.came and (e.ended or inf) > refusal.began - SLACK,
    )
    asked = [o for o in history.operations if since <= o.began <= request.came]
    return len(sent) <= len(asked)


def _of_a_new_call(history: History, request: Exchange, refusal: Exchange) -> bool:
    told, calls = refusal.ended or refusal.began, history.calls(until=request.came)
    failed = [o.ended for o in calls if o.failed and o.began <= told and (o.ended or 0.0) >= told]
    new = [o for o in calls if failed and o.began >= min(end or inf for end in failed)]
    if not any(_during(call, request) for call in new):
        return False
    since = min(call.began for call in new)
    sent = history.find(request.kind, since=since, until=request.came)
    return len(sent) <= sum((call.ended or inf) >= since for call in calls)


def a_denial_costs_little(
    *,
    since: float,
    until: float | None = None,
    path: str | tuple[str, ...] = (),
    logins: int = LOGINS_FOR_DENIALS,
    may_be_empty: bool = False,
    kind: Literal["read", "credential"] = "read",
) -> Oracle:
    """Check that each denied read (403) costs a lookup and a repetition, and all cost one login.

    A lookup is allowed because the cause may be the token or the policy, a login because the role
    may have a new policy. Reads of metadata may be repeated too. Periodic requests may add
    `OF_ITS_OWN` a second and `IN_A_CALL`. Lookups and logins that a client makes for each call do
    not count.
    """
    thing, verbs = _DENIED[kind]
    paths = _several(path)
    promise = f"a denial costs one look at the token, one repetition of the {thing}, and one login"

    def oracle(history: History) -> list[Finding]:
        asked = history.find(since=since, until=until, where=lambda e: _asks_for(e, paths, kind))
        reads = [e for e in asked if e.kind == kind]
        metadata = [e for e in asked if e.kind == "metadata"]
        denied = [e for e in asked if e.status == 403]
        mounts = history.find(
            since=since, until=until, where=lambda e: e.status == 403 and MOUNTS in e.path
        )
        calls = history.calls(
            *verbs, since=since, until=until, where=lambda o: not paths or o.path in paths
        )
        looks = history.find(*LOOKS, since=since, until=until)
        seconds = (history.now() if until is None else until) - since

        def at_its_pace(seen: list[Exchange]) -> int:
            own = sum(not any(_during(call, one) for call in calls) for one in seen)
            return min(own, int(OF_ITS_OWN * seconds)) + IN_A_CALL

        of_calls = READS_FOR_A_DENIED_CALL * len(calls)
        tried = without_logins_in_turn(history, history.find("login", since=since, until=until))
        profile = {
            *(["logins"] if logs_in_for_each_call(history) else []),
            *(["looks at the token"] if looks_before_each_read(history) else []),
        }
        findings = []
        for word, seen, most in (
            (
                "looks at the token",
                looks,
                LOOKS_FOR_A_DENIAL * len([*denied, *mounts]) + at_its_pace(looks),
            ),
            (f"{thing}s", reads if paths else [], of_calls + at_its_pace(reads)),
            ("metadata reads", metadata if paths else [], of_calls + at_its_pace(metadata)),
            ("logins", tried, logins),
        ):
            if len(seen) > most and word not in profile:
                text = f"{len(seen)} {word} for {counted(len(denied), f'denied {thing}')} of "
                text += f"{counted(len(calls), 'call')}, {most} are allowed ({times(seen)})"
                findings.append(Finding(promise, text, seen[most].began, rests_on=()))
        if not denied and not may_be_empty:
            findings.extend(lacking(promise, f"denied {thing}", since, until))
        return findings

    return oracle


def _several(path: str | tuple[str, ...]) -> tuple[str, ...]:
    return (path,) if isinstance(path, str) else path


def _asks_for(request: Exchange, paths: tuple[str, ...], kind: RequestKind = "read") -> bool:
    if paths and not f"/{request.path}".endswith(tuple(f"/{path}" for path in paths)):
        return False
    return request.kind == kind or (request.kind == "metadata" and request.status == 403)


def _for_a_denial(request: Exchange, paths: tuple[str, ...]) -> bool:
    return request.kind in (*LOOKS, "login") or _asks_for(request, paths)


def _during(call: Operation, request: Exchange) -> bool:
    return call.began <= request.began and (call.ended is None or request.began <= call.ended)


def names_its_namespace(namespace: str) -> Oracle:
    """Check that each request names the namespace, in a header or at the start of its path.

    The closing act asks again, because the client's last request revokes its token.
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
