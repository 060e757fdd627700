"""Oracles: functions from a history to findings. Each factory below names a promise and its bound.

Times are in seconds. `TOLERANCE` is granted to every bound on a time: a lab's machine is busy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import pairwise

from harness.scenario.history import Exchange, History, Operation, between
from harness.scenario.verdict import Finding

TOLERANCE = 1.0

STORM_PEAK = 5
"""Requests a second that a client may send while a fault lasts, beyond its callers' own."""

Oracle = Callable[[History], list[Finding]]


def _times(events: Iterable[Exchange | Operation], most: int = 6) -> str:
    shown = [f"+{event.began:.2f}" for event in events]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


# What the callers of the client see


def no_wrong_value(
    *, refresh: float = 0.0, stale_for: float | None = None, fallback: bool = False
) -> Oracle:
    """Every value handed out was the right one, now or at most `refresh` seconds before the call.

    Args:
        refresh: How old a value may be that is not marked stale.
        stale_for: How old one may be that is; None for any age.
        fallback: Whether the value of the environment variable is right too.
    """
    promise = "no wrong value is ever handed out"

    def right(history: History, operation: Operation, age: float | None) -> set[str]:
        changes = [r for r in history.rotations if r.path == operation.path]
        since = (
            float("-inf") if age is None else operation.began - age - (TOLERANCE if age else 0.0)
        )
        until = operation.ended if operation.ended is not None else history.now()
        labels: set[str] = set()
        for change, following in zip(changes, [*changes[1:], None], strict=False):
            gone = float("inf") if following is None else following.done
            if change.at <= until and (gone is None or gone >= since):
                labels.add(change.value)
        return labels | ({"fallback"} if fallback else set())

    def oracle(history: History) -> list[Finding]:
        findings = []
        for operation in history.calls("read", "read_cached"):
            if operation.outcome not in ("ok", "stale"):
                continue
            allowed = right(history, operation, refresh if operation.good else stale_for)
            if operation.value not in allowed:
                wanted = " or ".join(sorted(allowed)) or "none"
                findings.append(
                    Finding(
                        promise,
                        f"{operation.verb} of {operation.path} gave the value {operation.value}"
                        f"{'' if operation.good else ' (marked stale)'}, right was {wanted}",
                        operation.began,
                        harm=operation.value == "unknown" or operation.value == "fallback",
                    )
                )
        return findings[:3]

    return oracle


def every_call_ends_within(deadline: float) -> Oracle:
    """No call takes longer than the client's total deadline."""
    promise = f"every call ends within {deadline:g} s"

    def oracle(history: History) -> list[Finding]:
        findings = []
        for operation in history.calls("read", "read_cached", "write"):
            ended = operation.ended if operation.ended is not None else history.now()
            taken = ended - operation.began
            if operation.outcome == "hung" or taken > deadline + TOLERANCE:
                word = "had not ended" if operation.outcome in ("hung", None) else "ended only"
                findings.append(
                    Finding(
                        promise,
                        f"{operation.verb} of {operation.path} {word} after {taken:.1f} s",
                        operation.began,
                    )
                )
        return findings[:3]

    return oracle


def no_failed_read(
    *, since: float = 0.0, until: float | None = None, path: str | None = None
) -> Oracle:
    """No read fails in that time."""
    promise = "no read fails"

    def oracle(history: History) -> list[Finding]:
        bad = history.calls(
            "read",
            "read_cached",
            since=since,
            until=until,
            where=lambda o: o.failed and path in (None, o.path),
        )
        if not bad:
            return []
        first = bad[0]
        said = f": {first.message}" if first.message else ""
        return [
            Finding(promise, f"{len(bad)} failed, the first as {first.outcome}{said}", first.began)
        ]

    return oracle


def recovers_within(bound: float, *, since: float, path: str | None = None) -> Oracle:
    """A good read ends at most `bound` seconds after `since`, without a restart."""
    promise = f"a good read within {bound:g} s after the fault"

    def oracle(history: History) -> list[Finding]:
        good = [
            o.ended
            for o in history.calls(
                "read", "read_cached", where=lambda o: o.good and path in (None, o.path)
            )
            if o.ended is not None and o.ended >= since
        ]
        if good and min(good) <= since + bound + TOLERANCE:
            return []
        seen = f"the first came after {min(good) - since:.1f} s" if good else "none came"
        return [Finding(promise, seen, since)]

    return oracle


def fails_as(*outcomes: str, path: str, since: float = 0.0, until: float | None = None) -> Oracle:
    """Reads of `path` fail, and with one of these outcomes, as far as the subject tells."""
    promise = f"a read of {path} fails as {' or '.join(outcomes)}"

    def oracle(history: History) -> list[Finding]:
        calls = history.calls(
            "read", "read_cached", since=since, until=until, where=lambda o: o.path == path
        )
        for call in calls:
            if call.outcome is None or call.outcome == "error" or call.outcome in outcomes:
                continue  # `error` is a failure that the subject does not classify
            what = (
                f"gave the value {call.value}" if not call.failed else f"failed as {call.outcome}"
            )
            return [Finding(promise, f"a read {what}", call.began, harm=not call.failed)]
        return []

    return oracle


