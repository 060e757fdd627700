"""What is asked in every scenario, on both sides of each bound."""

from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.scenario.history import GRAIN
from vault_harness.scenario.observations import Stall
from vault_harness.scenario.oracles import HANDOVER
from vault_harness.scenario.oracles.standing import (
    CLOSE_BOUND,
    TWINS,
    closes_well,
    one_renewal_at_a_time,
    verbs_end_in_time,
)
from vault_harness.scenario.verdict import decide

# Deadlines of the other verbs


@pytest.mark.parametrize(("verb", "bound"), [("health", 2.0), ("close", 2.0 + CLOSE_BOUND)])
def test_verb_ends_in_time(story: Story, verb: str, bound: float) -> None:
    """Up to the bound, the time of handing over and the grain, and no further."""
    story.call(1.0, 1.0 + bound + HANDOVER, verb=verb, path="")
    assert story.finds(verbs_end_in_time(2.0)) == []
    story.call(10.0, 10.0 + bound + HANDOVER + GRAIN + 0.1, verb=verb, path="")
    (seen,) = story.finds(verbs_end_in_time(2.0))
    assert seen.startswith(f"{verb} ended only after ")


def test_verb_that_hung(story: Story) -> None:
    """However soon it was given up."""
    story.call(1.0, 1.5, "hung", verb="health", path="")
    assert story.finds(verbs_end_in_time(2.0)) == ["health had not ended after 0.5 s"]


def test_verb_that_hung_while_the_machine_hardly_stood_still(story: Story) -> None:
    """It was given up, not late: no stall of a few milliseconds has made that of it."""
    story.call(1.0, 1.5, "hung", verb="close", path="")
    found = verbs_end_in_time(2.0)(story.history)
    assert decide(found, stalls=[Stall(1.2, 0.01)], longest_stall=1.0).word == "fail"


def test_verb_on_a_machine_that_stood_still(story: Story) -> None:
    """What the machine took is granted."""
    story.history.stalls.append(Stall(1.5, 0.5))
    story.call(1.0, 3.4, verb="health", path="")
    assert story.finds(verbs_end_in_time(2.0)) == []


def test_close_that_fails(story: Story) -> None:
    """A clean end is one."""
    story.call(1.0, verb="close", path="")
    assert story.finds(closes_well()) == []
    story.call(2.0, outcome="error", verb="close", path="", message="boom")
    assert story.finds(closes_well()) == ["close ended error: boom"]


# One renewal at a time


def renewal(story: Story, began: float, ended: float | None, status: int | None = 200) -> None:
    """Of the same token."""
    story.sent("renew", began, status, ended=ended, token="token-1")


def test_renewals_one_after_the_other(story: Story) -> None:
    """As it should be."""
    renewal(story, 1.0, 1.01)
    renewal(story, 1.01 + TWINS + 0.01, 1.1)
    assert story.finds(one_renewal_at_a_time()) == []


@pytest.mark.parametrize(("ended", "second"), [(1.5, 1.2), (None, 3.0), (1.01, 1.01 + TWINS / 2)])
def test_two_renewals_in_flight(story: Story, ended: float | None, second: float) -> None:
    """One began before the other ended, or in the same moment."""
    renewal(story, 1.0, ended)
    renewal(story, second, second + 0.01)
    assert len(story.finds(one_renewal_at_a_time())) == 1


def test_renewal_tried_again_at_once(story: Story) -> None:
    """The first one was refused."""
    renewal(story, 1.0, 1.01, 500)
    renewal(story, 1.011, 1.02)
    assert story.finds(one_renewal_at_a_time()) == []


@pytest.mark.parametrize("second", [2.2 + TWINS / 2, 2.2 - TWINS / 2])
def test_renewal_that_hung_asked_for_again_at_once(story: Story, second: float) -> None:
    """Vault granted it, the client gave it up, and its next connection came close to that end."""
    renewal(story, 1.0, 2.2)
    story.history.exchanges[-1].closed = "client"
    renewal(story, second, second + 0.01)
    assert story.finds(one_renewal_at_a_time()) == []


def test_renewal_asked_for_again_long_before_the_first_is_given_up(story: Story) -> None:
    """Two are in flight, however the first one ends."""
    renewal(story, 1.0, 2.2)
    story.history.exchanges[-1].closed = "client"
    renewal(story, 2.2 - 2 * TWINS - GRAIN, 2.3)
    assert len(story.finds(one_renewal_at_a_time())) == 1


def test_renewal_whose_answer_was_lost_asked_for_again_at_once(story: Story) -> None:
    """The connection ended under it."""
    renewal(story, 1.0, 1.01)
    story.history.exchanges[-1].closed = "server"
    renewal(story, 1.011, 1.02)
    assert story.finds(one_renewal_at_a_time()) == []


def test_renewals_of_two_tokens(story: Story) -> None:
    """Two instances may renew together."""
    renewal(story, 1.0, 1.5)
    story.sent("renew", 1.1, 200, token="token-2")
    assert story.finds(one_renewal_at_a_time()) == []
