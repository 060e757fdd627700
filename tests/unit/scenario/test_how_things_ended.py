from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.errors import SubjectDied
from vault_harness.judge.driver import LETTERS_OF_A_START, in_a_line, redacted
from vault_harness.judge.subjects import OperationFailed
from vault_harness.recorder.observations import Outcome
from vault_harness.recorder.secrets import Secrets


@pytest.mark.parametrize(
    ("outcome", "message", "told"),
    [("unavailable", "sealed", "unavailable: sealed"), ("stale", "", "stale")],
)
def test_call_that_ended(story: Story, outcome: Outcome, message: str, told: str) -> None:
    """Without a message there is no colon."""
    assert story.call(1.0, outcome=outcome, message=message).told == told


def test_a_start_that_ends_with_a_long_trace() -> None:
    """The remedy is kept."""
    trace = "\n".join(f"    at com.example.Client.read(Client.java:{n})" for n in range(40))
    error = SubjectDied("it ended", looked_at=f"its log:\n{trace}", remedy="end its lines by LF")
    told = redacted(Secrets(), in_a_line(error), LETTERS_OF_A_START)
    assert told.startswith("it ended (what to do: end its lines by LF; looked at: its log: at com.")
    assert (len(told), told[-4:]) == (LETTERS_OF_A_START + 4, " ...")


def test_error_in_a_line() -> None:
    error = SubjectDied("it ended", looked_at="its output, which ends:\na\nb", remedy="look there")
    assert in_a_line(error) == (
        "it ended (what to do: look there; looked at: its output, which ends: a b)"
    )
    assert in_a_line(SubjectDied("it ended")) == "it ended"
    assert in_a_line(OperationFailed(None, "no such verb")) == "failed: no such verb"
