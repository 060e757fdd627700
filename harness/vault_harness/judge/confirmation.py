"""Confirmation: a scenario runs again, quietly, before a failure is reported.

Scenarios run side by side, which makes a machine slow at the wrong moment.

1. A first run that passes is a pass.
2. Harm (a wrong value, a leak, a lost write) counts at once.
3. After anything else a quiet run follows, with few scenarios beside it. If it breaks the same
promise, or misses the same condition, that is the verdict. If it passes, and the first run broke no
promise or does not count, the verdict is pass. Otherwise a second quiet run follows, and the two
decide: both pass, both fail, or the client is flaky. Scores that are published rest on more quiet
runs (``--confirm``), and all of them decide.
4. A quiet run that exercised nothing does not count if another one did.
5. A run in which the machine was too slow does not count. After `SLOW_RUNS` such quiet runs the
scenario is ``not exercised``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vault_harness.judge.record import leaks_of_others
from vault_harness.judge.verdict import TOO_SLOW, Word
from vault_harness.recorder.witness import Machine

SLOW_RUNS = 3

WORK = 0.1
"""CPU seconds that client and servers may need within a bound."""

RunRecord = Mapping[str, Any]

_WORST_FIRST: tuple[Word, ...] = ("fail", "flaky", "error", "not exercised", "skipped", "pass")


def too_slow(
    machine: Machine, *, bound: float, word: Word, findings: Sequence[Mapping[str, Any]]
) -> str:
    """Return why a run does not count, or ``""`` if it does.

    A run does not count if the machine was late by more than `bound` seconds: because it stood
    still or, unless the run passed, because many programs wanted each core. A finding counts if it
    exceeds its limit by more than that. An error of the harness always counts.
    """
    if word == "error":
        return ""
    late = [found["missed"] for found in findings]
    if late and None not in late:
        bound = max(late)
    longest = max(machine.stalls, key=lambda stall: stall.length, default=None)
    if longest is not None and longest.length > bound:
        return f"{TOO_SLOW}: {longest}"
    if word != "pass" and WORK * (machine.wanted - 1.0) > bound:
        return f"{TOO_SLOW}: {machine.wanted:.0f} programs wanted each core"
    return ""


def settled(runs: Sequence[RunRecord], *, confirm: int = 0) -> Word | None:
    """Return None if another run is needed.

    Args:
        confirm: The least number of quiet runs after a first run that is no pass.
    """
    first = runs[0]
    if harmful := [run for run in runs if _did_harm(run)]:
        return _word(harmful[-1])
    if first["word"] == "skipped":
        return "skipped"
    if len(runs) == 1:
        return "pass" if first["word"] == "pass" and not first["too_slow"] else None
    quiet = [run for run in runs[1:] if not run["too_slow"]]
    if len(runs) - 1 - len(quiet) >= SLOW_RUNS:
        return "not exercised"
    if len(quiet) < confirm:
        return None
    if len(quiet) == 1:
        broke = first["word"] == "fail" and not first["too_slow"]
        passes = quiet[0]["word"] == "pass" and not broke
        return _word(quiet[0]) if passes or _alike(first, quiet[0]) else None
    if not quiet:
        return None
    word = _together([run for run in quiet if run["word"] != "not exercised"] or quiet)
    failed = [run for run in (first, *quiet) if run["word"] == "fail"]
    if word == "fail" and len(failed) == 1:  # no other run confirms the failure
        return _together(run for run in quiet if run["word"] != "fail")
    return word


def told(runs: Sequence[RunRecord], *, confirm: int = 0) -> dict[str, Any]:
    """Make one record of a settled scenario: the last run with the verdict, and all leaks."""
    word = settled(runs, confirm=confirm)
    assert word is not None, "it has to be run again"
    likely = [run for run in runs if run["word"] == ("fail" if word == "flaky" else word)]
    shown = max(reversed(likely or runs), key=_did_harm)
    record = {**shown, "word": word, "seconds": round(sum(run["seconds"] for run in runs), 2)}
    if len(runs) == 1:
        return record
    record["confirmation"] = [
        {
            "word": run["word"],
            "why": why_in_full(run),
            "too_slow": run["too_slow"],
            "seconds": run["seconds"],
        }
        for run in runs
    ]
    record["leaks"] = _leaks(runs, shown, "in try")
    if word == "flaky":
        quiet = [run for run in runs[1:] if not run["too_slow"]]
        record |= _rate(quiet, shown, "quiet runs")
    if word == "not exercised" and runs[-1]["too_slow"]:
        others = [run for run in runs if run["word"] != "pass" and run["why"] != run["too_slow"]]
        aside = dict.fromkeys(why_in_full(run) for run in others)
        reasons = [f"{TOO_SLOW}: set aside for it: {text}" for text in aside]
        record["untouched"] = [runs[-1]["too_slow"], *reasons]
        record["set_aside"] = [
            *shown["set_aside"],
            *({"finding": one, "why": TOO_SLOW} for one in shown["findings"]),
        ]
        record["findings"] = []
        record["why"] = "; ".join(record["untouched"])
    return record


def joined(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Make one record from several verdicts (``--repeat``): ``flaky`` if one passes and one fails.

    Otherwise the worst verdict counts. The history is that of the first run with the verdict, if
    possible one that did harm.
    """
    words = [_word(one) for one in records]
    worst = min(words, key=_WORST_FIRST.index)
    likely = [one for one in records if one["word"] == worst]
    shown = min(likely, key=lambda one: not _did_harm(one))
    record = dict(shown)
    if len(records) > 1:
        record["runs"] = [
            {"word": one["word"], "why": one["why"], "seconds": one["seconds"]} for one in records
        ]
        record["leaks"] = _leaks(records, shown, "in run")
        record["seconds"] = round(sum(one["seconds"] for one in records), 2)
    if len(set(words)) > 1:
        record |= {"word": _together(records), **_rate(records, shown, "runs")}
    return record


def why_in_full(run: RunRecord) -> str:
    findings = run["findings"] if run["word"] == "fail" else ()
    return next((f"{one['seen']} (promised: {one['promise']})" for one in findings), run["why"])


def _together(runs: Iterable[RunRecord]) -> Word:
    words = {_word(run) for run in runs}
    if {"pass", "fail"} <= words or "flaky" in words:
        return "flaky"
    return min(words, key=_WORST_FIRST.index)


def _rate(runs: Sequence[RunRecord], shown: RunRecord, what: str) -> dict[str, str]:
    rate = f"{sum(run['word'] == 'pass' for run in runs)} of {len(runs)}"
    return {"rate": rate, "why": f"{rate} {what} pass; {shown['word']}: {shown['why']}"}


def _leaks(runs: Sequence[RunRecord], shown: RunRecord, called: str) -> list[dict[str, Any]]:
    others = {
        f"{called} {number}": run["leaks"] for number, run in enumerate(runs, 1) if run is not shown
    }
    return leaks_of_others(shown["leaks"], others)


def _word(run: RunRecord) -> Word:
    word: Word = run["word"]
    return word


def _did_harm(run: RunRecord) -> bool:
    return any(found["harm"] for found in run["findings"])


def _alike(one: RunRecord, other: RunRecord) -> bool:
    if one["word"] != other["word"]:
        return False
    return one["word"] != "fail" or bool(_promises(one) & _promises(other))


def _promises(run: RunRecord) -> set[str]:
    """Leave out numbers, which differ between runs."""
    return {re.sub(r"\d[\d.]*", "#", found["promise"]) for found in run["findings"]}
