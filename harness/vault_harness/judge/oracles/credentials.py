"""Judge leases. The database tells whether a credential works, the recorder tells the rest."""

from __future__ import annotations

from itertools import pairwise

from vault_harness.judge.oracles.base import Oracle, counted, lacking, times, too_many
from vault_harness.judge.oracles.profile import came_through
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import SLACK, History
from vault_harness.recorder.observations import Exchange, Use

SHORT = 1.0
"""Seconds by which a renewal may fall short: Vault counts whole seconds."""


def credentials_at_most(
    count: int, *, since: float = 0.0, until: float | None = None, path: str | None = None
) -> Oracle:
    """Check that Vault makes at most `count` credentials in that time."""
    promise = f"at most {counted(count, 'credential')}{_at(path)}"

    def oracle(history: History) -> list[Finding]:
        return too_many(promise, count, _made(history, since, until, path))

    return oracle


def credentials_apart(
    least: float,
    *,
    since: float = 0.0,
    until: float | None = None,
    around_logins: float = 0.0,
    path: str | None = None,
) -> Oracle:
    """Check that there are at least `least` seconds between one credential and the next."""
    promise = f"{least:g} s at least from one credential to the next{_at(path)}"
    promise += _around(around_logins)

    def oracle(history: History) -> list[Finding]:
        logins = history.logins(since=since)
        made = [
            one
            for one in _made(history, since, until, path)
            if not any(_near(one, login, around_logins) for login in logins)
        ]
        for first, second in pairwise(made):
            gap = second.came - first.came
            if gap + SLACK < least:
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
    """Check that the database accepts what was handed out.

    Args:
        until: A login that is under way at this time may be refused.
        around_logins: Seconds around a login to Vault in which a use may be refused.
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
            and not any(_near(use, login, around_logins) for login in logins)
        ]
        if not refused:
            return []
        text = f"{counted(len(refused), 'login')} refused, the first at +{refused[0].began:.2f} s "
        text += f"with {refused[0].credential}, the last at +{refused[-1].began:.2f} s"
        return [Finding(promise, text, refused[0].began, rests_on=())]

    return oracle


def _around(seconds: float) -> str:
    return f", except {seconds:g} s around a login at Vault" if seconds else ""


def _near(event: Use | Exchange, login: Exchange, seconds: float) -> bool:
    if not seconds:
        return False
    ended = login.ended if login.ended is not None else login.began
    grace = seconds + SLACK
    return login.came - grace <= event.began <= ended + grace


def accepted_again(*, since: float, within: float, path: str | None = None) -> Oracle:
    """Check that the database accepts the subject's credential again in time."""
    promise = f"a credential that works within {within:g} s{_at(path)}"

    def oracle(history: History) -> list[Finding]:
        end = since + within
        good = next((use for use in _uses(history, since, None, path) if use.accepted), None)
        if good is not None and good.began <= end + SLACK:
            return []
        when = f"the first came after {good.began - since:.2f} s" if good else "there was none"
        missed = good.began - end if good else None
        return [Finding(promise, when, since, missed=missed, until=end)]

    return oracle


def uses_go_on(bound: float, *, since: float, until: float, path: str | None = None) -> Oracle:
    """Check that the database accepts a login at least every `bound` seconds.

    `since` and `until` count as such.
    """
    promise = f"no pool goes without a credential that works for longer than {bound:g} s"
    promise += _at(path)

    def oracle(history: History) -> list[Finding]:
        good = [use.began for use in _uses(history, since, until, path) if use.accepted]
        for one, following in pairwise([since, *good, until]):
            over = following - one - bound - SLACK
            if over > 0:
                text = f"it goes without one for {following - one:.2f} s, from +{one:.2f} s on"
                return [Finding(promise, text, one, rests_on=(), missed=over, until=following)]
        return []

    return oracle


