"""The closing act's reads: a changed secret, a deleted secret, and an unread one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.closing import LABEL, PAUSE, Asking, _rotated_and_deleted
from vault_harness.judge.driver import Driver, ReadVerb
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.fault import Fault, Signature
from vault_harness.recorder.observations import Operation, Outcome

REFRESH, RECOVERY, DEADLINE = 5.0, 6.0, 2.0

MAIN, SPARE = "backend/django", "shared/email"

Answer = Callable[[float], tuple[Outcome, str | None]]
"""The outcome and value of a read, by the seconds since the act began."""


class Closer:
    """A client whose answers follow a timetable, a hundredth of a second each."""

    def __init__(self, story: Story, main: Answer, spare: Answer, whole: Answer | None) -> None:
        self._story, self._answers = story, {MAIN: main, SPARE: spare}
        self._whole = whole  # for `read_all`, if that differs
        self.began = story.history.now()
        self.reads = 0

    def ask(self, verb: str, path: str = MAIN, key: str = "") -> Operation:
        assert key in ("", "KEY")
        self.reads += 1
        now = self._story.history.now()
        answer = self._whole if verb == "read_all" and self._whole else self._answers[path]
        outcome, value = answer(now - self.began)
        self._story.history.started -= 0.01
        return self._story.call(now, now + 0.01, outcome, value=value, path=path, verb=verb)


def act(
    story: Story,
    *,
    main: Answer | None = None,
    spare: Answer | None = None,
    whole: Answer | None = None,
    verbs: Sequence[ReadVerb] = ("read",),
) -> list[Finding]:
    """Return what is found of a client that sees both changes after a second by default."""
    history = story.history

    def passes(seconds: float, *, what: str) -> None:
        assert what
        history.started -= seconds

    vars(history)["let_pass"] = passes  # the test moves the clock
    found: list[Finding] = []
    client = Closer(story, main or changes(1.0), spare or vanishes(1.0), whole)
    lab = SimpleNamespace(
        entry=SimpleNamespace(path=MAIN, key="KEY", spare_path=SPARE, spare_key="KEY"),
        history=history,
        refresh=REFRESH,
        recovery=RECOVERY,
        back_within=RECOVERY,
        deadline=DEADLINE,
        put=lambda _: None,
        delete=lambda _: None,
        leaves=lambda _: False,
        require=lambda *_: None,
        note=found.append,
    )
    _rotated_and_deleted(cast("Asking", lab), cast("Driver", client), verbs)
    return found


def changes(at: float) -> Answer:
    """Give the new value from this time on."""
    return lambda now: ("ok", LABEL if now >= at else "v1")


def vanishes(at: float, *, rests: float = 0.0, outcome: Outcome = "unavailable") -> Answer:
    """Give a value that is gone from this time on, after an initial rest without answers."""

    def answer(now: float) -> tuple[Outcome, str | None]:
        if now < rests:
            return outcome, None
        return ("ok", "seeded") if now < at else ("deleted", None)

    return answer


def test_changes_in_time(story: Story) -> None:
    assert act(story, main=changes(4.9), spare=vanishes(4.9)) == []


@pytest.mark.parametrize("late", [0.3, DEADLINE - 0.3])
def test_change_that_comes_too_late(story: Story, late: float) -> None:
    (found,) = act(story, main=changes(REFRESH + late))
    assert found.promise == "a rotated secret is seen within 5 s"
    assert found.seen.startswith("read told so only after ")
    assert found.missed == pytest.approx(late, abs=2 * PAUSE)


@pytest.mark.parametrize(
    ("main", "spare", "seen"),
    [
        (changes(99.0), None, "read still gives v1 after 7."),
        (None, vanishes(99.0), "read still gives seeded after 7."),
        (lambda now: ("unavailable", None) if now > 0.08 else ("ok", "v1"), None,
         "read still gives unavailable after 7."),
    ],
)  # fmt: skip
def test_change_that_never_comes(
    story: Story, main: Answer | None, spare: Answer | None, seen: str
) -> None:
    """It is not a matter of time."""
    (found,) = act(story, main=main, spare=spare)
    assert found.seen.startswith(seen)
    assert found.missed is None


@pytest.mark.parametrize(("until", "found"), [(RECOVERY - 1.0, 0), (99.0, 1)])
def test_reads_that_fail_in_turn(story: Story, until: float, found: int) -> None:
    """They may while the client recovers, and not afterwards."""
    turn = itertools.count()

    def main(now: float) -> tuple[Outcome, str | None]:
        if now < until and next(turn) % 2:
            return "unavailable", None
        return "ok", LABEL if now >= until + 1.0 else "v1"

    seen = act(story, main=main, spare=vanishes(until + 1.0))
    assert [one.promise for one in seen] == [
        "once reads are good again they go on: 6 in a row"
    ] * found
    assert all(one.seen.startswith("6 never were in 6.") for one in seen)


def test_secret_that_is_rested_for(story: Story) -> None:
    """After a fault, a client that served from memory may need the time of a recovery."""
    fault = Fault("the fault", Signature(), began=1.0)
    fault.ended = 4.0
    story.history.faults.append(fault)
    assert act(story, spare=vanishes(9.0, rests=RECOVERY - 0.5)) == []


def test_secret_that_is_rested_for_too_long(story: Story) -> None:
    (found,) = act(story, spare=vanishes(99.0, rests=RECOVERY + 0.5))
    assert found.promise == "a secret that nobody touched can be read"
    assert found.seen.startswith("read of shared/email ended unavailable, after 6.")
    assert found.missed is None


@pytest.mark.parametrize("outcome", ["hung", "died"])
def test_secret_that_breaks_its_client(story: Story, outcome: Outcome) -> None:
    """It hangs or kills, and is not tried again."""
    (found,) = act(story, spare=vanishes(99.0, rests=99.0, outcome=outcome))
    assert found.seen == f"read of shared/email ended {outcome}"


BOTH: tuple[ReadVerb, ...] = ("read", "read_all")


def test_whole_secrets_that_change_in_time(story: Story) -> None:
    assert act(story, verbs=BOTH) == []


def test_whole_secrets_that_stay(story: Story) -> None:
    """They are a finding even if their keys are new."""
    found = act(story, whole=lambda _: ("ok", "v1"), verbs=BOTH)
    assert [one.seen.partition(" after ")[0] for one in found] == ["read_all still gives v1"] * 2


@pytest.mark.parametrize(("rests", "found"), [(RECOVERY + REFRESH - 0.5, 0), (99.0, 1)])
def test_whole_secrets_that_cannot_be_had(story: Story, rests: float, found: int) -> None:
    """They are excused for the refresh time after recovery."""

    def whole(now: float) -> tuple[Outcome, str | None]:
        return ("denied", None) if now < rests else ("ok", "v1")

    seen = act(
        story, main=changes(rests + 1.0), spare=vanishes(rests + 1.0), whole=whole, verbs=BOTH
    )
    unread = [one.seen for one in seen if one.promise.startswith("once reads are good again")]
    assert len(unread) == found
    assert all(text.endswith("the last read_all ended denied") for text in unread)