def failures_are(
    *outcomes: str,
    since: float = 0.0,
    until: float | None = None,
    path: str | None = None,
    unsorted: bool = True,
) -> Oracle:
    """Whatever fails in that time fails with one of these outcomes; nothing needs to fail.

    Args:
        outcomes: The right ones.
        since: When it begins.
        until: When it ends.
        path: Of reads of this path only.
        unsorted: Whether a failure that the subject does not classify is right too.
    """
    promise = f"a failure then is {' or '.join(outcomes)}"
    allowed = {*outcomes, "error"} if unsorted else set(outcomes)

    def oracle(history: History) -> list[Finding]:
        wrong = history.calls(
            "read",
            "read_cached",
            since=since,
            until=until,
            where=lambda o: o.failed and o.outcome not in allowed and path in (None, o.path),
        )
        if not wrong:
            return []
        first = wrong[0]
        seen = f"{len(wrong)} were not, the first is {first.outcome}: {first.message}"
        return [Finding(promise, seen, first.began)]

    return oracle


def failed_reads_at_most(count: int, *, since: float = 0.0, until: float | None = None) -> Oracle:
    """At most so many reads fail in that time."""
    promise = f"at most {count} reads fail"

    def oracle(history: History) -> list[Finding]:
        calls = history.calls("read", "read_cached", since=since, until=until)
        bad = [call for call in calls if call.failed]
        if len(bad) <= count:
            return []
        seen = f"{len(bad)} of {len(calls)} did ({_times(bad)}), the last: {bad[-1].message}"
        return [Finding(promise, seen, bad[count].began)]

    return oracle


def says_of_its_health(*, well: bool, since: float, until: float | None = None) -> Oracle:
    """The last answer of the subject's health in that time is this one, if it was asked at all."""
    word = "well" if well else "not well"
    promise = f"health says {word} within that time"

    def oracle(history: History) -> list[Finding]:
        asked = history.calls("health", since=since, until=until)
        said = [o.outcome == "ok" and o.message == "well" for o in asked]
        if not said or said[-1] == well:
            return []
        other = "not well" if well else "well"
        return [Finding(promise, f"it still said {other}", asked[-1].began)]

    return oracle


def stays_alive() -> Oracle:
    """The subject's process, or its ability to be called, outlives every fault."""
    promise = "the client stays alive"

    def oracle(history: History) -> list[Finding]:
        dead = history.calls(where=lambda o: o.outcome == "died")
        return (
            [Finding(promise, f"it ended: {dead[0].message}", dead[0].began, harm=True)]
            if dead
            else []
        )

    return oracle


# What Vault sees


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
        return [Finding(promise, f"{len(seen)} logins ({_times(seen)})", seen[count].began)]

    return oracle


def logs_in_again(*, since: float, within: float) -> Oracle:
    """Vault accepts a login in that time."""
    promise = f"a new login within {within:g} s"

    def oracle(history: History) -> list[Finding]:
        if history.logins(since=since, until=since + within + TOLERANCE):
            return []
        tries = history.find("login", since=since)
        seen = (
            f"{len(tries)} were tried ({_times(tries)}), none was accepted in time"
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
                    Finding(
                        promise, f"{len(same)} with {label} ({_times(same)})", same[count].began
                    )
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
            [Finding(promise, f"{len(seen)} ({_times(seen)})", seen[count].began)]
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
    promise = f"no request storm (at most {STORM_PEAK} requests a second beyond two a call)"

    def oracle(history: History) -> list[Finding]:
        sent = sorted(e.began for e in history.find(since=since, until=until))
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
                    Finding(promise, f"{seen} requests in one second, {allowed} are allowed", at)
                ]
        length = max(until - since, 1.0)
        allowed_in_all = int(length) + STORM_PEAK + 2 * active(since, until)
        if len(sent) > allowed_in_all:
            text = f"{len(sent)} requests in {length:.1f} s, {allowed_in_all} are allowed"
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
            [Finding(promise, f"{len(seen)} ({_times(seen)})", seen[count].began)]
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
                return [Finding(promise, f"{len(seen)} ({_times(seen)})", call.began)]
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
                seen = f"{len(same)} with {label} ({_times(same)})"
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
        seen = f"{len(refused)} reads were answered 403 ({_times(refused)})"
        return [Finding(promise, f"{seen}, the first with {first.token}", first.began)]

    return oracle


def same_token(*, since: float, until: float | None = None) -> Oracle:
    """The token stays in use: Vault accepts no login in that time."""
    promise = "the token survives: no login"

    def oracle(history: History) -> list[Finding]:
        seen = history.find("login", since=since, until=until)
        return (
            [Finding(promise, f"{len(seen)} logins ({_times(seen)})", seen[0].began)]
            if seen
            else []
        )

    return oracle


def none_of(what: str, seen: Collection[str], *, harm: bool = False) -> Oracle:
    """A promise about something that the lab counted by itself: nothing of it was seen."""

    def oracle(history: History) -> list[Finding]:
        return [Finding(what, "; ".join(sorted(seen)), history.now(), harm=harm)] if seen else []

    return oracle


def at_most(limit: float, seen: float, what: str) -> Oracle:
    """A promise about a number that the lab measured by itself."""

    def oracle(history: History) -> list[Finding]:
        return (
            [Finding(f"at most {limit:g} {what}", f"{seen:g} {what}", history.now())]
            if seen > limit
            else []
        )

    return oracle
