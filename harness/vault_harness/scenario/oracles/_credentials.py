"""Oracles on leases: how many credentials are made, how long they live, and that they work.

What Vault was asked is the recorder's word; whether a credential works is the database's own.
"""

from __future__ import annotations

from itertools import pairwise

from vault_harness.scenario.history import History
from vault_harness.scenario.observations import Exchange, Use
from vault_harness.scenario.oracles._base import Oracle, counted, lacking, times
from vault_harness.scenario.oracles._lives import came_through
from vault_harness.scenario.verdict import Finding

SHORT = 1.0
"""Seconds by which a renewal's answer may fall short: Vault counts whole ones."""


def credentials_at_most(
    count: int, *, since: float = 0.0, until: float | None = None, path: str | None = None
) -> Oracle:
    """Vault makes at most so many credentials in that time, of that path or any; none is fine."""
    promise = f"at most {counted(count, 'credential')}{_at(path)}"

    def oracle(history: History) -> list[Finding]:
        made = _made(history, since, until, path)
        if len(made) <= count:
            return []
        text = f"{len(made)} ({times(made)})"
        return [Finding(promise, text, made[count].began, rests_on=())]

    return oracle


def credentials_apart(
    least: float,
    *,
    since: float = 0.0,
    until: float | None = None,
    around_logins: float = 0.0,
    path: str | None = None,
) -> Oracle:
    """Between one credential and the next are at least so many seconds; one is fine, none too.

    Args:
        least: Seconds.
        since: When it begins.
        until: When it ends.
        around_logins: Seconds before and after each login at Vault since then in which one is not
            counted.
        path: Those of that path only; of all, if None.
    """
    promise = f"{least:g} s at least from one credential to the next{_at(path)}"
    promise += _around(around_logins)

    def oracle(history: History) -> list[Finding]:
        logins = history.logins(since=since)
        made = [
            one
            for one in _made(history, since, until, path)
            if not any(_near(one, login, around_logins, history) for login in logins)
        ]
        for first, second in pairwise(made):
            gap = second.came - first.came
            if gap + history.slack(first.came, second.came) < least:
                text = f"{gap:.2f} s after the one before, at +{second.began:.2f} s"
                return [Finding(promise, text, second.began, rests_on=())]
        return []

    return oracle


def no_refused_use(
    *,
    since: float = 0.0,
    until: float | None = None,
    around_logins: float = 0.0,
    path: str | None = None,
    may_be_empty: bool = False,
) -> Oracle:
    """The database lets in whoever comes with what the subject handed out.

    Args:
        since: When it begins.
        until: When it ends; one that was under way then may be refused.
        around_logins: Seconds before and after each login at Vault in which one may be refused.
        path: With what was leased there only; with whatever was handed out, if None.
        may_be_empty: Whether it holds where nobody came to the database: nothing was handed out.
    """
    promise = f"what is handed out{_at(path)} is accepted by the database"
    promise += _around(around_logins)

    def oracle(history: History) -> list[Finding]:
        uses = _uses(history, since, until, path)
        if not uses and not may_be_empty:
            return lacking(promise, "login at the database", since, until)
        logins = history.logins()
        refused = [
            use
            for use in uses
            if not use.accepted
            and (until is None or use.ended <= until)
            and not any(_near(use, login, around_logins, history) for login in logins)
        ]
        if not refused:
            return []
        text = f"{counted(len(refused), 'login')} refused, the first at +{refused[0].began:.2f} s "
        text += f"with {refused[0].credential}, the last at +{refused[-1].began:.2f} s"
        return [Finding(promise, text, refused[0].began, rests_on=())]

    return oracle


def _around(seconds: float) -> str:
    """What a promise leaves out around logins; nothing, if that is no time."""
    return f", but for {seconds:g} s around a login at Vault" if seconds else ""


def _near(event: Use | Exchange, login: Exchange, seconds: float, history: History) -> bool:
    if not seconds:
        return False
    ended = login.ended if login.ended is not None else login.began
    grace = seconds + history.slack(login.began - seconds, ended + seconds)
    return login.came - grace <= event.began <= ended + grace


def accepted_again(*, since: float, within: float, path: str | None = None) -> Oracle:
    """The database lets the subject's credential, of that path or of any, in within so long."""
    promise = f"a credential that works within {within:g} s{_at(path)}"

    def oracle(history: History) -> list[Finding]:
        end = since + within
        good = next((use for use in _uses(history, since, None, path) if use.accepted), None)
        if good is not None and good.began <= end + history.slack(since, end):
            return []
        when = f"the first came after {good.began - since:.2f} s" if good else "there was none"
        missed = good.began - end if good else None
        return [Finding(promise, when, since, missed=missed, until=end, lacks=missed is None)]

    return oracle


