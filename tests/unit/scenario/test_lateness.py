from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Stall


@pytest.mark.parametrize(
    ("since", "until", "longest"),
    [
        (0.0, None, 0.4),
        (0.0, 9.9, 0.0),
        (10.2, 10.3, 0.3),  # within the first stall
        (10.31, 11.9, 0.0),
        (11.0, 20.0, 0.4),
    ],
)
def test_lateness_is_the_longest_stall(
    story: Story, since: float, until: float | None, longest: float
) -> None:
    """Only stalls that touch the time."""
    story.history.stalls += [Stall(10.0, 0.3), Stall(12.0, 0.4)]
    assert story.history.lateness(since, until) == longest


# Late writers


def test_frozen_history_takes_nothing(story: Story) -> None:
    history = story.history
    running = story.call(1.0, outcome=None)
    open_request = story.sent("read", 1.0, None, ended=None)
    history.freeze()
    history.end_operation(running, "ok", value="v9")
    open_request.status = 200
    history.end_exchange(open_request)
    history.end_operation(history.begin_operation("read"), "ok")
    history.begin_exchange(1, "GET", "p", "read")
    history.mark("late")
    history.note_connection()
    assert [o.outcome for o in history.operations] == [None]
    assert [e.status for e in history.exchanges] == [None]
    assert (history.marks, history.connections) == ([], [])


def test_clocks_agree() -> None:
    assert abs(History().clock_gap()) < 1.0
