"""Collect what a scenario asks, and carry out the closing act, with which every scenario ends.

The client must see a rotated value and a deleted one, write, and report good health. Its close is
not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from secrets import token_hex

from vault_harness.judge import conditions
from vault_harness.judge.conditions import Condition, Sighting
from vault_harness.judge.driver import Driver, ReadVerb
from vault_harness.judge.oracles import Oracle
from vault_harness.judge.running import Running
from vault_harness.judge.servers import WRITTEN
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import SLACK
from vault_harness.recorder.observations import Operation


class Asking(Running):
    """Collects oracles, conditions and findings for the verdict of a running scenario."""

    def require(self, name: str, condition: Condition) -> None:
        """Add a condition that must be met for the verdict to mean anything.

        Otherwise the scenario is ``not exercised``, unless the subject broke a promise that does
        not depend on the condition.

        Args:
            condition: Returns a `Sighting`, the evidence as a text, or a bool.
        """
        self._conditions.append((name, condition))

    def must_have(
        self,
        *,
        renewals: int = 0,
        logins: int = 0,
        refused_readers: int = 0,
        versions: int = 0,
        since: float = 0.0,
    ) -> None:
        """`require` the usual conditions; each number is a minimum.

        Args:
            refused_readers: Different callers that had a read refused with 403.
            versions: Different values of one secret; the whole history counts.
        """
        wanted = {
            "renewal": (renewals, conditions.renewals),
            "login": (logins, conditions.logins),
            "refused reader": (refused_readers, conditions.readers_refused),
        }
        for what, (number, condition) in wanted.items():
            if number:
                self.require(_count(number, what), condition(number, since=since))
        if versions:
            self.require(_count(versions, "version"), conditions.versions_served(versions))

    def judge_later(self, *asked: Oracle) -> None:
        self._asked.extend(asked)

    def note(self, *found: Finding) -> None:
        self._findings.extend(found)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


LABEL = "closing"

ACT = "the closing act"

LATE = 1.0
"""Seconds after the last good read in which a client's late actions are seen."""

PAUSE = 0.1

IN_A_ROW = 6
"""Good reads in a row that each way of reading needs: a half-dead pool may answer one."""


def closing_act(lab: Asking, *, no_health: str = "", open_until: float = 0.0) -> None:
    """Carry out the closing act; findings and conditions go to the lab.

    `no_health` is a reason not to ask for the subject's health. `open_until` is the earliest moment
    to close the subject.
    """
    verbs: list[ReadVerb] = ["read", "read_cached"] if lab.can("cached") else ["read"]
    if lab.can("read_all"):
        verbs.append("read_all")  # often separate code
    client = lab.client
    lab.history.mark("closing act")
    steady = _rotated_and_deleted(lab, client, verbs)
    if steady and lab.can("write") and lab.may_write:
        _written(lab, client)
    if no_health:
        lab.history.mark(f"not asked for its health: {no_health}")
    elif lab.can("health"):
        _healthy(lab, client)
    lab.watch(max(0.0, open_until - lab.history.now()))
    for driver in lab.drivers:
        if not driver.closed:  # the last requests are judged, the close is not
            driver.close(timeout=5.0, beyond=0.0)


def _rotated_and_deleted(lab: Asking, client: Driver, verbs: Sequence[ReadVerb]) -> bool:
    """Check that all ways of reading see both changes; return whether they read before."""
    entry, since = lab.entry, lab.history.now()
    before = [_read_on(lab, client, verb, since) for verb in verbs]
    steady, begun = all(call.good for call in before), lab.history.now()
    spare = [_read_at_last(lab, client, verb, begun) for verb in verbs] if steady else []
    _require(
        lab,
        "both secrets had been read",
        all(call.good for call in (*before, *spare)),
        ", ".join(f"{o.verb} of {o.path} ended {o.outcome}" for o in (*before, *spare)),
    )
    if not steady:
        lab.note(_not_steady(next(call for call in before if not call.good), since))
        return False
    if not all(call.good for call in spare):
        lab.note(_not_read(next(call for call in spare if not call.good), begun))
        return False
    lab.put(LABEL)
    lab.delete(entry.spare_path)
    changed = lab.history.now()
    for verb in verbs:
        _see_the_new(lab, client, verb, changed)
    if lab.leaves("file"):
        lab.history.mark("what is deleted is not asked for: it leaves files behind, as it says")
        return True
    for verb in verbs:
        _see_it_gone(lab, client, verb, changed)
    return True


def _see_the_new(lab: Asking, client: Driver, verb: ReadVerb, changed: float) -> None:
    def new(call: Operation) -> bool:
        return call.value == LABEL

    last, late = _until(lab, lambda: client.ask(verb), new, since=changed)
    if late or not new(last):
        promise = f"a rotated secret is seen within {lab.refresh:g} s"
        due = changed + lab.refresh
        lab.note(_late(promise, last, changed, due, came=new(last)))


