"""Oracles on what the callers of the client see."""

from __future__ import annotations

from collections.abc import Callable, Collection

from vault_harness.scenario.history import History
from vault_harness.scenario.observations import BESIDE, NOTHING, Operation
from vault_harness.scenario.oracles._base import HANDOVER, Oracle, lacking, times
from vault_harness.scenario.oracles._first_calls import LOADS, late_by_loading
from vault_harness.scenario.verdict import Finding

READS = ("read", "read_cached")

EVERY_WAY = (*READS, "read_all")
"""All ways of reading, that of a whole secret too."""

OUT_OF_TIME = 0.5
"""Seconds from which a read that failed is taken for one that waited in vain: a hundred times what
a read takes.
"""

STAYS_ALIVE = "the client stays alive"
"""The promise of who ends by no fault."""

TIMED = (*EVERY_WAY, "write", "update", "lease")
"""Verbs that every scenario judges here; those of `_standing` have bounds of their own."""


def no_wrong_value(
    *,
    refresh: float = 0.0,
    stale_for: float | None = None,
    fallback: Collection[tuple[str, str]] = (),
) -> Oracle:
    """Every value handed out was the right one, now or at most `refresh` seconds before the call.

    It holds for a client that hands out nothing: that it does is for other oracles to ask. A value
    that was never this key's (another secret's, another key's, the fallback, half of one) is harm;
    one that is only out of its time is not.

    Args:
        refresh: How old a value may be that is not marked stale.
        stale_for: How old one may be that is; None for any age.
        fallback: For which secrets and keys the value of the environment variable is right too.
    """
    promise = "no wrong value is ever handed out"

    def right(history: History, operation: Operation, age: float | None) -> set[str]:
        changes = [r for r in history.rotations if r.path == operation.path]
        since = float("-inf")
        if age is not None:
            since = operation.began - age
            since -= history.slack(since, operation.began) if age else 0.0
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
        # A first read may be late (`warm-up`), and what it gives has to be right all the same.
        for operation in history.calls(*EVERY_WAY, "warm-up"):
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
                        # A whole secret that lacks its keys is as good as one that nobody wrote.
                        harm=any((operation.path, value) not in own for value in given),
                    )
                )
        return findings

    return oracle


def of_one_version(path: str) -> Oracle:
    """Whatever was handed out of a whole secret is of one version, and of all its keys.

    Args:
        path: The secret.
    """
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
    """No read, write, update or lease takes longer than the client's total deadline.

    `HANDOVER` is granted beyond it, and what the machine was late by; once, to who has just
    started, `LOADS` too.
    """
    promise = f"every call ends within {deadline:g} s"

    def oracle(history: History) -> list[Finding]:
        findings = []
        loading = late_by_loading(history, TIMED, deadline + HANDOVER)
        for operation in history.calls(*TIMED):
            ended = operation.ended if operation.ended is not None else history.now()
            taken = ended - operation.began
            loads = LOADS if operation in loading else 0.0
            over = taken - deadline - loads - HANDOVER - history.slack(operation.began, ended)
            if operation.outcome == "hung" or over > 0:
                word = "had not ended" if operation.outcome in ("hung", None) else "ended only"
                what = f"{operation.verb} of {operation.path}"
                findings.append(
                    Finding(
                        promise,
                        f"{what} {word} after {taken:.2f} s",
                        operation.began,
                        rests_on=(),
                        missed=max(over, 0.0) if operation.outcome != "hung" else None,
                        until=ended,
                    )
                )
        return findings

    return oracle


