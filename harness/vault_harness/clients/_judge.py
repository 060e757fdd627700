"""What the runs of a real client come to: the score that is published, and what differs from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from vault_harness.clients._client import Client
from vault_harness.report.formats import Judged, Score
from vault_harness.report.score import Change, changes, score_of
from vault_harness.scenario.record import leaks_of_others

AGAIN = 3
"""How often a scenario is run again whose first run was no pass."""

_SAYS = {"pass", "fail", "flaky"}
"""Verdicts on the client; others say nothing of it."""


def to_settle(journal: Mapping[str, Any]) -> list[str]:
    """Scenarios of a first run that are to be run again, since one run is not enough for them."""
    words = {"fail", "flaky", "not exercised", "error"}
    return sorted(str(one["id"]) for one in journal["scenarios"] if one["word"] in words)


def broken_down(first: Mapping[str, Any], again: Mapping[str, Any] | None = None) -> list[str]:
    """Scenarios that ended last with an error of the harness, so that nothing is known of them.

    Args:
        first: The journal of a run.
        again: That of the repetition of what it did not keep, if there was one.
    """
    last = {
        str(one["id"]): one["word"]
        for run in (first, again or {})
        for one in run.get("scenarios", [])
    }
    return sorted(id for id, word in last.items() if word == "error")  # noqa: A001


def proved_nothing(score: Score, published: Score | None = None) -> bool:
    """Whether a run says nothing of the client: no fault touched it in any scenario.

    So it is where its adapter does not start. What was published of a scenario may be said again.

    Args:
        score: Of the runs.
        published: What is published of the client.
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
    """The score of a run, and of the repetition of what it did not keep.

    Args:
        client: Who was judged: its name stands for the command, which differs between machines.
        first: The journal of a run of the whole suite.
        again: That of the repetition (`to_settle`, `AGAIN` times each), if there was one.
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
    """The record of a scenario that was run once, and then again; with what came out in either."""
    of_both = leaks_of_others(
        first.get("leaks") or (), {"in a repetition": again.get("leaks") or ()}
    )
    return {**_told(first, again), "leaks": of_both}


def _told(first: Mapping[str, Any], again: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of both runs by their verdicts.

    Of the repetition those runs count that say something of the client: a run that proved nothing
    beside two good ones makes no client flaky.
    """
    runs = [str(run["word"]) for run in again.get("runs", [again])]
    said = {word for word in runs if word in _SAYS}
    if not said:
        return first
    word = said.pop() if len(said) == 1 else "flaky"
    if again["word"] != word or (word != "flaky" and "rate" in again):
        # It told of several words, and by their rate; what is left is told by a run that says it.
        again = {name: value for name, value in again.items() if name != "rate"}
        again["why"] = next(
            (run.get("why", "") for run in again["runs"] if run["word"] == word), ""
        )
    again = {**again, "word": word}
    if first["word"] not in _SAYS:
        return again
    if first["word"] != word:
        word = "flaky"
    # Who did harm once has done it: a repetition that was broken without any takes nothing back.
    keeps = again["word"] == "pass" or (_did_harm(first) and not _did_harm(again))
    return {**(first if keeps else again), "word": word}


def _did_harm(record: Mapping[str, Any]) -> bool:
    return any(found.get("harm") for found in record.get("findings") or ())


def differences(client: Client, published: Score, new: Score) -> list[Change]:
    """Verdicts on a client that are not those which are published for it.

    A verdict that says nothing of the client is no difference, and neither is one of a scenario
    that is flaky, by its published verdict or by what its folder declares.
    """
    flaky = _flaky(client, published.scenarios)
    return [
        change
        for change in changes(published, new)
        if change.old in _SAYS and change.new in _SAYS and change.id not in flaky
    ]


def _flaky(client: Client, judged: Mapping[str, Judged]) -> Collection[str]:
    return {*client.flaky, *(id for id, one in judged.items() if one.verdict == "flaky")}  # noqa: A001
