"""The closing act's write: of who says that it can, and as soon after a fault as a read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.scenario._asking import Asking
from vault_harness.scenario._secrets import Secrets
from vault_harness.scenario._servers import WRITTEN
from vault_harness.scenario.closing import _written
from vault_harness.scenario.driver import Driver
from vault_harness.scenario.observations import Operation, Outcome
from vault_harness.scenario.verdict import Finding

RECOVERY = 3.0


class Writer:
    """A client whose writes end so until that many seconds are over, and well from then on."""

    def __init__(self, story: Story, until: float, outcome: Outcome) -> None:
        self._story, self._until, self._outcome = story, until, outcome
        self._since = story.history.now()
        self.written: list[str] = []

    def write(self, path: str, data: dict[str, str]) -> Operation:
        """A call of a hundredth of a second on the history's clock."""
        assert path == WRITTEN
        self.written.extend(data.values())
        now = self._story.history.now()
        well = now - self._since >= self._until
        self._story.history.started -= 0.01
        outcome: Outcome = "ok" if well else self._outcome
        return self._story.call(now, now + 0.01, outcome, path=path, verb="write")


def written(
    story: Story, *, until: float, outcome: Outcome = "unavailable"
) -> tuple[list[Finding], Writer]:
    """What is found of a client that does not write before so many seconds are over."""
    history = story.history

    def passes(seconds: float, *, what: str) -> None:
        assert what
        history.started -= seconds

    vars(history)["let_pass"] = passes  # its clock is moved by hand here
    found: list[Finding] = []
    client = Writer(story, until, outcome)
    lab = SimpleNamespace(
        history=history,
        recovery=RECOVERY,
        recovery_after=lambda _: RECOVERY,
        secrets=Secrets(),
        note=found.append,
    )
    _written(cast("Asking", lab), cast("Driver", client))
    assert all(lab.secrets.label(one) for one in client.written), "each is known before it is sent"
    return found, client


def test_one_write_is_enough(story: Story) -> None:
    """Who writes at once is asked once."""
    found, client = written(story, until=0.0)
    assert (found, len(client.written)) == ([], 1)


def test_first_one_may_be_lost(story: Story) -> None:
    """It is tried again, with another value, until the bound on recovery."""
    found, client = written(story, until=RECOVERY - 0.2)
    assert found == []
    assert len(set(client.written)) == len(client.written) > 2


def test_none_is_good(story: Story) -> None:
    """It is said for how long none was."""
    (found,) = written(story, until=99.0, outcome="denied")[0]
    assert found.promise == "a write is good again once reads are"
    assert found.seen.startswith("none was for 3.")
    assert found.seen.endswith("the last ended denied")
    assert found.lacks


@pytest.mark.parametrize("outcome", ["hung", "died"])
def test_write_that_breaks_its_client(story: Story, outcome: Outcome) -> None:
    """It is not tried again."""
    found, client = written(story, until=99.0, outcome=outcome)
    assert (len(found), len(client.written)) == (1, 1)
