"""How a call ended, in words for a verdict: one line, with all that is known and nothing empty."""

from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.errors import SubjectDied
from vault_harness.scenario.driver import in_a_line
from vault_harness.scenario.observations import Outcome
from vault_harness.subjects import OperationFailed


@pytest.mark.parametrize(
    ("outcome", "message", "told"),
    [("unavailable", "sealed", "unavailable: sealed"), ("stale", "", "stale")],
)
def test_call_that_ended(story: Story, outcome: Outcome, message: str, told: str) -> None:
    """Who says nothing of it leaves no colon behind."""
    assert story.call(1.0, outcome=outcome, message=message).told == told


def test_error_in_a_line() -> None:
    """Three sentences, told apart; what a process logged last is put into the line."""
    error = SubjectDied("it ended", looked_at="its output, which ends:\na\nb", remedy="look there")
    assert in_a_line(error) == (
        "it ended (looked at: its output, which ends: a b; what to do: look there)"
    )
    assert in_a_line(SubjectDied("it ended")) == "it ended"
    assert in_a_line(OperationFailed(None, "no such verb")) == "failed: no such verb"
