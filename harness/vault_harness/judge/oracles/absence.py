"""The standing oracle on false absence: an outage must not look like a missing secret.

An application that believes it continues with a default, makes a new key, or deletes its data.
"""

from __future__ import annotations

from math import inf

from vault_harness.judge.oracles.base import HANDOVER, Oracle, times
from vault_harness.judge.oracles.callers import READ_VERBS
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.history import SLACK, History
from vault_harness.recorder.observations import GONE, Exchange, Operation, Rotation

ABSENT = ("missing", "deleted")
"""Outcomes of a call that says that Vault does not have a secret or its key."""

Had = dict[tuple[str, str, str], float]
"""When a value was first handed out, by path, key and label."""


def no_false_absence(*, refresh: float = 0.0) -> Oracle:
    """Check that no secret that exists is called missing or deleted.

    A secret exists if Vault has it and a caller was given that version of it by the same key. If it
    was away before, it must also have been known for `refresh` seconds. Clients may remember the
    absence, and a standby may get the secret later.

    Answers of Vault itself while it is sealed or opened are excused: OpenBao removes a namespace's
    mounts before it says that it is sealed.

    Args:
        refresh: Seconds for which an absence may be remembered.
    """
    promise = "what is there is never called missing or deleted"

    def oracle(history: History) -> list[Finding]:
        calls = history.calls(*READ_VERBS, "warm-up")
        written = {call.path for call in history.calls("write", "update")}
        had: Had = {}
        for call in calls:
            if call.good and call.ended is not None:
                value = (call.path, call.key, call.value or "")
                had[value] = min(had.get(value, inf), call.ended)
        absent = [call for call in calls if call.outcome in ABSENT and call.path not in written]
        wrong = [
            call
            for call in absent
            if _is_there(history, call, had, absent, refresh)
            and not _vaults_own(history, call, refresh)
        ]
        if not wrong:
            return []
        first = wrong[0]
        text = f"{len(wrong)} reads of what was there were told so ({times(wrong)}), the first a "
        text += f"{first.verb} of {first.path}: {first.told}"
        return [Finding(promise, text, first.began, rests_on=())]

    return oracle


def _is_there(
    history: History, call: Operation, had: Had, absent: list[Operation], refresh: float
) -> bool:
    """Return whether Vault had the secret for the whole time of a call that reported it absent."""
    ended = history.now() if call.ended is None else call.ended
    changes = [one for one in history.rotations if one.path == call.path and one.at <= ended]
    over = [n for n, one in enumerate(changes) if one.done is not None and one.done <= call.began]
    if not over:
        return False
    then = changes[over[-1] :]  # the version at the start of the call, and all that came during it
    seen = [had.get((call.path, call.key, one.value)) for one in then]
    if None in seen or any(one.value == GONE for one in then):
        return False
    if _was_there(changes[: over[-1] + 1], call, absent):
        return True
    since = then[0].done or 0.0
    remembered = since + refresh + SLACK
    return (seen[0] or inf) < call.began and call.began > remembered


def _was_there(changes: list[Rotation], call: Operation, absent: list[Operation]) -> bool:
    """Return whether the secret existed before its last change and no caller heard otherwise."""
    if len(changes) < 2 or changes[-2].value == GONE:
        return False
    came = changes[-1].at
    return not any(
        (one.path, one.key) == (call.path, call.key) and one.began < came for one in absent
    )


def _vaults_own(history: History, call: Operation, refresh: float) -> bool:
    """Return whether Vault gave this answer while its state changed, as may be remembered."""
    since = call.began - refresh
    since -= SLACK if refresh else 0.0
    return any(
        _turns(fault, answer)
        for answer in history.find("read", since=since, until=call.ended)
        if answer.status == 404
        and answer.by == "vault"
        and answer.interference is None
        and answer.path.endswith(f"/{call.path}")
        for fault in history.faults
    )


def _turns(fault: Fault, answer: Exchange) -> bool:
    """Return whether a fault began or ended during an answer, or within `HANDOVER` of it."""
    began = answer.began - HANDOVER
    ended = (inf if answer.ended is None else answer.ended) + HANDOVER
    return any(at is not None and began <= at <= ended for at in (fault.began, fault.ended))
