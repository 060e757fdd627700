"""Oracles on what a lab counts by itself."""

from __future__ import annotations

from tests.unit.scenario.conftest import Story
from vault_harness.scenario.oracles import (
    at_most,
    none_of,
)


def test_nothing_of_it(story: Story) -> None:
    """Nothing is nothing; anything is a finding, in a fixed order."""
    assert story.finds(none_of("no leak", [])) == []
    (finding,) = none_of("no leak", {"b", "a"}, harm=True)(story.history)
    assert (finding.promise, finding.seen, finding.harm) == ("no leak", "a; b", True)


def test_a_number_within_its_limit(story: Story) -> None:
    """The limit itself is granted."""
    assert story.finds(at_most(2, 2, "tokens alive")) == []
    (finding,) = at_most(2, 3, "tokens alive")(story.history)
    assert (finding.promise, finding.seen) == ("at most 2 tokens alive", "3 tokens alive")
