from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles import log_has_pauses, none_of, takes_at_most
from vault_harness.judge.oracles.measured import LINES, LINES_FOR_A_CALL
from vault_harness.recorder.history import SLACK


def test_nothing_of_it(story: Story) -> None:
    """All items are told in order."""
    assert story.finds(none_of("no leak", [])) == []
    (finding,) = none_of("no leak", {"b", "a"}, harm=True)(story.history)
    assert (finding.promise, finding.seen, finding.harm) == ("no leak", "a; b", True)


def test_when_it_was_seen(story: Story) -> None:
    """It is the earliest known time, or the time of judging."""
    (first,) = none_of("no leak", {"a": 7.0, "b": 3.0}, harm=True)(story.history)
    assert (first.at, first.seen, first.harm) == (3.0, "b; a", True)
    (known,) = none_of("no leak", {"a"}, at=5.0, rests_on=())(story.history)
    assert (known.at, known.rests_on) == (5.0, ())
    (unknown,) = none_of("no leak", {"a"})(story.history)
    assert unknown.at == pytest.approx(story.history.now(), abs=1.0)
    assert unknown.rests_on is None


def test_a_time_within_its_limit(story: Story) -> None:
    done = takes_at_most(5.0, "until it has ended", since=10.0, until=15.2)
    (finding,) = done(story.history)
    assert finding.seen == "5.20 seconds until it has ended"
    assert finding.promise == "at most 5 seconds until it has ended"
    assert finding.missed == pytest.approx(0.2 - SLACK)


# Lines of a log from 10 s to 20 s


def logged(story: Story, *lines: float) -> list[str]:
    return story.finds(log_has_pauses(lines, since=10.0, until=20.0))


def test_a_log_with_pauses(story: Story) -> None:
    assert logged(story) == []
    assert logged(story, *[5.0] * (2 * LINES)) == []
    assert logged(story, *[12.0] * LINES, *[13.1] * LINES) == []


def test_a_log_without_a_pause(story: Story) -> None:
    """Each call grants some lines, with a margin for lines that are seen late."""
    lines = [12.0] * int(1.2 * LINES)
    assert logged(story, *lines) == ["2400 lines in one second, 2000 are allowed"]
    for _ in range(2):
        story.call(11.0, 12.5)
    assert logged(story, *lines) == []
    most = LINES + 2 * LINES_FOR_A_CALL
    assert len(logged(story, *[12.0] * int(1.2 * most))) == 1
