"""Oracles on logins: how many, how soon, and with which secret-id.

A bound on a count holds where nothing was counted: that is what it asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from vault_harness.scenario.history import History
from vault_harness.scenario.observations import Exchange
from vault_harness.scenario.oracles._base import HANDOVER, Oracle, ToTheEnd, counted, times
from vault_harness.scenario.oracles._callers import OUT_OF_TIME, TIMED
from vault_harness.scenario.oracles._lives import but_in_their_turn, in_turn
from vault_harness.scenario.verdict import Finding

LOCKOUT_WINDOW = 15 * 60.0
"""Seconds after which Vault forgets failed logins, by its default."""

STOPPED = 1.5
"""A client that has not tried again for that many times its last pause has stopped trying."""

IN_FULL = 0.9
"""Of a deadline: a call that ends so late has had its time, by whatever clock its client goes."""

IN_A_BURST = 1.5
"""Seconds: refused logins that are closer to each other are one burst, of a call or of a loop of
tries. What pauses there are within one says nothing of how long it rests until the next.
"""


def logins_at_most(
    count: int,
    *,
    since: float = 0.0,
    until: float | None = None,
    accepted: bool = False,
    due: float | None = None,
    holders: int = 1,
    whoever: bool = False,
    few: int = 0,
    in_vain: float = 0.0,
) -> Oracle:
    """At most so many logins reach Vault in that time.

    One whose answer the client did not wait for was too late for its caller, by Vault's delay or by
    the machine's: an excess of no more than those counts if it is found again.

    Args:
        count: How many may.
        since: When it begins.
        until: When it ends.
        accepted: Whether only those count that Vault accepted.
        due: From which part of a life on a login is no excess of a client that never renews: it
            logs in anew instead. Then none counts that Vault accepted so late in the life before
            it, and before the end of one from before `since`.
        holders: How many instances have a token of their own: a login is then in the place of the
            oldest of so many.
        whoever: Whether that holds for a client that renews as well, as no renewal is granted in
            full here. Else all logins of one that has tried a renewal count.
        few: So many in all are fine, whenever they come.
        in_vain: What a call may take, seconds. One login more is fine, of whose call that time was
            up before the answer was of use: the next call needs another one. Whose login it was is
            known where no other call was served then. Else, and where the call ended sooner, as of
            who has a time of its own for it, an excess of no more than that one counts if it is
            found again.
    """
    promise = f"at most {counted(count, 'login')}"
    promise += "" if due is None else f" before {due:g} of a token's life"
    promise += f", or {few} in all" if few else ""

    def oracle(history: History) -> list[Finding]:
        seen = (
            history.logins(since=since, until=until)
            if accepted
            else history.find("login", since=since, until=until)
        )
        if len(seen) <= few:
            return []
        one_more = seen[few].began if few else 0.0  # by which there are more than a few
        if due is not None and (whoever or not history.find("renew")):
            replacing = in_turn(history, due, since=since, holders=holders)
            seen = [e for e in seen if e.number not in replacing]
        many = len(seen) > count
        lost = _lost_with_its_call(history, seen, in_vain) if in_vain and many else {}
        alone = {number for number, sure in lost.items() if sure}
        seen = [e for e in seen if e.number not in alone]
        if len(seen) <= count:
            return []
        text = f"{counted(len(seen), 'login')} ({times(seen)})"
        late = {*lost, *(e.number for e in seen if given_up(e))} - alone
        too_late = len(seen) - count <= len(late)
        at = max(seen[count].began, one_more)
        return [Finding(promise, text, at, rests_on=(), repeated=too_late)]

    return oracle


def given_up(login: Exchange) -> bool:
    """Whether the client left before its answer came."""
    return login.status is None and login.closed == "client"


def _lost_with_its_call(
    history: History, logins: Sequence[Exchange], deadline: float
) -> dict[int, bool]:
    """The number of one that was under way when a call ended that had waited in vain, if any was.

    Nothing is ever asked with what Vault gave for it. With it goes whether it is sure that it was
    that call's, which had its whole time; of several it is one that is, if there is one.
    """
    calls = [
        call
        for call in history.calls(*TIMED, where=lambda o: o.failed and o.ended is not None)
        if (call.ended or 0.0) - call.began >= OUT_OF_TIME
    ]
    found = {}
    for login in logins:
        answered = (login.ended or login.began) + HANDOVER
        beside = [c for c in calls if c.began <= login.came <= (c.ended or 0.0) <= answered]
        if beside and (given_up(login) or (login.good and not _used(history, login))):
            waited = max((call.ended or 0.0) - call.began for call in beside)
            found[login.number] = waited >= IN_FULL * deadline and not _served_beside(
                history, login
            )
    return dict(sorted(found.items(), key=lambda one: not one[1])[:1])


def _used(history: History, login: Exchange) -> bool:
    """Whether anything was asked with the token that a login gave; to give it back is no use."""
    return bool(
        history.find(
            since=login.began,
            where=lambda e: e.token == login.token and e.kind not in ("login", "revoke"),
        )
    )


def _served_beside(history: History, login: Exchange) -> bool:
    """Whether a call was under way while a login was, and ended well."""
    return bool(
        history.calls(
            *TIMED,
            until=login.ended,
            where=lambda o: o.good and (o.ended or 0.0) >= login.came,
        )
    )


def logins_given_up(history: History, *, since: float) -> int:
    """How many logins the client itself broke off: Vault may have made a token for each."""
    return sum(map(given_up, history.find("login", since=since)))


def logs_in_again(*, since: float, within: float) -> Oracle:
    """Vault accepts a login in that time."""
    promise = f"a new login within {within:.3g} s"

    def oracle(history: History) -> list[Finding]:
        end = since + within
        accepted = history.logins(since=since)
        if accepted and accepted[0].came <= end + history.slack(since, end):
            return []
        tries = history.find("login", since=since)
        seen = "there was none"
        if tries:
            were = "was" if len(tries) == 1 else "were"
            seen = f"{len(tries)} {were} tried ({times(tries)}), none was accepted in time"
        missed = accepted[0].came - end if accepted else None
        return [Finding(promise, seen, since, missed=missed, until=end, lacks=missed is None)]

    return oracle


def bad_logins_at_most(
    count: int,
    *,
    secret_id: str | None = None,
    since: float = 0.0,
    until: float | None = None,
    watched: float | None = None,
) -> Oracle:
    """At most so many refused logins with the same secret-id (five lock the role for everybody).

    Args:
        count: How many may be.
        secret_id: Of this one only, by its label.
        since: When it begins.
        until: When it ends.
        watched: Until when the client was watched while nothing changed. Then its pace counts too:
            one that had not stopped trying by then goes on as it did, for the 15 minutes after
            which Vault forgets. It has stopped if it was quiet for 1.5 times its last pause, which
            is that before its last burst of tries.
    """
    promise = f"at most {count} refused logins with the same secret-id"
    promise += " in 15 minutes" if watched is not None else ""

    def oracle(history: History) -> list[Finding]:
        refused = history.find(
            "login", since=since, until=until, where=lambda e: e.status in (400, 403)
        )
        findings = []
        for label in sorted({e.secret_id or "no secret-id" for e in refused}):
            same = [e for e in refused if (e.secret_id or "no secret-id") == label]
            if secret_id not in (None, label):
                continue
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
    """How many tries there will be in 15 minutes, if no pause is longer than the last one."""
    tried = [e.began for e in refused if e.began <= watched]
    pause = last_pause(tried)
    if pause is None or watched - tried[-1] >= STOPPED * pause:
        return len(tried)
    left = LOCKOUT_WINDOW - (tried[-1] - tried[0])
    return len(tried) + int(left / pause)


def last_pause(tried: Sequence[float]) -> float | None:
    """The pause before the last burst of tries, or the last try; None if there was but one.

    Args:
        tried: When each of them began.
    """
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    return next((pause for pause in reversed(pauses) if pause >= IN_A_BURST), None)


def logins_with_one_secret_id_at_most(count: int) -> Oracle:
    """No secret-id is presented more often than that, accepted or not."""
    promise = f"at most {counted(count, 'login')} with the same secret-id"

    def oracle(history: History) -> list[Finding]:
        findings = []
        logins = history.find("login")
        for label in sorted({e.secret_id or "no secret-id" for e in logins}):
            same = [e for e in logins if (e.secret_id or "no secret-id") == label]
            if len(same) > count:
                seen = f"{len(same)} with {label} ({times(same)})"
                findings.append(Finding(promise, seen, same[count].began, rests_on=()))
        return findings

    return oracle


def same_token(*, since: float, until: float | None = None, opened: float | None = None) -> Oracle:
    """The token stays in use: no login is tried in that time.

    Of whoever has tried no renewal a login in its turn does not count: lives outlast the scenarios
    that ask for this, unless a client declares long times. It is asked to the end: a login that
    nobody needs may come from a thread that woke late.

    Args:
        since: When it begins.
        until: When it ends.
        opened: When something that was sealed was open again, if it denies what it allows for a
            moment before: the first login after such a denial is Vault's doing.
    """
    promise = "the token survives: no login"

    def oracle(history: History) -> list[Finding]:
        seen = but_in_their_turn(history, history.find("login", since=since, until=until))
        if opened is not None:
            seen = _but_after_a_denial(history, seen, since, opened + HANDOVER)
        if not seen:
            return []
        text = f"{counted(len(seen), 'login')} ({times(seen)})"
        return [Finding(promise, text, seen[0].began, rests_on=())]

    return ToTheEnd(oracle)


def _but_after_a_denial(
    history: History, logins: list[Exchange], since: float, until: float
) -> list[Exchange]:
    """Those logins, without the first that follows a denial of that time."""
    denials = [
        e.began
        for e in history.find(since=since, until=until, where=lambda e: e.status == 403)
        if e.kind != "login"
    ]
    if not denials:
        return logins
    asked = next((login for login in logins if login.began > denials[0]), None)
    return [login for login in logins if login is not asked]
