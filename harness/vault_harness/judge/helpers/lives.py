"""Follow the life of a token."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from math import inf

import psutil

from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import came_through, last_grant, never_renews, reads_go_on
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Exchange, Operation

GIVEN_UP = 0.9
"""The part of a life after which a client may give up a token that it cannot renew."""


def given_up(lab: Lab, fault: Fault) -> float:
    return last_grant(lab.history, until=fault.began) + GIVEN_UP * lab.ttl


ALL_BUT_THE_END = 0.95
"""Part of a life after which a caller may wait for another token or credential."""

LOGS_IN_TOO = 1.0
"""Seconds after a recovery in which a second login is seen."""

NEXT_CALL = 1.0
"""Seconds in which a failed call ends and the next one is served."""


def recovery_of_calls(lab: Lab, fault: Fault) -> float:
    """Return the seconds after a fault in which a good read must come.

    A call that nobody answers waits for its whole deadline, even when Vault is back.
    """
    return max(lab.recovery_after(fault), lab.deadline + NEXT_CALL)


def accessor_in_use(lab: Lab, *, at: float) -> str:
    """Return the accessor of the token in use for reads at a moment when nothing is lost.

    The last good read shows it, or a later login that was answered before `at`. The answer to the
    very last login may have been lost.
    """
    reads = lab.history.find("read", until=at, where=came_through)
    if not reads:
        return lab.tokens.accessor()
    newer = [
        login.accessor
        for login in lab.history.logins(since=reads[-1].began)
        if login.accessor and (login.ended or at) < at
    ]
    return newer[-1] if newer else lab.recorder.accessor(reads[-1].token) or lab.tokens.accessor()


def replaced_unmet(lab: Lab, lost: Fault) -> None:
    """Count a token's loss as met if a due login came before any refusal.

    A client that never renews and answers from memory may not notice the loss.
    """
    logins = lab.history.logins(since=lost.began)
    if logins and never_renews(lab.history) and not lab.touched(lost):
        lost.optional = True
        lab.require(f"a login after this: {lost.name}", lambda _: f"at +{logins[0].began:.2f} s")


def lost_until_met(
    lab: Lab,
    losses: ExitStack,
    lost: Fault,
    *,
    before_another: Callable[[], object] = lambda: None,
) -> float:
    """Wait until a client is refused for a lost token; before that, revoke each new token.

    A client that never renews and answers from memory may replace a lost token before it notices
    the loss. Callers must continue to read.

    Args:
        losses: Holds the faults that revoke further tokens.

    Returns:
        When a request was refused; now, if none was.
    """
    end = lost.began + max(lab.ttl, lab.reach)
    gone = {str(lost.signature.token)}
    lost.optional = True
    while True:
        lab.until(
            partial(_met_or_replaced, lab, gone, lost.began),
            within=max(0.0, end - lab.history.now()),
        )
        met, other = _met(lab, gone, lost.began), _other_than(lab, gone)
        if met is not None or other is None or lab.history.now() >= end:
            break
        before_another()
        lost = losses.enter_context(lab.vault.token_revoked(str(other.accessor)))
        lost.optional = True
        gone.add(str(other.accessor))
    lost.optional = met is not None  # if it was not met, the findings rest on it
    lab.require(
        "a request that was refused for a lost token, before that was replaced in its turn",
        lambda _: f"a {met.kind} at +{met.began:.2f} s" if met is not None else "",
    )
    return lab.history.now() if met is None else max(met.began, lost.began)


def _met_or_replaced(lab: Lab, gone: set[str], since: float) -> bool:
    return _met(lab, gone, since) is not None or _other_than(lab, gone) is not None


def _met(lab: Lab, gone: set[str], since: float) -> Exchange | None:
    """Return the first request refused for a lost token, if the client had no other token.

    A refused revocation does not count: it tells a client with another token nothing.
    """
    other = _other_than(lab, gone)
    refused = lab.history.find(
        until=other.began if other is not None else None,
        where=lambda e: (
            e.status == 403
            and (e.ended or 0.0) >= since
            and e.kind != "revoke"
            and lab.recorder.accessor(e.token) in gone
        ),
    )
    return refused[0] if refused else None


def _other_than(lab: Lab, gone: set[str]) -> Exchange | None:
    """Return the first login with another token after all logins with lost ones."""
    logins = [login for login in lab.history.logins() if login.accessor]
    number = max((n for n, login in enumerate(logins) if login.accessor in gone), default=-1)
    return next(iter(logins[number + 1 :]), None)


ASKED_FROM, TRIED_BY = 0.7, 0.92
"""Parts of a life: when callers begin to read, and the end of the wait."""


def renewal_comes(lab: Lab, fault: Fault, callers: ExitStack, came: Callable[[], bool]) -> bool:
    """Wait for the renewal that a fault shall meet; return whether it came in time.

    Some clients renew only within a call. So a caller reads once clients with a timer have renewed,
    until `callers` is closed.
    """
    granted = last_grant(lab.history, until=fault.began)
    if lab.until(came, within=granted + ASKED_FROM * lab.ttl - lab.history.now()):
        return True
    callers.enter_context(lab.reading(every=0.5))
    return lab.until(came, within=granted + TRIED_BY * lab.ttl - lab.history.now())


def sleeps(lab: Lab, seconds: float) -> Fault:
    """Stop the subject's process for that many seconds, in which its token must end."""
    client, accessor = lab.client, lab.tokens.accessor()
    pid = client.subject.pid
    assert pid is not None
    with lab.process.client_paused(pid) as fault:
        lab.watch(seconds)
        still = _stands_still(pid)
        ended = not lab.tokens.lives(accessor)
    lab.require(
        "a process that stands still to the end of its sleep",
        lambda _: f"for {fault.length:.1f} s" if still else "",
    )
    lab.require(
        "a token that ended in that sleep", lambda _: f"after {fault.length:.1f} s" if ended else ""
    )
    return fault


