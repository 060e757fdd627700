"""Judge logins: how many, how soon, with which secret-id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from vault_harness.judge.oracles.base import HANDOVER, Oracle, ToTheEnd, counted, times, too_many
from vault_harness.judge.oracles.profile import (
    came_through,
    in_turn,
    logs_in_for_each_call,
    without_logins_in_turn,
)
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import SLACK, History
from vault_harness.recorder.observations import Exchange

LOCKOUT_WINDOW = 15 * 60.0
"""Seconds after which Vault forgets failed logins, by its default."""

STOPPED = 1.5
"""A client that is quiet for this many times its last pause has stopped."""

IN_A_BURST = 1.5
"""Seconds. Refused logins that are closer together are one burst."""


def logins_at_most(count: int, *, since: float = 0.0, until: float | None = None) -> Oracle:
    """Check that a client gets at most `count` tokens by logins that were not due."""
    promise = f"at most {counted(count, 'login')}"

    def oracle(history: History) -> list[Finding]:
        if logs_in_for_each_call(history):
            return []
        replacing = in_turn(history)
        seen = [
            e
            for e in history.logins(since=since, until=until)
            if came_through(e) and e.number not in replacing
        ]
        return too_many(promise, count, seen, _listed(seen))

    return oracle


def _listed(logins: Sequence[Exchange]) -> str:
    return f"{counted(len(logins), 'login')} ({times(logins)})"


def given_up(login: Exchange) -> bool:
    return login.status is None and login.closed == "client"


def logs_in_again(*, since: float, within: float) -> Oracle:
    """Check that Vault accepts a login in that time."""
    promise = f"a new login within {within:.3g} s"

    def oracle(history: History) -> list[Finding]:
        end = since + within
        accepted = history.logins(since=since)
        if accepted and accepted[0].came <= end + SLACK:
            return []
        tries = history.find("login", since=since)
        seen = "there was none"
        if tries:
            were = "was" if len(tries) == 1 else "were"
            seen = f"{len(tries)} {were} tried ({times(tries)}), none was accepted in time"
        missed = accepted[0].came - end if accepted else None
        return [Finding(promise, seen, since, missed=missed, until=end)]

    return oracle


def bad_logins_at_most(
    count: int,
    *,
    since: float = 0.0,
    until: float | None = None,
    watched: float | None = None,
) -> Oracle:
    """Check that at most `count` logins with one secret-id are refused; five lock the role.

    Args:
        watched: Until when the client was watched without a change. Then its pace counts too, for
            the 15 minutes after which Vault forgets.
    """
    promise = f"at most {count} refused logins with the same secret-id"
    promise += " in 15 minutes" if watched is not None else ""

    def oracle(history: History) -> list[Finding]:
        refused = history.find(
            "login", since=since, until=until, where=lambda e: e.status in (400, 403)
        )
        findings = []
        for label, same in _by_secret_id(refused).items():
            if len(same) > count:
                text = f"{len(same)} with {label} ({times(same)})"
                findings.append(Finding(promise, text, same[count].began))
            elif watched is not None and (coming := _coming(same, watched)) > count:
                pause = last_pause([e.began for e in same if e.began <= watched]) or 0.0
                text = f"{len(same)} with {label} ({times(same)}), and the last pause of "
                text += f"{pause:.1f} s leads to {coming} in 15 minutes"
                findings.append(Finding(promise, text, same[-1].began))
        return findings

    return oracle


def _coming(refused: list[Exchange], watched: float) -> int:
    """Return the number of tries in 15 minutes if no pause gets longer than the last one."""
    tried = [e.began for e in refused if e.began <= watched]
    pause = last_pause(tried)
    if pause is None or watched - tried[-1] >= STOPPED * pause:
        return len(tried)
    left = LOCKOUT_WINDOW - (tried[-1] - tried[0])
    return len(tried) + int(left / pause)


def last_pause(tried: Sequence[float]) -> float | None:
    """Return the last pause between two bursts of tries."""
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    return next((pause for pause in reversed(pauses) if pause >= IN_A_BURST), None)


def logins_with_one_secret_id_at_most(count: int) -> Oracle:
    """Check that no secret-id is used for more than `count` logins, accepted or not."""
    promise = f"at most {counted(count, 'login')} with the same secret-id"

    def oracle(history: History) -> list[Finding]:
        return [
            found
            for label, same in _by_secret_id(history.find("login")).items()
            for found in too_many(promise, count, same, f"{len(same)} with {label} ({times(same)})")
        ]

    return oracle


def _by_secret_id(logins: Sequence[Exchange]) -> dict[str, list[Exchange]]:
    found: defaultdict[str, list[Exchange]] = defaultdict(list)
    for login in logins:
        found[login.secret_id or "no secret-id"].append(login)
    return dict(sorted(found.items()))


def same_token(*, since: float, until: float | None = None, opened: float | None = None) -> Oracle:
    """Check that the client does not log in.

    A client that never renews may log in when its token ends.

    Args:
        opened: When a sealed Vault or namespace was open again. The first login after a denial
            around that time is excused.
    """
    promise = "the token survives: no login"

    def oracle(history: History) -> list[Finding]:
        if logs_in_for_each_call(history):
            return []
        seen = without_logins_in_turn(history, history.find("login", since=since, until=until))
        if opened is not None:
            seen = _but_after_a_denial(history, seen, since, opened + HANDOVER)
        return too_many(promise, 0, seen, _listed(seen))

    return ToTheEnd(oracle)


def _but_after_a_denial(
    history: History, logins: list[Exchange], since: float, until: float
) -> list[Exchange]:
    """Leave out the first login after a denial."""
    denials = [
        e.began
        for e in history.find(since=since, until=until, where=lambda e: e.status == 403)
        if e.kind != "login"
    ]
    if not denials:
        return logins
    asked = next((login for login in logins if login.began > denials[0]), None)
    return [login for login in logins if login is not asked]
