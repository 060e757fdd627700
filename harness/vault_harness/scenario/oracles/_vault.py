"""Oracles on what Vault sees of the client."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from vault_harness.scenario.history import Exchange, History, between
from vault_harness.scenario.oracles._base import STORM_PEAK, TOLERANCE, Oracle, times
from vault_harness.scenario.verdict import Finding


def logins_at_most(
    count: int, *, since: float = 0.0, until: float | None = None, accepted: bool = False
) -> Oracle:
    """At most so many logins reach Vault in that time: all of them, or only the accepted."""
    promise = f"at most {count} login{'s' * (count != 1)}"

    def oracle(history: History) -> list[Finding]:
        seen = (
            history.logins(since=since, until=until)
            if accepted
            else history.find("login", since=since, until=until)
        )
        if len(seen) <= count:
            return []
        return [Finding(promise, f"{len(seen)} logins ({times(seen)})", seen[count].began)]

    return oracle


def logs_in_again(*, since: float, within: float) -> Oracle:
    """Vault accepts a login in that time."""
    promise = f"a new login within {within:g} s"

    def oracle(history: History) -> list[Finding]:
        if history.logins(since=since, until=since + within + TOLERANCE):
            return []
        tries = history.find("login", since=since)
        seen = (
            f"{len(tries)} were tried ({times(tries)}), none was accepted in time"
            if tries
            else "there was none"
        )
        return [Finding(promise, seen, since)]

    return oracle


def bad_logins_at_most(count: int, *, secret_id: str | None = None, since: float = 0.0) -> Oracle:
    """At most so many refused logins with the same secret-id (five lock the role for everybody)."""
    promise = f"at most {count} refused logins with the same secret-id"

    def oracle(history: History) -> list[Finding]:
        refused = history.find("login", since=since, where=lambda e: e.status in (400, 403))
        findings = []
        for label in sorted({e.secret_id or "no secret-id" for e in refused}):
            same = [e for e in refused if (e.secret_id or "no secret-id") == label]
            if secret_id in (None, label) and len(same) > count:
                findings.append(
                    Finding(promise, f"{len(same)} with {label} ({times(same)})", same[count].began)
                )
        return findings

    return oracle


def renews_within(low: float, high: float, *, since: float = 0.0, until: float) -> Oracle:
    """In each token's life a renewal or a login lands in ``[low, high]`` of the time it was given.

    A renewal right after the login is taken for the beginning of that life: Vault's own
    LifetimeWatcher begins so, to learn the TTL.

    Args:
        low: As a share of the TTL.
        high: The same.
        since: Lives that began before are not judged.
        until: A life that had not reached `high` by then is not judged.
    """
    promise = f"a renewal or a login between {low:g} and {high:g} of each token's life"

    def oracle(history: History) -> list[Finding]:
        lives = history.find("login", "renew", since=since, where=lambda e: e.good and bool(e.ttl))
        findings = []
        for life, following in zip(lives, [*lives[1:], None], strict=False):
            ttl = life.ttl or 0.0
            start = life.ended if life.ended is not None else life.began
            if start + high * ttl > until:
                continue
            if following is None or following.began > start + high * ttl + TOLERANCE / 4:
                gap = f"after {following.began - start:.1f} s" if following else "never"
                findings.append(
                    Finding(promise, f"the next came {gap}, the token's TTL was {ttl:g} s", start)
                )
            elif (
                life.kind == following.kind == "renew"  # one right after the login does no harm
                and following.began < start + low * ttl - TOLERANCE / 4
            ):
                early = following.began - start
                findings.append(
                    Finding(
                        promise, f"renewed {early:.2f} s into a life of {ttl:g} s", following.began
                    )
                )
        return findings[:3]

    return oracle


def renewals_at_most(count: int, *, since: float, until: float | None = None) -> Oracle:
    """At most so many renewals are tried in that time."""
    promise = f"at most {count} renewals"

    def oracle(history: History) -> list[Finding]:
        seen = history.find("renew", since=since, until=until)
        return (
            [Finding(promise, f"{len(seen)} ({times(seen)})", seen[count].began)]
            if len(seen) > count
            else []
        )

    return oracle


def renews_again(*, since: float, before: float) -> Oracle:
    """A renewal succeeds in that time."""
    promise = "the next renewal succeeds before the token's life ends"

    def oracle(history: History) -> list[Finding]:
        if history.find("renew", since=since, until=before, where=lambda e: e.good):
            return []
        tries = history.find("renew", since=since, until=before)
        return [Finding(promise, f"{len(tries)} were tried, none succeeded", since)]

    return oracle


def no_request_storm(*, since: float, until: float) -> Oracle:
    """While a fault lasts, a client sends few requests.

    At most `STORM_PEAK` in any second and one a second on average, each beyond two for every call
    that was in progress.
    """
    return _no_storm("request", lambda history: _begun(history.find()), since, until)


def no_connection_storm(*, since: float, until: float) -> Oracle:
    """The same for connections, where they end before a request can be sent."""
    return _no_storm("connection", lambda history: list(history.connections), since, until)


def _begun(exchanges: list[Exchange]) -> list[float]:
    return [exchange.began for exchange in exchanges]


def _no_storm(
    what: str, moments: Callable[[History], list[float]], since: float, until: float
) -> Oracle:
    promise = f"no {what} storm (at most {STORM_PEAK} {what}s a second beyond two a call)"

    def oracle(history: History) -> list[Finding]:
        sent = sorted(at for at in moments(history) if since <= at <= until)
        calls = [
            (o.began, o.ended if o.ended is not None else until)
            for o in history.calls("read", "read_cached", "write", until=until)
        ]

        def active(begin: float, end: float) -> int:
            return sum(began <= end and ended >= begin for began, ended in calls)

        for at in sent:
            seen, allowed = between(sent, at, at + 1.0), STORM_PEAK + 2 * active(at, at + 1.0)
            if seen > allowed:
                return [
                    Finding(promise, f"{seen} {what}s in one second, {allowed} are allowed", at)
                ]
        length = max(until - since, 1.0)
        allowed_in_all = int(length) + STORM_PEAK + 2 * active(since, until)
        if len(sent) > allowed_in_all:
            text = f"{len(sent)} {what}s in {length:.1f} s, {allowed_in_all} are allowed"
            return [Finding(promise, text, since)]
        return []

    return oracle


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
        return (
            [Finding(promise, f"{len(seen)} ({times(seen)})", seen[count].began)]
            if len(seen) > count
            else []
        )

    return oracle


def requests_a_call_at_most(
    count: int, *kinds: str, since: float, until: float | None = None
) -> Oracle:
    """During each read at most so many requests of these kinds are sent. For a single caller."""
    promise = f"at most {count} requests ({' and '.join(kinds)}) for one call"

    def oracle(history: History) -> list[Finding]:
        for call in history.calls("read", "read_cached", since=since, until=until):
            seen = history.find(
                since=call.began, until=call.ended, where=lambda e: not kinds or e.kind in kinds
            )
            if len(seen) > count:
                return [Finding(promise, f"{len(seen)} ({times(seen)})", call.began)]
        return []

    return oracle


def logins_with_one_secret_id_at_most(count: int) -> Oracle:
    """No secret-id is presented more often than that, accepted or not."""
    promise = f"at most {count} login{'s' * (count != 1)} with the same secret-id"

    def oracle(history: History) -> list[Finding]:
        findings = []
        logins = history.find("login")
        for label in sorted({e.secret_id or "no secret-id" for e in logins}):
            same = [e for e in logins if (e.secret_id or "no secret-id") == label]
            if len(same) > count:
                seen = f"{len(same)} with {label} ({times(same)})"
                findings.append(Finding(promise, seen, same[count].began))
        return findings

    return oracle


def obeys_retry_after(*, since: float, until: float) -> Oracle:
    """After a 429 with ``Retry-After``, the same call asks again no sooner than it says."""
    promise = "Retry-After is obeyed"

    def oracle(history: History) -> list[Finding]:
        for call in history.calls(since=since, until=until):
            ended = call.ended if call.ended is not None else until
            within = history.find("read", since=call.began, until=ended)
            for told, following in pairwise(within):
                if told.status != 429 or told.retry_after is None or told.ended is None:
                    continue
                waited = following.began - told.ended
                # Vault counts whole seconds; a quarter of one is the lab's own imprecision.
                if waited < told.retry_after - 0.25:
                    text = f"asked again after {waited:.2f} s, told to wait {told.retry_after:g} s"
                    return [Finding(promise, text, following.began)]
        return []

    return oracle


def no_refused_read(*, since: float = 0.0, until: float | None = None) -> Oracle:
    """No read is answered 403 in that time, which the caller may not have noticed."""
    promise = "no read is sent with a token that has ended"

    def oracle(history: History) -> list[Finding]:
        refused = history.find("read", since=since, until=until, where=lambda e: e.status == 403)
        if not refused:
            return []
        first = refused[0]
        seen = f"{len(refused)} reads were answered 403 ({times(refused)})"
        return [Finding(promise, f"{seen}, the first with {first.token}", first.began)]

    return oracle


def same_token(*, since: float, until: float | None = None) -> Oracle:
    """The token stays in use: Vault accepts no login in that time."""
    promise = "the token survives: no login"

    def oracle(history: History) -> list[Finding]:
        seen = history.find("login", since=since, until=until)
        return (
            [Finding(promise, f"{len(seen)} logins ({times(seen)})", seen[0].began)] if seen else []
        )

    return oracle
