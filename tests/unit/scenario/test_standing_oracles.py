"""The standing oracles, on both sides of each bound."""

from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles import HANDOVER
from vault_harness.judge.oracles.standing import TWINS, health_ends_within, one_renewal_at_a_time
from vault_harness.recorder.history import SLACK

# Health


def test_health_ends_in_time(story: Story) -> None:
    """It has the deadline and the time of the handover."""
    story.call(1.0, 3.0 + HANDOVER, verb="health", path="")
    assert story.finds(health_ends_within(2.0)) == []
    story.call(10.0, 12.0 + HANDOVER + SLACK + 0.1, verb="health", path="")
    (seen,) = story.finds(health_ends_within(2.0))
    assert seen.startswith("health ended only after ")


def test_health_that_hung(story: Story) -> None:
    """The finding has no lateness."""
    story.call(1.0, 1.5, "hung", verb="health", path="")
    (found,) = health_ends_within(2.0)(story.history)
    assert (found.seen, found.missed) == ("health had not ended after 0.5 s", None)


# One renewal at a time


def renewal(story: Story, began: float, ended: float | None, status: int | None = 200) -> None:
    story.sent("renew", began, status, ended=ended, token="token-1")


def test_renewals_one_after_the_other(story: Story) -> None:
    renewal(story, 1.0, 1.01)
    renewal(story, 1.01 + TWINS + 0.01, 1.1)
    assert story.finds(one_renewal_at_a_time()) == []


@pytest.mark.parametrize(("ended", "second"), [(1.5, 1.2), (None, 3.0), (1.01, 1.01 + TWINS / 2)])
def test_two_renewals_in_flight(story: Story, ended: float | None, second: float) -> None:
    renewal(story, 1.0, ended)
    renewal(story, second, second + 0.01)
    assert len(story.finds(one_renewal_at_a_time())) == 1


def test_renewal_tried_again_at_once(story: Story) -> None:
    renewal(story, 1.0, 1.01, 500)
    renewal(story, 1.011, 1.02)
    assert story.finds(one_renewal_at_a_time()) == []


@pytest.mark.parametrize("second", [2.2 + TWINS / 2, 2.2 - TWINS / 2])
def test_renewal_that_hung_asked_for_again_at_once(story: Story, second: float) -> None:
    """The repetition is close to its end."""
    renewal(story, 1.0, 2.2)
    story.history.exchanges[-1].closed = "client"
    renewal(story, second, second + 0.01)
    assert story.finds(one_renewal_at_a_time()) == []


def test_renewal_asked_for_again_long_before_the_first_is_given_up(story: Story) -> None:
    renewal(story, 1.0, 2.2)
    story.history.exchanges[-1].closed = "client"
    renewal(story, 2.2 - 2 * TWINS - SLACK, 2.3)
    assert len(story.finds(one_renewal_at_a_time())) == 1


def test_renewal_whose_answer_was_lost_asked_for_again_at_once(story: Story) -> None:
    renewal(story, 1.0, 1.01)
    story.history.exchanges[-1].closed = "server"
    renewal(story, 1.011, 1.02)
    assert story.finds(one_renewal_at_a_time()) == []


def test_renewals_of_two_tokens(story: Story) -> None:
    """They may overlap."""
    renewal(story, 1.0, 1.5)
    story.sent("renew", 1.1, 200, token="token-2")
    assert story.finds(one_renewal_at_a_time()) == []