def uses_go_on(bound: float, *, since: float, until: float, path: str | None = None) -> Oracle:
    """From one login that the database accepts to the next it is at most `bound` seconds.

    It finds fault where nobody comes to the database: what is not handed out is not refused.

    Args:
        bound: Seconds.
        since: When it begins, as if one had just been accepted.
        until: When it ends, as if one were accepted then.
        path: With what was leased there only; with whatever was handed out, if None.
    """
    promise = f"no pool goes without a credential that works for longer than {bound:g} s"
    promise += _at(path)

    def oracle(history: History) -> list[Finding]:
        good = [use.began for use in _uses(history, since, until, path) if use.accepted]
        for one, following in pairwise([since, *good, until]):
            over = following - one - bound - history.slack(one, following)
            if over > 0:
                text = f"it goes without one for {following - one:.2f} s, from +{one:.2f} s on"
                return [Finding(promise, text, one, rests_on=(), missed=over, until=following)]
        return []

    return oracle


def leases_renewed_within(
    low: float, high: float, *, until: float, path: str | None = None
) -> Oracle:
    """In each life of a lease a renewal of it lands in ``[low, high]``, for the whole of a life.

    One that was answered in Vault's place lands there too: it was tried when it was due.

    Args:
        low: As a share of the lease's TTL.
        high: The same.
        until: A life that had not reached `high` by then is not judged.
        path: Leases of that path only; of all, if None.
    """
    promise = f"a renewal between {low:g} and {high:g} of each lease's life, for a whole one"
    promise += _at(path)

    def oracle(history: History) -> list[Finding]:
        findings: list[Finding] = []
        judged = 0
        for made in _made(history, 0.0, until, path):
            lives = [made, *_renewals(history, made)]
            waylaid = _waylaid(history, made)
            for life, following in zip(lives, [*lives[1:], None], strict=False):
                start = life.ended if life.ended is not None else life.began
                ttl = life.ttl or 0.0
                early, late = start + low * ttl, start + high * ttl
                if life.kind == "lease" and _falls_short(life, made):
                    text = f"renewed for {ttl:g} s of {made.ttl:g} s at +{life.began:.2f} s"
                    findings.append(Finding(promise, text, life.began, rests_on=()))
                if late > until:
                    continue
                judged += 1
                turns = [
                    *(e for e in waylaid if e.began >= start),
                    *([following] if following else []),
                ]
                following = min(turns, key=lambda e: e.began, default=None)
                if following is None or following.came > late + history.slack(start, late):
                    gap = f"after {following.came - start:.2f} s" if following else "never"
                    text = f"{made.credential}, whose TTL is {ttl:g} s, was renewed {gap}"
                    missed = following.came - late if following else None
                    findings.append(Finding(promise, text, start, missed=missed, until=late))
                elif life.kind == following.kind and following.began < early:
                    text = f"renewed {following.began - start:.2f} s into a life of {ttl:g} s"
                    findings.append(Finding(promise, text, following.began))
        if not judged:
            return lacking(promise, f"life that had come to {high:g} of its time", 0.0, until)
        return findings

    return oracle


def lease_renewed_or_replaced(*, path: str, since: float, before: float) -> Oracle:
    """What is leased at a path is given a new life, or another credential is made in its place.

    Args:
        path: Where.
        since: Requests from then on count whose answer comes.
        before: When one of them must have been sent.
    """
    promise = f"what is leased at {path} is renewed, or replaced, in its time"

    def oracle(history: History) -> list[Finding]:
        grants = lease_grants(history, path=path, since=since)
        first = min((e.came for e in grants), default=None)
        if first is not None and first <= before + history.slack(since, before):
            return []
        when = f"{first - before:.2f} s after that" if first is not None else "never"
        text = f"it had time up to +{before:.2f} s; what was answered came {when}"
        missed = None if first is None else first - before
        return [Finding(promise, text, before, missed=missed, until=before, lacks=missed is None)]

    return oracle


def credential_at_hand(*, path: str, since: float, until: float) -> Oracle:
    """Whoever asks for a credential in that time is given it: the one at hand is good.

    One call for each renewal that is tried then, or look at a lease, is let off: who renews in the
    call of whoever comes when it is time may let that one fail, and no other.

    Args:
        path: Where it is leased.
        since: When it begins.
        until: When it ends; the lease must live for longer.
    """
    promise = f"who asks for what is leased at {path} is given what is at hand"

    def oracle(history: History) -> list[Finding]:
        calls = history.calls("lease", since=since, until=until, where=lambda o: o.path == path)
        if not calls:
            return lacking(promise, "call for a credential", since, until)
        failed = [call for call in calls if call.failed]
        renewals = history.find(
            "lease", since=since, until=until, where=lambda e: "/revoke" not in e.path
        )
        if len(failed) <= len(renewals):
            return []
        text = f"{len(failed)} of {counted(len(calls), 'call')} failed ({times(failed)}) beside "
        text += f"{counted(len(renewals), 'renewal')}, the last {failed[-1].told}"
        return [Finding(promise, text, failed[len(renewals)].began)]

    return oracle


