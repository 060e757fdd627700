"""What may be late as a client begins: what it loads once, and who waits for that."""

from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.scenario._running import slow_at_first


@pytest.mark.parametrize(
    ("ended", "let_off"),
    [
        pytest.param((2.5, 0.3, 0.3), [0], id="the first, beside others"),
        pytest.param((0.3, 2.5, 0.3), [1], id="any of those that began together"),
        pytest.param((3.0, 3.1, 3.2), [0, 1, 2], id="all, which waited for the same"),
        pytest.param((0.3, 2.5, 4.5), [1], id="no second one, as nothing was loaded for all"),
        pytest.param((2.5, 4.0, 6.0), [0, 1], id="nobody who had a deadline more after it"),
        pytest.param((0.3, 0.4, 0.5), [], id="nobody who was in time"),
    ],
)
def test_calls_that_begin_together(
    story: Story, ended: tuple[float, ...], let_off: list[int]
) -> None:
    """Three at the start, with 2 s each."""
    calls = [story.call(0.0, at) for at in ended]
    assert [calls.index(one) for one in slow_at_first(calls, 2.0)] == let_off


def test_call_that_begins_when_all_is_loaded(story: Story) -> None:
    """It is late for another reason."""
    calls = [story.call(0.0, 2.5), story.call(2.6, 5.0)]
    assert slow_at_first(calls, 2.0) == calls[:1]
