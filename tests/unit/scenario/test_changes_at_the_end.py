"""The closing act's reads: of what is new, of what is gone, and of what nobody has read yet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.faults import Fault, Signature
from vault_harness.scenario._asking import Asking
from vault_harness.scenario.closing import LABEL, PAUSE, _rotated_and_deleted
from vault_harness.scenario.driver import Driver, Way
from vault_harness.scenario.observations import Operation, Outcome, Stall, Starved
from vault_harness.scenario.verdict import Finding, decide

REFRESH, RECOVERY, DEADLINE = 5.0, 6.0, 2.0

MAIN, SPARE = "backend/django", "shared/email"

Answer = Callable[[float], tuple[Outcome, str | None]]
"""What a read ends with, by the seconds since the act began."""


class Closer:
    """A client whose answers follow a timetable; each of them takes a hundredth of a second."""

    def __init__(self, story: Story, main: Answer, spare: Answer, whole: Answer | None) -> None:
        self._story, self._answers = story, {MAIN: main, SPARE: spare}
        self._whole = whole  # of both, where it is another answer
        self.began = story.history.now()
        self.reads = 0

    def ask(self, way: str, path: str = MAIN, key: str = "") -> Operation:
        """A call on the history's clock."""
        assert key in ("", "KEY")
        self.reads += 1
        now = self._story.history.now()
        answer = self._whole if way == "read_all" and self._whole else self._answers[path]
        outcome, value = answer(now - self.began)
        self._story.history.started -= 0.01
        return self._story.call(now, now + 0.01, outcome, value=value, path=path, verb=way)


def act(
    story: Story,
    *,
    main: Answer | None = None,
    spare: Answer | None = None,
    whole: Answer | None = None,
    ways: Sequence[Way] = ("read",),
) -> list[Finding]:
    """What the two changes find of a client that sees them after a second, unless it is told."""
    history = story.history

    def passes(seconds: float, *, what: str) -> None:
        assert what
        history.started -= seconds

    vars(history)["let_pass"] = passes  # its clock is moved by hand here
    found: list[Finding] = []
    client = Closer(story, main or changes(1.0), spare or vanishes(1.0), whole)
    lab = SimpleNamespace(
        entry=SimpleNamespace(path=MAIN, key="KEY", spare_path=SPARE, spare_key="KEY"),
        history=history,
        refresh=REFRESH,
        recovery=RECOVERY,
        recovery_after=lambda _: RECOVERY,
        deadline=DEADLINE,
        put=lambda _: None,
        delete=lambda _: None,
        leaves=lambda _: False,
        require=lambda *_: None,
        note=found.append,
    )
    _rotated_and_deleted(cast("Asking", lab), cast("Driver", client), ways)
    return found


def changes(at: float) -> Answer:
    """The new value from then on."""
    return lambda now: ("ok", LABEL if now >= at else "v1")


def vanishes(at: float, *, rests: float = 0.0, outcome: Outcome = "unavailable") -> Answer:
    """A value that is gone from then on; before that nothing for as long as the client rests."""

    def answer(now: float) -> tuple[Outcome, str | None]:
        if now < rests:
            return outcome, None
        return ("ok", "seeded") if now < at else ("deleted", None)

    return answer


def test_changes_in_time(story: Story) -> None:
    """Both are seen just within the refresh time."""
    assert act(story, main=changes(4.9), spare=vanishes(4.9)) == []


@pytest.mark.parametrize("late", [0.3, DEADLINE - 0.3])
def test_change_that_comes_too_late(story: Story, late: float) -> None:
    """It is told by how much it missed its bound, which a machine that stood still may explain."""
    (found,) = act(story, main=changes(REFRESH + late))
    assert found.promise == "a rotated secret is seen within 5 s"
    assert found.seen.startswith("read told so only after ")
    assert not found.lacks
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
    """No stall of a few milliseconds has made that; a client without a core may have been late."""
    (found,) = act(story, main=main, spare=spare)
    assert found.seen.startswith(seen)
    since = found.at or 0.0
    stalls = [Stall(since + 1.0, 0.04)]
    assert decide([found], stalls=stalls, longest_stall=1.0).word == "fail"
    starved = [Starved(since, since + REFRESH, 0.5 * REFRESH)]
    assert decide([found], starved=starved, longest_stall=1.0).word == "not exercised"


@pytest.mark.parametrize(("until", "found"), [(RECOVERY - 1.0, 0), (99.0, 1)])
def test_reads_that_fail_in_turn(story: Story, until: float, found: int) -> None:
    """Half of a pool that is dead may be found out for a while, and is no steady state after it."""
    turn = itertools.count()

    def main(now: float) -> tuple[Outcome, str | None]:
        if now < until and next(turn) % 2:
            return "unavailable", None
        return "ok", LABEL if now >= until + 1.0 else "v1"

    seen = act(story, main=main, spare=vanishes(until + 1.0))
    assert [one.promise for one in seen] == [
        "once reads are good again they go on: 6 in a row"
    ] * found
    assert all(one.seen.startswith("6 never were in 6.") and one.lacks for one in seen)


def test_secret_that_is_rested_for(story: Story) -> None:
    """A client that answers from memory shows no rest before; it has it here."""
    fault = Fault("the fault", Signature(), began=1.0)
    fault.ended = 4.0
    story.history.faults.append(fault)
    assert act(story, spare=vanishes(9.0, rests=RECOVERY - 0.5)) == []


def test_secret_that_is_rested_for_too_long(story: Story) -> None:
    """It is what lacks, from the first try on."""
    (found,) = act(story, spare=vanishes(99.0, rests=RECOVERY + 0.5))
    assert found.promise == "a secret that nobody touched can be read"
    assert found.seen.startswith("read of shared/email ended unavailable, after 6.")
    assert (found.missed, found.lacks) == (None, True)


@pytest.mark.parametrize("outcome", ["hung", "died"])
def test_secret_that_breaks_its_client(story: Story, outcome: Outcome) -> None:
    """It is not tried again."""
    (found,) = act(story, spare=vanishes(99.0, rests=99.0, outcome=outcome))
    assert found.seen == f"read of shared/email ended {outcome}"


BOTH: tuple[Way, ...] = ("read", "read_all")


def test_whole_secrets_that_change_in_time(story: Story) -> None:
    """They are asked for as each key is."""
    assert act(story, ways=BOTH) == []


def test_whole_secrets_that_stay(story: Story) -> None:
    """Each key is seen to change, and whoever asks for all of them has what was there before."""
    found = act(story, whole=lambda _: ("ok", "v1"), ways=BOTH)
    assert [one.seen.partition(" after ")[0] for one in found] == ["read_all still gives v1"] * 2
    assert [one.lacks for one in found] == [True, True]


@pytest.mark.parametrize(("rests", "found"), [(RECOVERY + REFRESH - 0.5, 0), (99.0, 1)])
def test_whole_secrets_that_cannot_be_had(story: Story, rests: float, found: int) -> None:
    """What is remembered of a fault is for R after it; then there is no such excuse."""

    def whole(now: float) -> tuple[Outcome, str | None]:
        return ("denied", None) if now < rests else ("ok", "v1")

    seen = act(
        story, main=changes(rests + 1.0), spare=vanishes(rests + 1.0), whole=whole, ways=BOTH
    )
    unread = [one.seen for one in seen if one.promise.startswith("once reads are good again")]
    assert len(unread) == found
    assert all(text.endswith("the last read_all ended denied") for text in unread)