def renewals_of_a_lost_lease_at_most(count: int, *, since: float) -> Oracle:
    """A lease that Vault does not know (400) is asked about so often at most; never is fine."""
    promise = f"at most {counted(count, 'renewal')} of a lease that is not found"

    def oracle(history: History) -> list[Finding]:
        for made in _made(history, 0.0, None):
            lost = history.find(
                "lease",
                since=since,
                where=lambda e, made=made: e.status == 400 and e.credential == made.credential,  # type: ignore[misc]  # bound now, as a loop's name must be
            )
            if len(lost) > count:
                text = f"{len(lost)} of {made.credential} ({times(lost)})"
                return [Finding(promise, text, lost[count].began)]
        return []

    return oracle


def lease_renewals_at_most(count: int, *, since: float, until: float | None = None) -> Oracle:
    """At most so many renewals of leases are tried in that time; none is fine."""
    promise = f"at most {counted(count, 'renewal')} of leases"

    def oracle(history: History) -> list[Finding]:
        tried = history.find("lease", since=since, until=until, where=renews_a_lease)
        if len(tried) <= count:
            return []
        text = f"{len(tried)} ({times(tried)})"
        return [Finding(promise, text, tried[count].began, rests_on=())]

    return oracle


def renewals_of_a_capped_lease_at_most(count: int) -> Oracle:
    """A lease that was renewed for less than its TTL is renewed so often from there on at most.

    That renewal counts, and so does each that is tried after it; none is fine.
    """
    promise = f"at most {counted(count, 'renewal')} of a lease whose maximum is near"

    def oracle(history: History) -> list[Finding]:
        for made in _made(history, 0.0, None):
            tried = [
                e
                for e in history.find("lease", where=renews_a_lease)
                if e.credential == made.credential
            ]
            short = (n for n, e in enumerate(tried) if e.good and _falls_short(e, made))
            capped = tried[next(short, len(tried)) :]
            if len(capped) > count:
                text = f"{len(capped)} of {made.credential} ({times(capped)})"
                return [Finding(promise, text, capped[count].began, rests_on=())]
        return []

    return oracle


def renews_a_lease(asked: Exchange) -> bool:
    """Whether a request about a lease is to make it live longer, and no look, nor its end."""
    return "/lookup" not in asked.path and "/revoke" not in asked.path


def leased_at(history: History, path: str) -> set[str | None]:
    """The labels of the credentials that Vault made there."""
    return {made.credential for made in _made(history, 0.0, None, path)}


def lease_grants(
    history: History, *, path: str | None = None, since: float = 0.0, until: float | None = None
) -> list[Exchange]:
    """What gave a lease its life, and whose answer came: new ones, and renewals.

    Args:
        history: What happened.
        path: Where it was leased; anywhere, if None.
        since: Requests from then on.
        until: Requests up to then.
    """
    labels = None if path is None else leased_at(history, path)
    return history.find(
        "credential",
        "lease",
        since=since,
        until=until,
        where=lambda e: (
            came_through(e)
            and (e.kind == "credential" or renews_a_lease(e))
            and (labels is None or e.credential in labels)
        ),
    )


def _falls_short(renewal: Exchange, made: Exchange) -> bool:
    return (renewal.ttl or 0.0) + SHORT < (made.ttl or 0.0)


def _at(path: str | None) -> str:
    """Where it is leased, for a promise; nothing, if that is anywhere."""
    return "" if path is None else f" at {path}"


def _made(
    history: History, since: float, until: float | None, path: str | None = None
) -> list[Exchange]:
    return history.find(
        "credential",
        since=since,
        until=until,
        where=lambda e: e.good and (path is None or f"/{e.path}".endswith(f"/{path}")),
    )


def _renewals(history: History, made: Exchange) -> list[Exchange]:
    return history.find(
        "lease",
        where=lambda e: (
            e.good
            and e.ttl is not None  # a gateway's page gives no life, whatever its status
            and e.credential == made.credential
            and renews_a_lease(e)
        ),
    )


def _waylaid(history: History, made: Exchange) -> list[Exchange]:
    """The renewals of a lease that were answered in Vault's place."""
    return history.find(
        "lease",
        where=lambda e: (
            e.interference is not None
            and e.ttl is None
            and e.credential == made.credential
            and renews_a_lease(e)
        ),
    )


def _uses(
    history: History, since: float, until: float | None, path: str | None = None
) -> list[Use]:
    labels = None if path is None else leased_at(history, path)
    return [
        use
        for use in list(history.uses)
        if since <= use.began
        and (until is None or use.began <= until)
        and (labels is None or use.credential in labels)
    ]
