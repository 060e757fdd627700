"""Oracles on what the callers of the client see."""

from __future__ import annotations

from vault_harness.scenario.history import History, Operation
from vault_harness.scenario.oracles._base import TOLERANCE, Oracle, times
from vault_harness.scenario.verdict import Finding


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


def sees(value: str, path: str, *, since: float, within: float) -> Oracle:
    """A read of `path` gives the value of that label at most `within` seconds after `since`."""
    promise = f"the new value of {path} is seen within {within:g} s"

    def oracle(history: History) -> list[Finding]:
        good = history.calls(
            "read", "read_cached", since=since, where=lambda o: o.good and o.path == path
        )
        first = next((o for o in good if o.value == value), None)
        if first is not None and first.began <= since + within + TOLERANCE:
            return []
        seen = f"{len(good)} good reads gave {', '.join(sorted({o.value or '' for o in good}))}"
        return [Finding(promise, seen if good else "there was no good read", since)]

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
        seen = f"{len(bad)} of {len(calls)} did ({times(bad)}), the last: {bad[-1].message}"
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
