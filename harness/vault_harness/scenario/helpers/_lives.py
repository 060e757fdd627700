"""A token's life: when it may be given up, what it is renewed by, a sleep that outlasts it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from math import inf

import psutil

from vault_harness.faults import Fault
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.observations import Exchange, Operation
from vault_harness.scenario.oracles import came_through, last_grant, never_renews, reads_go_on
from vault_harness.scenario.verdict import Finding

GIVEN_UP = 0.9
"""Of a life: from here on a token may be given up that could not be renewed."""


def given_up(lab: Lab, fault: Fault) -> float:
    """When a token may be given up that could not be renewed since that fault began.

    A fault that is as long as calls take lasts until then for who declares a long deadline.
    """
    return last_grant(lab.history, until=fault.began) + GIVEN_UP * lab.ttl


NEXT_CALL = 1.0
"""Seconds beyond a deadline in which a call has ended in vain, and the next one is served."""


def recovery_of_calls(lab: Lab, fault: Fault) -> float:
    """Seconds after a fault in which a good read must come, where a call may still be waiting.

    Where nobody ever answers a call waits for its whole deadline, whether Vault is back or not.
    """
    return max(lab.recovery_after(fault), lab.deadline + NEXT_CALL)


def accessor_in_use(lab: Lab, *, at: float) -> str:
    """The accessor of the token that reads are sent with at a moment in which nothing is lost.

    The last good read tells it, and not the last login, whose answer may have been lost before. A
    login that was answered after that read, and by then, has replaced it: the next read has its
    token, and the one before would be sent no more.

    Args:
        lab: The scenario.
        at: When; what was answered later has not reached the client, for its answer is held up.

    Raises:
        NotExercised: It never logged in.
    """
    reads = lab.history.find("read", until=at, where=came_through)
    if not reads:
        return lab.accessor()
    newer = [
        login.accessor
        for login in lab.history.logins(since=reads[-1].began)
        if login.accessor and (login.ended or at) < at
    ]
    return newer[-1] if newer else lab.recorder.accessor(reads[-1].token) or lab.accessor()


def replaced_unmet(lab: Lab, lost: Fault) -> None:
    """Take the loss of a token for met where a login in its turn came before anything was refused.

    Who never renews, and answers from memory, may not hear of it: that login is what a loss is to
    bring about, and all that is asked of what follows it is asked as well.

    Args:
        lab: The scenario.
        lost: What the token was lost by; it has been waited for.
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
    """Wait until a client is refused for a lost token; each that comes before that is lost as well.

    Who never renews, and answers from memory, may replace a lost token in its turn before it hears
    of that: what a refusal leads to would not be asked of it. Each token is lost as soon as it is
    there, so whatever it asks for next is refused. That something was is a required condition.

    Args:
        lab: The scenario; callers must go on reading.
        losses: Holds what further tokens are lost by.
        lost: What the first one was lost by. Whether it was that one is left open.
        before_another: Called before each further one is lost.

    Returns:
        When it was refused; now, if it never was.
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
    lost.optional = met is not None  # else what is found rests on it
    lab.require(
        "a request that was refused for a lost token, before that was replaced in its turn",
        lambda _: f"a {met.kind} at +{met.began:.2f} s" if met is not None else "",
    )
    return lab.history.now() if met is None else max(met.began, lost.began)


def _met_or_replaced(lab: Lab, gone: set[str], since: float) -> bool:
    return _met(lab, gone, since) is not None or _other_than(lab, gone) is not None


def _met(lab: Lab, gone: set[str], since: float) -> Exchange | None:
    """The first request refused since then for a lost token, if no other one was there.

    It may have been on its way when that was lost. That who has another one cannot give the lost
    one back tells it nothing that it needs.
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
    """The first login that gave a token which is not lost, after all that gave one that is."""
    logins = [login for login in lab.history.logins() if login.accessor]
    number = max((n for n, login in enumerate(logins) if login.accessor in gone), default=-1)
    return next(iter(logins[number + 1 :]), None)


ASKED_FROM, TRIED_BY = 0.7, 0.92
"""Of a life: when callers come to who has not renewed yet, and how long a renewal is waited for."""


def renewal_comes(lab: Lab, fault: Fault, callers: ExitStack, came: Callable[[], bool]) -> bool:
    """Wait for the renewal that a fault is to meet; whether it came before the end was near.

    Whoever renews in the call of who comes when it is time needs one, and another to try again: so
    somebody reads, from a time on at which most have renewed by a timer of their own.

    Args:
        lab: The scenario; nobody reads in it.
        fault: What the renewal is to meet; it lasts.
        callers: The reads last until this is closed.
        came: Whether it has met one.
    """
    granted = last_grant(lab.history, until=fault.began)
    if lab.until(came, within=granted + ASKED_FROM * lab.ttl - lab.history.now()):
        return True
    callers.enter_context(lab.reading(every=0.5))
    return lab.until(came, within=granted + TRIED_BY * lab.ttl - lab.history.now())


def sleeps(lab: Lab, seconds: float) -> Fault:
    """The subject's process stands still for so long, and its token ends meanwhile.

    Both are looked at, and required: a process that somebody else woke, or a token that lived
    longer than it was made for, would show nothing of a sleep.
    """
    client, accessor = lab.client, lab.accessor()
    pid = client.subject.pid
    assert pid is not None
    with lab.process.client_paused(pid) as fault:
        lab.watch(seconds)
        still = _stands_still(pid)
        ended = not lab.token_lives(accessor)
    lab.require(
        "a process that stands still to the end of its sleep",
        lambda _: f"for {fault.length:.1f} s" if still else "",
    )
    lab.require(
        "a token that ended in that sleep", lambda _: f"after {fault.length:.1f} s" if ended else ""
    )
    return fault


def _stands_still(pid: int) -> bool:
    """Whether a process is there, and stopped."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


NO_OTHER_TOKEN = 0.8
"""Of a life: some clients are done with a token in the fifth that is left from here on."""


def served_while_its_token_lives(lab: Lab, *, since: float, ends: float) -> None:
    """Find fault with a read that fails while no other token is to be had.

    Unless a login was refused in the time of that call: some log in in the call of whoever comes
    when it is time, and some let others wait for that. The next have the token that lives: who has
    thrown it away, and tries one login in each call, has no good read between them.

    Args:
        lab: The scenario.
        since: From when on logins are refused.
        ends: When the token ends; it has to serve up to `NO_OTHER_TOKEN` of its life.
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
    # Two calls that wait for their whole time, and a moment more.
    lab.judge_later(
        reads_go_on(2 * lab.deadline + 1.0, since=since, until=until, path=lab.entry.path)
    )


def at_the_same_time(call: Operation, login: Exchange) -> bool:
    """Whether a call was under way while a login was."""
    return login.began <= (call.ended or inf) and call.began <= (login.ended or inf)