def no_failed_read(
    *,
    since: float = 0.0,
    until: float | None = None,
    path: str | None = None,
    may_be_empty: bool = False,
    but: Callable[[Operation], bool] = lambda _: False,
) -> Oracle:
    """No read fails in that time.

    Args:
        since: When it begins.
        until: When it ends.
        path: Of reads of this path only.
        may_be_empty: Whether it holds where nobody read then.
        but: Says which reads may.
    """
    promise = "no read fails" if path is None else f"no read of {path} fails"

    def oracle(history: History) -> list[Finding]:
        calls = _reads(history, since, until, path)
        bad = [call for call in calls if call.failed and not but(call)]
        if not calls and not may_be_empty:
            return lacking(promise, "read", since, until)
        if not bad:
            return []
        first = bad[0]
        said = f": {first.message}" if first.message else ""
        text = f"{len(bad)} of {len(calls)} failed ({times(bad)}), "
        text += f"the first as {first.outcome}{said}"
        # One that ran out of time may have done so because the machine stood still.
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
    """A good read ends at most `bound` seconds after `since`, without a restart.

    Args:
        bound: Seconds.
        since: When the fault was over.
        path: Reads of this secret only.
        verb: In this way of reading; by default one of them is enough.
        begun: Only reads that began after `since` too, for a fault that goes on: one that was on
            its way may have been answered before it.
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
        if first is not None and first <= end + history.slack(since, end):
            return []
        seen = "none came" if first is None else f"the first came after {first - since:.2f} s"
        missed = None if first is None else first - end
        return [Finding(promise, seen, since, missed=missed, until=end, lacks=missed is None)]

    return oracle


def writes_again(bound: float, *, since: float) -> Oracle:
    """A good write ends at most `bound` seconds after `since`, when reads are good already.

    Args:
        bound: Seconds. A client that must not repeat a write may lose one to a connection that is
            no more, so the first one need not be it.
        since: From when on writes are tried, again and again.
    """
    promise = f"a good write within {bound:.3g} s, once reads are good"

    def oracle(history: History) -> list[Finding]:
        tried = [w for w in history.calls("write", since=since) if w.ended is not None]
        good = min((w.ended or 0.0 for w in tried if w.good), default=None)
        end = since + bound
        if good is not None and good <= end + history.slack(since, end):
            return []
        told = {w.told for w in tried if w.failed}
        none = f"none of {len(tried)} was"
        none += f": {'; '.join(sorted(told)[:2])}" if told else ""
        seen = none if good is None else f"the first came after {good - since:.2f} s"
        missed = None if good is None else good - end
        return [Finding(promise, seen, since, missed=missed, until=end, lacks=missed is None)]

    return oracle


def sees(value: str, path: str, *, since: float, within: float, verb: str | None = None) -> Oracle:
    """A read of `path` gives the value of that label at most `within` seconds after `since`.

    Args:
        value: The label.
        path: The secret.
        since: When it changed, or could be read again.
        within: Seconds.
        verb: In this way of reading; in any, if None.
    """
    promise = f"the new value of {path} is seen within {within:g} s"
    promise += "" if verb is None else f" ({verb})"
    verbs = READS if verb is None else (verb,)

    def oracle(history: History) -> list[Finding]:
        good = history.calls(*verbs, since=since, where=lambda o: o.good and o.path == path)
        first = next((o for o in good if o.value == value), None)
        end = since + within
        if first is not None and first.began <= end + history.slack(since, end):
            return []
        seen = f"{len(good)} good reads gave {', '.join(sorted({o.value or '' for o in good}))}"
        seen = seen if good else "there was no good read"
        missed: float | None = None
        if first is not None:
            missed = first.began - end
            seen = f"the first that gave it began {first.began - since:.2f} s after that"
        return [Finding(promise, seen, since, missed=missed, until=end, lacks=missed is None)]

    return oracle


def fails_as(
    *outcomes: str,
    path: str | None = None,
    since: float = 0.0,
    until: float | None = None,
    verbs: tuple[str, ...] = READS,
    may_be_empty: bool = False,
) -> Oracle:
    """Reads of that time all fail, with one of these outcomes, as far as the subject tells.

    Args:
        outcomes: The right ones. A failure that the subject does not classify is right too.
        path: Reads of this path; of any, if None.
        since: When it begins.
        until: When it ends.
        verbs: In these ways of reading.
        may_be_empty: Whether it holds where no read has ended.
    """
    what = "a read" if path is None else f"a read of {path}"
    promise = f"{what} fails as {' or '.join(outcomes)}"

    def oracle(history: History) -> list[Finding]:
        calls = _reads(history, since, until, path, verbs)
        calls = [call for call in calls if call.outcome is not None]
        for call in calls:
            if call.failed and call.outcome in ("error", *outcomes):
                continue  # `error` is a failure that the subject does not classify
            seen = f"gave {_value(call)}" if not call.failed else f"failed as {call.outcome}"
            text = f"a read {seen}" + (f": {call.message}" if call.message else "")
            return [Finding(promise, text, call.began, harm=not call.failed)]
        if not calls and not may_be_empty:
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
    """Whatever fails in that time fails with one of these outcomes.

    Args:
        outcomes: The right ones.
        since: When it begins.
        until: When it ends.
        path: Of calls for this path only.
        verbs: Of these verbs.
        unsorted: Whether a failure that the subject does not classify is right too.
        may_be_empty: Whether it holds where nothing failed: a cache may hide a fault from callers.
        but: Says of which calls it is left open how they fail.
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
    count: int,
    *,
    since: float = 0.0,
    until: float | None = None,
    each_caller: bool = False,
    at_rest: bool = False,
    may_be_empty: bool = False,
    verbs: tuple[str, ...] = READS,
) -> Oracle:
    """At most so many reads fail in that time.

    Args:
        count: How many may.
        since: When it begins.
        until: When it ends.
        each_caller: Whether they are counted for each caller by itself.
        at_rest: Whether one is let off that fails at once and sends no read: the client gives Vault
            a rest after a failure, and has said for how long (``backoff_cap``).
        may_be_empty: Whether it holds where nobody read then.
        verbs: In which ways of reading.
    """
    who = " of each caller" if each_caller else ""
    promise = f"at most {count} read{'s' * (count != 1)}{who} fail{'s' * (count == 1)}"

    def oracle(history: History) -> list[Finding]:
        calls = _reads(history, since, until, verbs=verbs)
        if not calls and not may_be_empty:
            return lacking(promise, "read", since, until)
        findings = []
        for caller in sorted({call.caller for call in calls}) if each_caller else [None]:
            own = [call for call in calls if caller in (None, call.caller)]
            bad = [
                call
                for call in own
                if call.failed and not (at_rest and _sends_nothing(history, call))
            ]
            if len(bad) > count:
                name = "" if caller is None else f" by caller {caller}"
                seen = f"{len(bad)} of {len(own)}{name} did ({times(bad)})"
                seen += f", the last: {bad[-1].told}"
                findings.append(Finding(promise, seen, bad[count].began))
        return findings

    return oracle


