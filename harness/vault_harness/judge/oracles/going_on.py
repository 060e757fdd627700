"""Oracles on callers that must be served continuously."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Literal

from vault_harness.judge.oracles.base import Oracle, counted, lacking, times
from vault_harness.judge.oracles.callers import READS
from vault_harness.judge.oracles.credentials import renews_a_lease
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import SLACK, History
from vault_harness.recorder.observations import Exchange, Operation


def reads_go_on(bound: float, *, since: float, until: float, path: str) -> Oracle:
    """Check that there are at most `bound` seconds from one good read of a secret to the next.

    `since` and `until` count as good reads. No reads at all is a finding.
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
    """Check that each read of some secrets that begins in that time is served in `bound` seconds.

    Args:
        of: The secrets, or paths, with which nothing is wrong.
        what: With "credential" the question is about calls for a credential.
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
        until: Later renewals and reads are not judged: a caller may need another token then.
        of: What is renewed. With "lease" the question is about calls for its credential, with
            "login" about a login in place of a renewal.
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
    """Return the seconds of a call in which a renewal was under way too."""
    now = history.now()
    ended = now if call.ended is None else call.ended
    shared = (
        min(ended, now if e.ended is None else e.ended) - max(call.began, e.began) for e in renewals
    )
    return sum(max(one, 0.0) for one in shared)
