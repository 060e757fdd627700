from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.closing import Asking, _written
from vault_harness.judge.driver import Driver
from vault_harness.judge.servers import WRITTEN
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.observations import Operation, Outcome
from vault_harness.recorder.secrets import Secrets

RECOVERY = 3.0


class Writer:
    """A client whose writes end with this outcome, and are good after so many seconds."""

    def __init__(self, story: Story, until: float, outcome: Outcome) -> None:
        self._story, self._until, self._outcome = story, until, outcome
        self._since = story.history.now()
        self.written: list[str] = []

    def write(self, path: str, data: dict[str, str]) -> Operation:
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
    """Return what is found of a client that cannot write for so many seconds."""
    history = story.history

    def passes(seconds: float, *, what: str) -> None:
        assert what
        history.started -= seconds

    vars(history)["let_pass"] = passes  # the test moves the clock
    found: list[Finding] = []
    client = Writer(story, until, outcome)
    lab = SimpleNamespace(
        history=history,
        recovery=RECOVERY,
        back_within=RECOVERY,
        secrets=Secrets(),
        note=found.append,
    )
    _written(cast("Asking", lab), cast("Driver", client))
    assert all(lab.secrets.label(one) for one in client.written), "each is known before it is sent"
    return found, client


def test_one_write_is_enough(story: Story) -> None:
    found, client = written(story, until=0.0)
    assert (found, len(client.written)) == ([], 1)


def test_first_one_may_be_lost(story: Story) -> None:
    """It is tried with another value, until the bound on recovery."""
    found, client = written(story, until=RECOVERY - 0.2)
    assert found == []
    assert len(set(client.written)) == len(client.written) > 2


def test_none_is_good(story: Story) -> None:
    """The finding tells for how long."""
    (found,) = written(story, until=99.0, outcome="denied")[0]
    assert found.promise == "a write is good again once reads are"
    assert found.seen.startswith("none was for 3.")
    assert found.seen.endswith("the last ended denied")


@pytest.mark.parametrize("outcome", ["hung", "died"])
def test_write_that_breaks_its_client(story: Story, outcome: Outcome) -> None:
    """It hangs or kills, and is not tried again."""
    found, client = written(story, until=99.0, outcome=outcome)
    assert (len(found), len(client.written)) == (1, 1)
