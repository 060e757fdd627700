"""The closing act's reads: of what is new, of what is gone, and of what nobody has read yet."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.faults import Fault, Signature
from vault_harness.scenario._asking import Asking
from vault_harness.scenario.closing import LABEL, PAUSE, _rotated_and_deleted
from vault_harness.scenario.driver import Driver
from vault_harness.scenario.observations import Operation, Outcome, Stall, Starved
from vault_harness.scenario.verdict import Finding, decide

REFRESH, RECOVERY, DEADLINE = 5.0, 6.0, 2.0

MAIN, SPARE = "backend/django", "shared/email"

Answer = Callable[[float], tuple[Outcome, str | None]]
"""What a read ends with, by the seconds since the act began."""


class Closer:
    """A client whose answers follow a timetable; each of them takes a hundredth of a second."""

    def __init__(self, story: Story, main: Answer, spare: Answer) -> None:
        self._story, self._answers = story, {MAIN: main, SPARE: spare}
        self.began = story.history.now()
        self.reads = 0

    def read(self, path: str = MAIN, key: str = "", *, verb: str = "read") -> Operation:
        """A call on the history's clock."""
        assert key in ("", "KEY")
        self.reads += 1
        now = self._story.history.now()
        outcome, value = self._answers[path](now - self.began)
        self._story.history.started -= 0.01
        return self._story.call(now, now + 0.01, outcome, value=value, path=path, verb=verb)


def act(story: Story, *, main: Answer | None = None, spare: Answer | None = None) -> list[Finding]:
    """What the two changes find of a client that sees them after a second, unless it is told."""
    history = story.history

    def passes(_: object, seconds: float, *, what: str) -> bool:
        assert what
        history.started -= seconds
        return False

    vars(history)["wait_for"] = passes  # its clock is moved by hand here
    found: list[Finding] = []
    client = Closer(story, main or changes(1.0), spare or vanishes(1.0))
    lab = SimpleNamespace(
        entry=SimpleNamespace(spare_path=SPARE, spare_key="KEY"),
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
    _rotated_and_deleted(cast("Asking", lab), cast("Driver", client), ["read"])
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
        (lambda now: ("unavailable", None) if now > 0.02 else ("ok", "v1"), None,
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
