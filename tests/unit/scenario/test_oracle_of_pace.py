"""The standing oracle on loops without a pause."""

from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles.standing import FOR_A_CALL, OF_ITS_OWN, loops_have_pauses

SINCE = 10.0


def looks(story: Story, count: int, since: float = SINCE) -> None:
    """Add so many lookups, evenly within 0.9 s."""
    story.several("lookup", *(since + 0.9 * number / count for number in range(count)))


@pytest.mark.parametrize(("more", "found"), [(0, 0), (1, 1)])
def test_of_its_own(story: Story, more: int, found: int) -> None:
    """Without calls, a client has a fixed number of requests a second."""
    looks(story, OF_ITS_OWN + more)
    assert len(story.finds(loops_have_pauses())) == found


def test_when_it_is_too_much(story: Story) -> None:
    """The time is that of the last request that was too much."""
    looks(story, OF_ITS_OWN)
    looks(story, 1, SINCE + 0.95)
    (finding,) = loops_have_pauses()(story.history)
    assert finding.at == pytest.approx(SINCE + 0.95, abs=0.01)


def test_what_is_spread_over_several_seconds(story: Story) -> None:
    for second in range(10):
        looks(story, OF_ITS_OWN // 2, SINCE + 1.1 * second)
    assert story.finds(loops_have_pauses()) == []


@pytest.mark.parametrize(("more", "found"), [(0, 0), (1, 1)])
def test_for_calls(story: Story, more: int, found: int) -> None:
    """Each call that runs in that second grants some more requests."""
    story.call(SINCE - 3.0, SINCE + 1.0)
    story.call(SINCE + 0.1, SINCE + 2.0, verb="health", path="")
    story.call(SINCE - 2.0, SINCE - 1.0)  # ended before that second
    looks(story, OF_ITS_OWN + 2 * FOR_A_CALL + more)
    assert len(story.finds(loops_have_pauses())) == found


def test_several_clients(story: Story) -> None:
    """Each instance and each fork has the same number."""
    story.call(1.0, verb="start", path="")
    story.call(2.0, verb="start", path="")
    story.call(3.0, verb="fork", path="")
    looks(story, 3 * OF_ITS_OWN)
    assert story.finds(loops_have_pauses()) == []
    looks(story, 1, SINCE + 0.05)
    assert len(story.finds(loops_have_pauses())) == 1


def test_secrets_that_are_kept(story: Story) -> None:
    """They may be refreshed without a call."""
    for number in range(5):
        story.sent("read", 1.0, path=f"ecommerce/data/backend/{number}")
    looks(story, OF_ITS_OWN + 5)
    assert story.finds(loops_have_pauses()) == []


def test_what_vault_asks_for(story: Story) -> None:
    """A 429 with `Retry-After: 0` grants the next request."""
    for number in range(2 * OF_ITS_OWN):
        at = SINCE + 0.02 * number
        story.sent("read", at, 429, retry_after=0.0, ended=at + 0.01)
    assert story.finds(loops_have_pauses()) == []


def test_the_finding_names_number_limit_and_kinds(story: Story) -> None:
    looks(story, 60)
    (seen,) = story.finds(loops_have_pauses())
    assert seen.startswith("60 requests in one second, 20 are allowed: 60 lookup: lookup +10.00")