def _sends_nothing(history: History, call: Operation) -> bool:
    """Whether a call ends at once, and no more reads are sent meanwhile than others call.

    When the rest is over one of them may ask, and all others are still turned away.
    """
    if call.ended is None or call.ended - call.began >= OUT_OF_TIME:
        return False
    others = history.calls(
        *READS,
        until=call.ended,
        where=lambda o: o.caller != call.caller and (o.ended is None or o.ended >= call.began),
    )
    return len(history.find("read", since=call.began, until=call.ended)) <= len(others)


def says_of_its_health(
    *, well: bool, since: float, until: float | None = None, may_be_empty: bool = False
) -> Oracle:
    """The last answer of the subject's health in that time is this one.

    A question that is not answered (an error, a hang) is neither yes nor no: that is a finding.

    Args:
        well: What it should say.
        since: When it begins.
        until: When it ends.
        may_be_empty: Whether it holds where nobody asked.
    """
    word = "well" if well else "not well"
    promise = f"health says {word} within that time"

    def oracle(history: History) -> list[Finding]:
        asked = [
            o for o in history.calls("health", since=since, until=until) if o.outcome is not None
        ]
        if not asked:
            return [] if may_be_empty else lacking(promise, "question for it", since, until)
        last = asked[-1]
        if last.outcome != "ok":
            return [Finding(promise, f"it ended {last.told}", last.began)]
        if (last.message == "well") == well:
            return []
        return [Finding(promise, f"it still said {last.message}", last.began)]

    return oracle


def health_is_answered() -> Oracle:
    """Whoever asks for the subject's health gets an answer, in an outage too.

    It holds where nobody asked.
    """
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
    """The subject's process, or its ability to be called, outlives every fault."""
    promise = STAYS_ALIVE

    def oracle(history: History) -> list[Finding]:
        dead = history.calls(where=lambda o: o.outcome == "died")
        return (
            [Finding(promise, f"it ended: {dead[0].message}", dead[0].began, harm=True)]
            if dead
            else []
        )

    return oracle


def _asked(call: Operation) -> str:
    """Which secret, and which key of it."""
    return f"{call.path} ({call.key})" if call.key else call.path


def _value(call: Operation) -> str:
    """What it gave, by its label; never the value."""
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
