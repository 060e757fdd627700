from __future__ import annotations

import pytest

from vault_harness.judge.oracles import STAYS_ALIVE
from vault_harness.judge.run import leave_the_harm
from vault_harness.judge.verdict import Finding, Verdict

LATE = Finding("renewed in time", "it came late", 2.0)
DEAD = Finding(STAYS_ALIVE, "it ended", 2.0, rests_on=())
WRONG = Finding("no wrong value", "half of one", 3.0, harm=True)


def test_harm_is_what_counts() -> None:
    """Other findings may come from the short lives."""
    verdict = Verdict("fail", [LATE, DEAD, WRONG])
    leave_the_harm(verdict)
    assert (verdict.word, verdict.findings, verdict.why) == ("fail", [WRONG], "half of one")
    assert [one.finding for one in verdict.set_aside] == [LATE, DEAD]


@pytest.mark.parametrize("findings", [[], [LATE], [LATE, DEAD]])
def test_without_harm_it_is_as_it_was(findings: list[Finding]) -> None:
    """The run will be repeated with longer lives."""
    verdict = Verdict("fail" if findings else "pass", list(findings))
    leave_the_harm(verdict)
    assert (verdict.findings, verdict.set_aside) == (findings, [])