def leases_renewed_within(
    low: float, high: float, *, until: float, path: str | None = None
) -> Oracle:
    """Check that each lease is renewed between `low` and `high` of a whole life.

    A renewal that a fault failed counts, because the client tried in time. A life that has not
    reached `high` at `until` is not judged.
    """
    promise = f"a renewal between {low:g} and {high:g} of each lease's life, for a whole one"
    promise += _at(path)

    def oracle(history: History) -> list[Finding]:
        findings: list[Finding] = []
        judged = 0
        for made in _made(history, 0.0, until, path):
            lives = [made, *_renewals(history, made)]
            failed_renewals = _failed_by_a_fault(history, made)
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
                    *(e for e in failed_renewals if e.began >= start),
                    *([following] if following else []),
                ]
                following = min(turns, key=lambda e: e.began, default=None)
                if following is None or following.came > late + SLACK:
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
    """Check that a lease is renewed, or that another credential replaces it, in time."""
    promise = f"what is leased at {path} is renewed, or replaced, in its time"

    def oracle(history: History) -> list[Finding]:
        grants = lease_grants(history, path=path, since=since)
        first = min((e.came for e in grants), default=None)
        if first is not None and first <= before + SLACK:
            return []
        when = f"{first - before:.2f} s after that" if first is not None else "never"
        text = f"it had time up to +{before:.2f} s; what was answered came {when}"
        missed = None if first is None else first - before
        return [Finding(promise, text, before, missed=missed, until=before)]

    return oracle


def credential_at_hand(*, path: str, since: float, until: float) -> Oracle:
    """Check that callers get the credential that the client holds. It must outlive `until`.

    One call may fail for each request about a lease, since a client may renew within a call.
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
    """Check that a lease that Vault does not know (400) is asked about at most `count` times."""
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
    """Check that at most `count` renewals of leases are tried in that time."""
    promise = f"at most {counted(count, 'renewal')} of leases"

    def oracle(history: History) -> list[Finding]:
        tried = history.find("lease", since=since, until=until, where=renews_a_lease)
        return too_many(promise, count, tried)

    return oracle


def renewals_of_a_capped_lease_at_most(count: int) -> Oracle:
    """Check that a lease near its maximum is renewed at most `count` times.

    Count the tries from the first renewal that is granted for less than the lease's TTL.
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
    return "/lookup" not in asked.path and "/revoke" not in asked.path


def leased_at(history: History, path: str) -> set[str | None]:
    return {made.credential for made in _made(history, 0.0, None, path)}


def lease_grants(
    history: History, *, path: str | None = None, since: float = 0.0, until: float | None = None
) -> list[Exchange]:
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


def not_handed_out(label: str, *, path: str, since: float, marked: bool = True) -> Oracle:
    """Check that no call gets a label's password, also marked as stale if `marked`."""
    promise = f"a password that is over is not handed out{_at(path)}"
    promise += "" if marked else " as if it were good"

    def oracle(history: History) -> list[Finding]:
        given = history.calls(
            "static",
            since=since + SLACK,
            where=lambda o: o.path == path and o.value == label and (marked or o.good),
        )
        if not given:
            return []
        late = given[-1].began - since
        text = f"{label} was given {counted(len(given), 'time')}, "
        text += f"the last {late:.2f} s later than it may be"
        return [Finding(promise, text, since, rests_on=(), missed=late, until=given[-1].began)]

    return oracle


def refused_uses_at_most(count: int, *, of: str) -> Oracle:
    """Check that the database refuses at most `count` logins with the password of a label."""
    promise = f"at most {counted(count, 'login')} refused with a password that was replaced"

    def oracle(history: History) -> list[Finding]:
        uses = [use for use in list(history.uses) if use.credential == of]
        refused = [use for use in uses if not use.accepted]
        if len(refused) <= count:
            return []
        text = f"{len(refused)} were, from +{refused[0].began:.2f} s to +{refused[-1].began:.2f} s"
        return [Finding(promise, text, refused[count].began, rests_on=())]

    return oracle


def _falls_short(renewal: Exchange, made: Exchange) -> bool:
    return (renewal.ttl or 0.0) + SHORT < (made.ttl or 0.0)


def _at(path: str | None) -> str:
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


def _failed_by_a_fault(history: History, made: Exchange) -> list[Exchange]:
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
