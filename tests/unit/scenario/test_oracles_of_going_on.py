"""The oracle on callers that are served again and again."""

from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.scenario.oracles import Oracle, reads_go_on

PATH = "backend/django"


def asked() -> Oracle:
    """Four seconds, from 10 s to 20 s."""
    return reads_go_on(4.0, since=10.0, until=20.0, path=PATH)


def test_reads_that_go_on(story: Story) -> None:
    """Four seconds from one to the next, and not a moment more."""
    story.calls(13.9, 17.8)
    assert story.finds(asked()) == []


@pytest.mark.parametrize(
    ("began", "said"),
    [
        ([], "none came for 10.00 s, from +10.00 s on"),
        ([14.5, 18.0], "none came for 4.51 s, from +10.00 s on"),
        ([12.0, 16.5], "none came for 4.50 s, from +12.01 s on"),
        ([12.0, 15.0], "none came for 4.99 s, from +15.01 s on"),
    ],
)
def test_waits_that_are_too_long(story: Story, began: list[float], said: str) -> None:
    """At the begin, in between, at the end, and all the time."""
    story.calls(*began)
    assert story.finds(asked()) == [said]


def test_what_is_no_good_read_of_that_secret(story: Story) -> None:
    """Failures and another secret's reads keep nobody going."""
    story.calls(12.0, 15.0, 18.0, outcome="unavailable")
    for at in (12.0, 15.0, 18.0):
        story.call(at, path="backend/celery")
    assert story.finds(asked()) == ["none came for 10.00 s, from +10.00 s on"]
