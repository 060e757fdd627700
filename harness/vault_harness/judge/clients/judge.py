"""Judge a published client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vault_harness.judge.clients.client import Client
from vault_harness.judge.report.formats import Score
from vault_harness.judge.report.score import Change, changes, score_of

QUIET_RUNS = 5
"""Runs that a published verdict rests on if the first run is no pass."""

_SAYS = {"pass", "fail", "flaky"}
"""Verdicts on the client; other words are none."""


def broken_down(run: Mapping[str, Any]) -> list[str]:
    """Return the scenarios that ended with an error of the harness."""
    return sorted(str(one["id"]) for one in run["scenarios"] if one["word"] == "error")


def proved_nothing(score: Score, published: Score | None = None) -> bool:
    """Return whether a run says nothing about the client, because no fault touched it.

    This happens if its adapter does not start. Scenarios with the published verdict do not count.
    """
    known = {} if published is None else published.scenarios
    words = {
        one.verdict
        for id, one in score.scenarios.items()  # noqa: A001 - it is one
        if id not in known or known[id].verdict != one.verdict
    }
    said = {one.verdict for one in score.scenarios.values()} & _SAYS
    return "not exercised" in words and not said


def score_of_client(client: Client, run: Mapping[str, Any]) -> Score:
    """Return the score of a run under the client's name, since its command names a machine."""
    score = score_of(run)
    named = score.client.model_copy(update={"subject": f"clients {client.name}"})
    return score.model_copy(update={"client": named})


def differences(client: Client, published: Score, new: Score) -> list[Change]:
    """Return the verdicts that differ from the published ones, except flaky ones."""
    return [
        change
        for change in changes(published, new)
        if change.old in _SAYS
        and change.new in _SAYS
        and not client.differs(change.id, published.scenarios[change.id].verdict)
    ]
