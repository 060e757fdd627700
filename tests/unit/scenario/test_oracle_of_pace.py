"""The standing oracle on loops without a pause: who is busy, and who is beside himself."""

from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.scenario.oracles._pace import FOR_A_CALL, OF_ITS_OWN, loops_have_pauses

SINCE = 10.0


def looks(story: Story, count: int, since: float = SINCE) -> None:
    """So many looks at a token, evenly, in nine tenths of a second."""
    story.several("lookup", *(since + 0.9 * number / count for number in range(count)))


def test_silence(story: Story) -> None:
    """Nothing is sent, and nothing is too much."""
    assert story.finds(loops_have_pauses()) == []


@pytest.mark.parametrize(("more", "found"), [(0, 0), (1, 1)])
def test_of_its_own(story: Story, more: int, found: int) -> None:
    """Whoever calls, and with nobody who calls: one more is one too many."""
    looks(story, OF_ITS_OWN + more)
    assert len(story.finds(loops_have_pauses())) == found


def test_when_it_is_too_much(story: Story) -> None:
    """What is too much is the last one: a second that begins before a fault may end in it."""
    looks(story, OF_ITS_OWN)
    looks(story, 1, SINCE + 0.95)
    (finding,) = loops_have_pauses()(story.history)
    assert finding.at == pytest.approx(SINCE + 0.95, abs=0.01)


def test_what_is_spread_over_several_seconds(story: Story) -> None:
    """It counts by the second: ten times as much in ten of them is none of that."""
    for second in range(10):
        looks(story, OF_ITS_OWN // 2, SINCE + 1.1 * second)
    assert story.finds(loops_have_pauses()) == []


@pytest.mark.parametrize(("more", "found"), [(0, 0), (1, 1)])
def test_for_calls(story: Story, more: int, found: int) -> None:
    """Each that goes on in that second grants some more, however long ago it began."""
    story.call(SINCE - 3.0, SINCE + 1.0)
    story.call(SINCE + 0.1, SINCE + 2.0, verb="health", path="")
    story.call(SINCE - 2.0, SINCE - 1.0)  # over by then
    looks(story, OF_ITS_OWN + 2 * FOR_A_CALL + more)
    assert len(story.finds(loops_have_pauses())) == found


def test_several_clients(story: Story) -> None:
    """Instances, and children, have as much each."""
    story.call(1.0, verb="start", path="")
    story.call(2.0, verb="start", path="")
    story.call(3.0, verb="fork", path="")
    looks(story, 3 * OF_ITS_OWN)
    assert story.finds(loops_have_pauses()) == []
    looks(story, 1, SINCE + 0.05)
    assert len(story.finds(loops_have_pauses())) == 1


def test_secrets_that_are_kept(story: Story) -> None:
    """What was read before and is asked for by nobody now may be kept fresh."""
    for number in range(5):
        story.sent("read", 1.0, path=f"ecommerce/data/backend/{number}")
    looks(story, OF_ITS_OWN + 5)
    assert story.finds(loops_have_pauses()) == []


def test_what_vault_asks_for(story: Story) -> None:
    """A quota that says to wait for no second at all asks for the next request."""
    for number in range(2 * OF_ITS_OWN):
        at = SINCE + 0.02 * number
        story.sent("read", at, 429, retry_after=0.0, ended=at + 0.01)
    assert story.finds(loops_have_pauses()) == []


def test_what_is_told(story: Story) -> None:
    """How many, how many are allowed, and which they are."""
    looks(story, 60)
    (seen,) = story.finds(loops_have_pauses())
    assert seen.startswith("60 requests in one second, 20 are allowed: 60 lookup: lookup +10.00")
