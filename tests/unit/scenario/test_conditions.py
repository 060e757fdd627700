"""Conditions of a scenario, on both sides of each bound."""

from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge import conditions
from vault_harness.judge.conditions import Condition, Sighting, look


def met(story: Story, condition: Condition) -> bool:
    return look("c", condition, story.history).met


def test_renewals(story: Story) -> None:
    story.several("renew", 1.0, 2.0)
    story.several("renew", 3.0, status=500)
    assert met(story, conditions.renewals(2))
    assert not met(story, conditions.renewals(3))
    assert not met(story, conditions.renewals(2, since=1.5))


def test_logins(story: Story) -> None:
    story.several("login", 1.0)
    story.several("login", 2.0, status=400)
    assert met(story, conditions.logins(1))
    assert not met(story, conditions.logins(2))


def readers(story: Story, *callers: int) -> None:
    """Add a read by each caller, from 1.0 s to 2.0 s."""
    for caller in callers:
        story.call(1.0, 2.0).caller = caller


def test_each_refusal_is_for_one_reader(story: Story) -> None:
    readers(story, 1, 2, 3)
    story.several("read", 1.1, 1.2, status=403)
    assert met(story, conditions.readers_refused(2))
    assert not met(story, conditions.readers_refused(3))


def test_one_reader_that_is_refused_often(story: Story) -> None:
    readers(story, *[1] * 10)
    story.several("read", *[1.1] * 10, status=403)
    assert met(story, conditions.readers_refused(1))
    assert not met(story, conditions.readers_refused(2))


def test_a_refusal_outside_of_a_call_counts_for_no_caller(story: Story) -> None:
    readers(story, 1)
    story.several("read", 0.5, 2.5, status=403)
    assert not met(story, conditions.readers_refused(1))


def test_versions_served(story: Story) -> None:
    """Different fresh values of one secret count."""
    story.call(1.0, value="v1")
    story.call(2.0, value="other", path="backend/redis")
    story.call(2.5, value="v0", outcome="stale")
    assert not met(story, conditions.versions_served(2))
    story.call(3.0, value="v2")
    assert met(story, conditions.versions_served(2))


def test_an_empty_history_meets_no_condition(story: Story) -> None:
    for condition in (
        conditions.renewals(1),
        conditions.readers_refused(1),
        conditions.versions_served(1),
    ):
        assert not met(story, condition)


@pytest.mark.parametrize(
    ("found", "is_met", "text"),
    [
        (True, True, "c"),
        ("two of them", True, "c: two of them"),
        (False, False, "c: not seen"),
        (None, False, "c: not seen"),
        ("", False, "c: not seen"),
        (Sighting(True, "2"), True, "c: 2"),
        (Sighting(False, "1 of 2"), False, "c: not seen, 1 of 2"),
        (
            Sighting(False, "1 of 2", too_slow=True),
            False,
            "this machine is too slow: c: not seen, 1 of 2",
        ),
    ],
)
def test_what_a_condition_may_say(
    story: Story, found: Sighting | str | bool | None, is_met: bool, text: str
) -> None:
    """It may return a bool, the evidence, or both."""
    seen = look("c", lambda _: found, story.history)
    assert (seen.met, seen.text) == (is_met, text)
