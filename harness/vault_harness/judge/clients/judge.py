"""Judge a published client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vault_harness.judge.clients.client import Client
from vault_harness.judge.record import leaks_of_others
from vault_harness.judge.report.formats import Score
from vault_harness.judge.report.score import Change, changes, score_of

AGAIN = 3
"""Further runs of a scenario after a first run that is no pass."""

_SAYS = {"pass", "fail", "flaky"}
"""Verdicts on the client; other words are none."""


def to_settle(journal: Mapping[str, Any]) -> list[str]:
    """Return the scenarios that must run again."""
    words = {"fail", "flaky", "not exercised", "error"}
    return sorted(str(one["id"]) for one in journal["scenarios"] if one["word"] in words)


def broken_down(first: Mapping[str, Any], again: Mapping[str, Any] | None = None) -> list[str]:
    """Return the scenarios whose last run ended with an error of the harness."""
    last = {
        str(one["id"]): one["word"]
        for run in (first, again or {})
        for one in run.get("scenarios", [])
    }
    return sorted(id for id, word in last.items() if word == "error")  # noqa: A001


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


def settled(
    client: Client, first: Mapping[str, Any], again: Mapping[str, Any] | None = None
) -> Score:
    """Return the score of a run and of its repetition.

    Args:
        client: Its name replaces the command, which differs between machines.
        again: The journal of the repetition: `to_settle`, `AGAIN` times each.
    """
    repeated = {str(one["id"]): one for one in again["scenarios"]} if again else {}
    records = [
        _both(one, repeated[str(one["id"])]) if str(one["id"]) in repeated else one
        for one in first["scenarios"]
    ]
    score = score_of({**first, "scenarios": records})
    named = score.client.model_copy(update={"subject": f"clients {client.name}"})
    return score.model_copy(update={"client": named})


def _both(first: Mapping[str, Any], again: Mapping[str, Any]) -> Mapping[str, Any]:
    of_both = leaks_of_others(
        first.get("leaks") or (), {"in a repetition": again.get("leaks") or ()}
    )
    return {**_told(first, again), "leaks": of_both}


def _told(first: Mapping[str, Any], again: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the record of both runs of a scenario by their verdicts.

    Runs that proved nothing do not count: they must not make a client flaky.
    """
    runs = [str(run["word"]) for run in again.get("runs", [again])]
    said = {word for word in runs if word in _SAYS}
    if not said:
        return first
    word = said.pop() if len(said) == 1 else "flaky"
    if again["word"] != word or (word != "flaky" and "rate" in again):
        # It has several verdicts and a rate: give it the reason of a run with the remaining
        # verdict.
        again = {name: value for name, value in again.items() if name != "rate"}
        again["why"] = next(
            (run.get("why", "") for run in again["runs"] if run["word"] == word), ""
        )
    again = {**again, "word": word}
    if first["word"] not in _SAYS:
        return again
    if first["word"] != word:
        word = "flaky"
    # Harm stays harm, even if later failures do none.
    keeps = again["word"] == "pass" or (_did_harm(first) and not _did_harm(again))
    return {**(first if keeps else again), "word": word}


def _did_harm(record: Mapping[str, Any]) -> bool:
    return any(found.get("harm") for found in record.get("findings") or ())


def differences(client: Client, published: Score, new: Score) -> list[Change]:
    """Return the verdicts that differ from the published ones, except flaky ones."""
    return [
        change
        for change in changes(published, new)
        if change.old in _SAYS
        and change.new in _SAYS
        and not client.differs(change.id, published.scenarios[change.id].verdict)
    ]
