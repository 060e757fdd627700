"""Judge what the callers of the client see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

from vault_harness.judge.oracles.base import HANDOVER, Oracle, lacking, times, too_many
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import SLACK, History
from vault_harness.recorder.observations import BESIDE, NOTHING, Operation

LOADS = 2.0
"""Seconds that an instance's first call may be late: a virtual machine or an interpreter loads for
up to 1.5 s.
"""


def slow_at_first(
    calls: Sequence[Operation], deadline: float, *, ready: Operation
) -> list[Operation]:
    """Return the calls that loading made late: one, or all that waited for `ready` to end."""
    loaded = ready.ended or ready.began
    late = [o for o in calls if o.began <= loaded and (o.ended or loaded) - o.began > deadline]
    if ready not in late:
        return late[:1]
    return [o for o in late if (o.ended or loaded) <= loaded + deadline]


def late_by_loading(history: History, verbs: Sequence[str], deadline: float) -> list[Operation]:
    """Return the calls that may be late by `LOADS`.

    The first call that ends shows that all is loaded; in an outage it need not be good.
    """
    instances: defaultdict[int, list[Operation]] = defaultdict(list)
    for call in history.calls(*verbs, "warm-up"):
        if call.instance is not None:
            instances[call.instance].append(call)
    found = []
    for calls in instances.values():
        ended = [call for call in calls if call.ended is not None]
        if ended:
            ready = min(ended, key=lambda o: o.ended or o.began)
            found += slow_at_first(calls, deadline, ready=ready)
    return found


READS = ("read", "read_cached")

READ_VERBS = (*READS, "read_all")

OUT_OF_TIME = 0.5
"""Seconds of a failed read that waited in vain: a hundred times a normal read."""

STAYS_ALIVE = "the client stays alive"

TIMED = (*READ_VERBS, "write", "update", "lease", "static")
"""`health` has an oracle of its own."""


def no_wrong_value(
    *,
    refresh: float = 0.0,
    stale_for: float | None = None,
    fallback: Collection[tuple[str, str]] = (),
) -> Oracle:
    """Check that every value was right during the call or shortly before.

    Another key's value, or half of a value, is harm. A value that is only too old is no harm.

    Args:
        refresh: Seconds by which an unmarked value may be old.
        stale_for: Seconds by which a marked value may be old; None for any age.
        fallback: Secrets and keys for which the environment variable is right too.
    """
    promise = "no wrong value is ever handed out"

    def right(history: History, operation: Operation, age: float | None) -> set[str]:
        changes = [r for r in history.rotations if r.path == operation.path]
        since = float("-inf")
        if age is not None:
            since = operation.began - age
            since -= SLACK if age else 0.0
        until = operation.ended if operation.ended is not None else history.now()
        labels: set[str] = set()
        for change, following in zip(changes, [*changes[1:], None], strict=False):
            gone = float("inf") if following is None else following.done
            if change.at <= until and (gone is None or gone >= since):
                labels.add(change.value)
        variable = (operation.path, operation.key) in fallback
        return labels | ({"fallback"} if variable else set())

    def oracle(history: History) -> list[Finding]:
        findings = []
        own = {(change.path, change.value) for change in history.rotations}
        # A first read may be late, but its value must be right.
        for operation in history.calls(*READ_VERBS, "warm-up"):
            if operation.outcome not in ("ok", "stale"):
                continue
            allowed = right(history, operation, refresh if operation.good else stale_for)
            given = set((operation.value or "").split(BESIDE))
            if not given <= allowed:
                wanted = " or ".join(sorted(allowed)) or "none"
                verb = "read" if operation.verb == "warm-up" else operation.verb
                findings.append(
                    Finding(
                        promise,
                        f"{verb} of {_asked(operation)} gave {_value(operation)}"
                        f"{'' if operation.good else ' (marked stale)'}, right was {wanted}",
                        operation.began,
                        # A whole secret without its keys is as bad as a value that nobody wrote.
                        harm=any((operation.path, value) not in own for value in given),
                    )
                )
        return findings

    return oracle


def of_one_version(path: str) -> Oracle:
    """Check that a whole secret has all its keys, and that all are of one version."""
    promise = "all keys of a secret are of one version"

    def oracle(history: History) -> list[Finding]:
        torn = history.calls(
            "read_all",
            where=lambda o: o.path == path and (BESIDE in (o.value or "") or o.value == NOTHING),
        )
        return [
            Finding(promise, f"{len(torn)} times not; first {one.value}", one.began, harm=True)
            for one in torn[:1]
        ]

    return oracle


def every_call_ends_within(deadline: float) -> Oracle:
    """Check that no read, write, update or lease takes longer than the client's deadline.

    An instance that has just started may add `LOADS` once.
    """
    promise = f"every call ends within {deadline:g} s"

    def oracle(history: History) -> list[Finding]:
        findings: list[Finding] = []
        loading = late_by_loading(history, TIMED, deadline + HANDOVER)
        for call in history.calls(*TIMED):
            bound = deadline + (LOADS if call in loading else 0.0)
            what = f"{call.verb} of {call.path}"
            findings += late_end(promise, history, call, bound, what, digits=2)
        return findings

    return oracle


def late_end(
    promise: str, history: History, call: Operation, bound: float, what: str, *, digits: int
) -> list[Finding]:
    """Return the finding that a call had not ended in time, if it had not."""
    ended = call.ended if call.ended is not None else history.now()
    over = ended - call.began - bound - HANDOVER - SLACK
    if call.outcome != "hung" and over <= 0:
        return []
    word = "had not ended" if call.outcome in ("hung", None) else "ended only"
    text = f"{what} {word} after {ended - call.began:.{digits}f} s"
    missed = max(over, 0.0) if call.outcome != "hung" else None
    return [Finding(promise, text, call.began, rests_on=(), missed=missed, until=ended)]


def no_failed_read(
    *,
    since: float = 0.0,
    until: float | None = None,
    path: str | None = None,
    verbs: tuple[str, ...] = READS,
    may_be_empty: bool = False,
    but: Callable[[Operation], bool] = lambda _: False,
) -> Oracle:
    """Check that no read fails, except those that `but` accepts."""
    promise = "no read fails" if path is None else f"no read of {path} fails"

    def oracle(history: History) -> list[Finding]:
        calls = _reads(history, since, until, path, verbs)
        bad = [call for call in calls if call.failed and not but(call)]
        if not calls and not may_be_empty:
            return lacking(promise, "read", since, until)
        if not bad:
            return []
        first = bad[0]
        said = f": {first.message}" if first.message else ""
        text = f"{len(bad)} of {len(calls)} failed ({times(bad)}), "
        text += f"the first as {first.outcome}{said}"
        # A call may have run out of time because the machine stood still.
        took = (first.ended or first.began) - first.began
        missed = took if took >= OUT_OF_TIME else None
        return [Finding(promise, text, first.began, missed=missed, until=first.ended)]

    return oracle


def recovers_within(
    bound: float,
    *,
    since: float,
    path: str | None = None,
    verb: str | None = None,
    begun: bool = False,
) -> Oracle:
    """Check that a good read ends at most `bound` seconds after `since`, without a restart.

    Args:
        begun: Whether it must also begin after `since`: in a fault that continues, an earlier read
            may have been answered before the fault.
    """
    verbs = READS if verb is None else (verb,)
    how = "a good read" if verb is None else f"a good {verb}"
    promise = f"{how} within {bound:.3g} s after the fault"

    def oracle(history: History) -> list[Finding]:
        good = [
            o.ended
            for o in history.calls(*verbs, where=lambda o: o.good and path in (None, o.path))
            if o.ended is not None and (o.began if begun else o.ended) >= since
        ]
        end = since + bound
        first = min(good, default=None)
        if first is not None and first <= end + SLACK:
            return []
        seen = "none came" if first is None else f"the first came after {first - since:.2f} s"
        missed = None if first is None else first - end
        return [Finding(promise, seen, since, missed=missed, until=end)]

    return oracle


def writes_again(bound: float, *, since: float) -> Oracle:
    """Check that a good write ends at most `bound` seconds after reads are good again.

    The first write may fail: a client that must not repeat writes may lose it to a closed
    connection.
    """
    promise = f"a good write within {bound:.3g} s, once reads are good"

    def oracle(history: History) -> list[Finding]:
        tried = [w for w in history.calls("write", since=since) if w.ended is not None]
        good = min((w.ended or 0.0 for w in tried if w.good), default=None)
        end = since + bound
        if good is not None and good <= end + SLACK:
            return []
        told = {w.told for w in tried if w.failed}
        none = f"none of {len(tried)} was"
        none += f": {'; '.join(sorted(told)[:2])}" if told else ""
        seen = none if good is None else f"the first came after {good - since:.2f} s"
        missed = None if good is None else good - end
        return [Finding(promise, seen, since, missed=missed, until=end)]

    return oracle


def sees(value: str, path: str, *, since: float, within: float, verb: str | None = None) -> Oracle:
    """Check that a read of `path` gives the value of a label within `within` seconds."""
    promise = f"the new value of {path} is seen within {within:g} s"
    promise += "" if verb is None else f" ({verb})"
    verbs = READS if verb is None else (verb,)

    def oracle(history: History) -> list[Finding]:
        good = history.calls(*verbs, since=since, where=lambda o: o.good and o.path == path)
        first = next((o for o in good if o.value == value), None)
        end = since + within
        if first is not None and first.began <= end + SLACK:
            return []
        seen = f"{len(good)} good reads gave {', '.join(sorted({o.value or '' for o in good}))}"
        seen = seen if good else "there was no good read"
        missed: float | None = None
        if first is not None:
            missed = first.began - end
            seen = f"the first that gave it began {first.began - since:.2f} s after that"
        return [Finding(promise, seen, since, missed=missed, until=end)]

    return oracle


def fails_as(
    *outcomes: str,
    path: str | None = None,
    since: float = 0.0,
    until: float | None = None,
    verbs: tuple[str, ...] = READS,
) -> Oracle:
    """Check that all reads fail as one of these outcomes, or unclassified. A value is harm."""
    what = "a read" if path is None else f"a read of {path}"
    promise = f"{what} fails as {' or '.join(outcomes)}"

    def oracle(history: History) -> list[Finding]:
        calls = _reads(history, since, until, path, verbs)
        calls = [call for call in calls if call.outcome is not None]
        for call in calls:
            if call.failed and call.outcome in ("error", *outcomes):
                continue
            seen = f"gave {_value(call)}" if not call.failed else f"failed as {call.outcome}"
            text = f"a read {seen}" + (f": {call.message}" if call.message else "")
            return [Finding(promise, text, call.began, harm=not call.failed)]
        if not calls:
            return lacking(promise, "read that ended", since, until)
        return []

    return oracle


def failures_are(
    *outcomes: str,
    since: float = 0.0,
    until: float | None = None,
    path: str | None = None,
    verbs: tuple[str, ...] = READS,
    unsorted: bool = True,
    may_be_empty: bool = False,
    but: Callable[[Operation], bool] = lambda _: False,
) -> Oracle:
    """Check that all failures have these outcomes, except those that `but` accepts.

    Args:
        unsorted: Whether a failure that the subject does not classify passes.
    """
    promise = f"a failure then is {' or '.join(outcomes)}"
    allowed = {*outcomes, "error"} if unsorted else set(outcomes)

    def oracle(history: History) -> list[Finding]:
        failed = history.calls(
            *verbs,
            since=since,
            until=until,
            where=lambda o: o.failed and path in (None, o.path) and not but(o),
        )
        if not failed and not may_be_empty:
            return lacking(promise, "failure", since, until)
        wrong = [call for call in failed if call.outcome not in allowed]
        if not wrong:
            return []
        first = wrong[0]
        seen = f"{len(wrong)} of {len(failed)} were not ({times(wrong)}), "
        seen += f"the first is {first.told}"
        return [Finding(promise, seen, first.began)]

    return oracle


def failed_reads_at_most(
    count: int, *, since: float = 0.0, until: float | None = None, verbs: tuple[str, ...] = READS
) -> Oracle:
    """Check that at most `count` reads fail in that time."""
    promise = f"at most {count} read{'s' * (count != 1)} fail{'s' * (count == 1)}"

    def oracle(history: History) -> list[Finding]:
        calls = _reads(history, since, until, verbs=verbs)
        bad = [call for call in calls if call.failed]
        if not calls:
            return lacking(promise, "read", since, until)
        return _failed(promise, count, bad, f"{len(bad)} of {len(calls)}")

    return oracle


def failed_reads_of_each_caller_at_most(
    count: int, *, since: float = 0.0, until: float | None = None, at_rest: bool = False
) -> Oracle:
    """Check that at most `count` reads of each caller fail in that time.

    Args:
        at_rest: Whether to ignore a read that fails at once in a declared pause (``backoff_cap``).
    """
    promise = f"at most {count} read{'s' * (count != 1)} of each caller fail{'s' * (count == 1)}"

    def oracle(history: History) -> list[Finding]:
        calls = _reads(history, since, until)
        if not calls:
            return lacking(promise, "read", since, until)
        findings = []
        for caller in sorted({call.caller for call in calls}):
            own = [call for call in calls if call.caller == caller]
            bad = [
                call
                for call in own
                if call.failed and not (at_rest and _sends_nothing(history, call))
            ]
            name = f"{len(bad)} of {len(own)} by caller {caller}"
            findings += _failed(promise, count, bad, name)
        return findings

    return oracle


def _failed(promise: str, count: int, bad: list[Operation], which: str) -> list[Finding]:
    last = bad[-1].told if bad else ""
    seen = f"{which} did ({times(bad)}), the last: {last}"
    return too_many(promise, count, bad, seen, rests_on=None)


def _sends_nothing(history: History, call: Operation) -> bool:
    """Return whether a call fails at once without a request of its own.

    Other callers may ask in the same time: after a pause the client lets one caller ask.
    """
    if call.ended is None or call.ended - call.began >= OUT_OF_TIME:
        return False
    others = history.calls(
        *READS,
        until=call.ended,
        where=lambda o: o.caller != call.caller and (o.ended is None or o.ended >= call.began),
    )
    return len(history.find("read", since=call.began, until=call.ended)) <= len(others)


def says_of_its_health(*, well: bool, since: float, until: float | None = None) -> Oracle:
    """Check the subject's last answer about its health in that time.

    An error or a hang is a finding.
    """
    word = "well" if well else "not well"
    promise = f"health says {word} within that time"

    def oracle(history: History) -> list[Finding]:
        asked = [
            o for o in history.calls("health", since=since, until=until) if o.outcome is not None
        ]
        if not asked:
            return lacking(promise, "question for it", since, until)
        last = asked[-1]
        if last.outcome != "ok":
            return [Finding(promise, f"it ended {last.told}", last.began)]
        if (last.message == "well") == well:
            return []
        return [Finding(promise, f"it still said {last.message}", last.began)]

    return oracle


def health_is_answered() -> Oracle:
    """Check that every question for the subject's health is answered, even in an outage."""
    promise = "a question for its health is answered with yes or no"

    def oracle(history: History) -> list[Finding]:
        bad = history.calls("health", where=lambda o: o.failed)
        if not bad:
            return []
        seen = f"{len(bad)} were not ({times(bad)}), the first ended {bad[0].outcome}"
        seen += f": {bad[0].message}" if bad[0].message else ""
        return [Finding(promise, seen, bad[0].began, rests_on=())]

    return oracle


def stays_alive() -> Oracle:
    """Check that the subject's process, or its ability to be called, outlives every fault."""
    promise = STAYS_ALIVE

    def oracle(history: History) -> list[Finding]:
        dead = history.calls(where=lambda o: o.outcome == "died")
        return (
            [Finding(promise, f"it ended: {dead[0].message}", dead[0].began, rests_on=())]
            if dead
            else []
        )

    return oracle


def _asked(call: Operation) -> str:
    return f"{call.path} ({call.key})" if call.key else call.path


def _value(call: Operation) -> str:
    """Return the value's label, never the value."""
    if call.value == NOTHING:
        return "none of its keys"
    return (
        "a value that nobody ever wrote" if call.value == "unknown" else f"the value {call.value}"
    )


def _reads(
    history: History,
    since: float,
    until: float | None,
    path: str | None = None,
    verbs: tuple[str, ...] = READS,
) -> list[Operation]:
    return history.calls(*verbs, since=since, until=until, where=lambda o: path in (None, o.path))