def _stands_still(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


NO_OTHER_TOKEN = 0.8
"""The part of a life in which a token must serve: some clients drop it in the last fifth."""


def served_until_its_token_ends(lab: Lab, *, since: float, ends: float) -> None:
    """Check that reads are served while logins are refused and the token lives.

    A read may fail if a login is refused during the call, since some clients log in within a call.
    But a client that has dropped its token has no good read in between.
    """
    until = ends - (1 - NO_OTHER_TOKEN) * lab.ttl
    refused = lab.history.find("login", since=since, where=lambda e: e.status == 400)
    calls = lab.history.calls("read", since=since, until=until)
    failed = [
        call
        for call in calls
        if call.failed and not any(at_the_same_time(call, login) for login in refused)
    ]
    if failed:
        first = failed[0]
        promise = "no read fails for want of another token while its token lives"
        text = f"{len(failed)} of {len(calls)} did, the first is {first.told}"
        lab.note(Finding(promise, text, first.began, until=first.ended))
    # This allows two calls that wait for their whole deadline, and a little more.
    lab.judge_later(
        reads_go_on(2 * lab.deadline + 1.0, since=since, until=until, path=lab.entry.path)
    )


def at_the_same_time(call: Operation, login: Exchange) -> bool:
    return login.began <= (call.ended or inf) and call.began <= (login.ended or inf)


def let_go(history: History, *, since: float, until: float, but: str = "") -> dict[str, float]:
    """Return texts for tokens that ended without renewal or replacement, and the moments.

    `but` is the accessor of a token that may end.
    """
    given = history.find(
        "login", "renew", where=lambda e: e.good and e.ended is not None and e.accessor != but
    )
    last = {each.accessor: each for each in given if each.began < since}
    renewed = {each.accessor for each in given if each.kind == "renew" and each.began >= since}
    logins = [each for each in given if each.kind == "login"]
    found = {}
    for grant in sorted(last.values(), key=lambda each: each.began):
        ends = (grant.ended or grant.began) + (grant.ttl or inf)
        if grant.accessor in renewed or ends > until:
            continue
        # A login does not show its client, so each may replace one token.
        instead = next((e for e in logins if e.began > grant.began and e.came <= ends), None)
        if instead is None:
            found[f"a token renewed at +{grant.began:.2f} s ended at +{ends:.2f} s"] = ends
        else:
            logins.remove(instead)
    return found