def _see_it_gone(lab: Asking, client: Driver, verb: ReadVerb, changed: float) -> None:
    path, key = lab.entry.spare_path, lab.entry.spare_key

    def gone(call: Operation) -> bool:
        return call.failed

    last, late = _until(lab, lambda: client.ask(verb, path, key), gone, since=changed)
    if late or not gone(last):
        promise = f"a deleted secret is gone within {lab.refresh:g} s"
        due = changed + lab.refresh
        lab.note(_late(promise, last, changed, due, came=gone(last)))
    elif last.outcome not in ("error", "deleted", "missing"):
        promise = "a deleted secret is reported as deleted or missing"
        text = f"as {last.told}"
        lab.note(Finding(promise, text, last.began, rests_on=()))


def _read_on(lab: Asking, client: Driver, verb: ReadVerb, since: float) -> Operation:
    """Read until `IN_A_ROW` good reads follow each other; return the last read, good or not."""
    history, bound = lab.history, _good_within(lab, verb)
    good = 0
    while True:
        last = client.ask(verb)
        good = good + 1 if last.good else 0
        over = since + bound + SLACK
        if good == IN_A_ROW or last.outcome in ("hung", "died"):
            return last
        if not last.good:
            if last.began > over:
                return last
            history.let_pass(PAUSE, what="the closing act")


def _read_at_last(lab: Asking, client: Driver, verb: ReadVerb, since: float) -> Operation:
    """Read a secret that may never have been read before; return the last try.

    A client that has answered from memory may still rest after an outage.
    """
    history, bound = lab.history, _good_within(lab, verb)
    while True:
        last = client.ask(verb, lab.entry.spare_path, lab.entry.spare_key)
        over = since + bound + SLACK
        if last.good or last.outcome in ("hung", "died") or last.began > over:
            return last
        history.let_pass(PAUSE, what="the closing act")


def _good_within(lab: Asking, verb: ReadVerb = "read") -> float:
    """In seconds: R more for a cache, which may hold what a fault taught it."""
    return max(lab.recovery, lab.back_within) + (0.0 if verb == "read" else lab.refresh)


def _not_steady(call: Operation, since: float) -> Finding:
    promise = f"once reads are good again they go on: {IN_A_ROW} in a row"
    took = (call.ended or call.began) - since
    seen = f"{IN_A_ROW} never were in {took:.1f} s; the last {call.verb} ended {call.told}"
    return Finding(promise, seen, since, rests_on=(), until=call.ended)


def _not_read(call: Operation, since: float) -> Finding:
    promise = "a secret that nobody touched can be read"
    seen = f"{call.verb} of {call.path} ended {call.told}"
    if call.began > since + PAUSE:
        seen = f"{seen}, after {call.began - since:.1f} s of tries"
    return Finding(promise, seen, since, rests_on=(), until=call.ended)


def _late(promise: str, last: Operation, changed: float, due: float, *, came: bool) -> Finding:
    took = last.began - changed
    if came:
        seen = f"{last.verb} told so only after {took:.1f} s"
        return Finding(
            promise, seen, changed, rests_on=(), missed=last.began - due, until=last.began
        )
    seen = f"{last.verb} still gives {last.value or last.outcome} after {took:.1f} s"
    return Finding(promise, seen, changed, rests_on=(), until=due)


def _until(
    lab: Asking,
    read: Callable[[], Operation],
    seen: Callable[[Operation], bool],
    *,
    since: float,
) -> tuple[Operation, bool]:
    """Read until a change is seen, or is late by more than a call's deadline.

    Return also whether an earlier read came too late and did not see the change.
    """
    history, late = lab.history, False
    while True:
        last = read()
        over = since + lab.refresh + SLACK
        if seen(last) or last.outcome == "died" or last.began > over + lab.deadline:
            return last, late
        late = late or last.began > over
        history.let_pass(PAUSE, what="the closing act")


def _written(lab: Asking, client: Driver) -> None:
    """Check that a write succeeds: writes often use a pool, circuit or token of their own.

    There are several tries, since a client must not blindly repeat a write.
    """
    history, bound, since = lab.history, _good_within(lab), lab.history.now()
    while True:
        value = f"canary-written-{token_hex(16)}"
        lab.secrets.add("written", value)
        last = client.write(WRITTEN, {"entry": value})
        if last.good:
            return
        over = since + bound + SLACK
        if last.outcome in ("hung", "died") or last.began > over:
            break
        history.let_pass(PAUSE, what="the closing act")
    promise = "a write is good again once reads are"
    seen = f"none was for {(last.ended or last.began) - since:.1f} s; the last ended {last.told}"
    lab.note(Finding(promise, seen, since, rests_on=(), until=last.ended))


def _healthy(lab: Asking, client: Driver) -> None:
    since, bound = lab.history.now(), _good_within(lab)
    well = client.healthy()
    while not well and lab.history.now() < since + bound and not client.closed:
        lab.history.let_pass(PAUSE, what="the closing act")
        well = client.healthy()
    if not well:
        seen = f"it says not well for {lab.history.now() - since:.1f} s while reads work"
        lab.note(Finding("health tells the truth", seen, since, rests_on=()))


def _require(lab: Asking, what: str, met: bool, text: str) -> None:
    lab.require(f"{ACT}: {what}", lambda _: Sighting(met, "it was so" if met else text))
