"""The standing oracle on what is said not to be there, and is: no outage is an absence.

An application that is told so goes on with a default, makes a new key, or removes what it had.
"""

from __future__ import annotations

from math import inf

from vault_harness.faults import Fault
from vault_harness.scenario.history import History
from vault_harness.scenario.observations import GONE, Exchange, Operation, Rotation
from vault_harness.scenario.oracles._base import HANDOVER, Oracle, times
from vault_harness.scenario.oracles._callers import EVERY_WAY
from vault_harness.scenario.verdict import Finding

ABSENT = ("missing", "deleted")
"""How a call ends that says of a secret, or of its key, that Vault has none."""

Had = dict[tuple[str, str, str], float]
"""When a value was first handed out: by path, key and label."""


def no_false_absence(*, refresh: float = 0.0) -> Oracle:
    """No caller is told of a secret that is there that it is missing, or deleted.

    It is there where Vault has it, and somebody was given that version of it, by the same key. If
    it was away before, that may be remembered for as long as a value, and a standby may have it
    later: then it counts once it was seen, and `refresh` seconds after it came. What Vault itself
    says in the moment in which it is sealed or opened is not the client's, and may be remembered
    too: OpenBao takes a namespace's mounts away before it says that it is sealed.

    Args:
        refresh: How long an absence may be remembered.
    """
    promise = "what is there is never called missing or deleted"

    def oracle(history: History) -> list[Finding]:
        calls = history.calls(*EVERY_WAY, "warm-up")
        written = {call.path for call in history.calls("write", "update")}  # by the client itself
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
    """Whether Vault had, for as long as a call lasted, what that says to be away."""
    ended = history.now() if call.ended is None else call.ended
    changes = [one for one in history.rotations if one.path == call.path and one.at <= ended]
    over = [n for n, one in enumerate(changes) if one.done is not None and one.done <= call.began]
    if not over:
        return False
    then = changes[over[-1] :]  # what was right when it began, and whatever came meanwhile
    seen = [had.get((call.path, call.key, one.value)) for one in then]
    if None in seen or any(one.value == GONE for one in then):
        return False
    if _was_there(changes[: over[-1] + 1], call, absent):
        return True
    since = then[0].done or 0.0
    remembered = since + refresh + history.slack(since, since + refresh)
    return (seen[0] or inf) < call.began and call.began > remembered


def _was_there(changes: list[Rotation], call: Operation, absent: list[Operation]) -> bool:
    """Whether it was there before it changed last, and nobody was told otherwise by then."""
    if len(changes) < 2 or changes[-2].value == GONE:
        return False
    came = changes[-1].at
    return not any(
        (one.path, one.key) == (call.path, call.key) and one.began < came for one in absent
    )


def _vaults_own(history: History, call: Operation, refresh: float) -> bool:
    """Whether Vault said so while it turned from one state to another, as may be remembered."""
    since = call.began - refresh
    since -= history.slack(since, call.began) if refresh else 0.0
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
    """Whether a fault began or was over while an answer was made, or next to that."""
    began = answer.began - HANDOVER
    ended = (inf if answer.ended is None else answer.ended) + HANDOVER
    return any(at is not None and began <= at <= ended for at in (fault.began, fault.ended))
