"""Write the text of a failure, and the timeline of a scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from vault_harness.judge.record import ScenarioRecord
from vault_harness.judge.report.journal import load, malformed, record_in
from vault_harness.judge.report.timing import (
    SEEN,
    Told,
    findings_of,
    in_short,
    lines_of,
    moments,
    one_line,
    why_not_exercised,
)

AROUND = 1.0
"""Seconds of history that a text shows before and after a finding."""

LINES = 24
"""Lines of history around one finding: the first, the last and those of the finding."""

LOG_LINES = 8
"""Of the subject's log. A file beside the journal has all."""


def explain(record: ScenarioRecord, *, again: str = "") -> str:
    lines = [
        f"{record['id']}  {_word(record)}: {record['promise']}",
        f"  guards against: {record['source']}",
    ]
    own = [one for one in record["findings"] if not one.get("closing")]
    at_the_end = [one for one in record["findings"] if one.get("closing")]
    lines += _section("seen", [_finding(finding) for finding in own])
    title = "seen at the client's end, as every scenario asks" + (
        "" if own else "; its own promise was kept"
    )
    lines += _section(title, [_finding(finding) for finding in at_the_end])
    unmet = why_not_exercised(record)
    aside = [f"{_finding(one['finding'])} [{one['why']}]" for one in record["set_aside"]]
    failed = bool(record["findings"])
    if not failed:
        lines += _section("not exercised, because", unmet)
        lines += _section("does not count", aside)
    lines += _section("its runs", _runs(record))
    lines += _section("secrets came out", [_finding(leak) for leak in record["leaks"]])
    lines += _section("faults", [_fault(fault) for fault in record.get("faults", ())])
    lines += _section("what is known to have happened", record["evidence"])
    if reason := record.get("no_closing"):
        lines.append(f"  the closing act was left out: {one_line(reason)}")
    for title, told in _excerpts(record):
        lines += _section(title, told)
    if failed:
        lines += _section("conditions that were not met", unmet)
        lines += _section("does not count", aside)
    logged = list(record.get("log", ()))[-LOG_LINES:]
    log = [f"+{line['at']:.2f} s  {in_short(line['text'])}" for line in logged]
    lines += _section("the subject logged last", log)
    if again:
        lines.append(f"  run it again: {again}")
    return "\n".join(lines)


def _word(record: ScenarioRecord) -> str:
    rate = record.get("rate", "")
    return f"{record['word']} ({rate} passed)" if rate else str(record["word"])


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"  {title}:", *(f"    {one_line(line)}" for line in lines)] if lines else []


def _runs(record: ScenarioRecord) -> list[str]:
    return [
        f"{f'quiet run {number}' if number else 'first run'}: {one['word']}"
        + (f": {in_short(one['why'], SEEN)}" if one["why"] not in ("", one["too_slow"]) else "")
        + (f" [does not count, {one['too_slow']}]" if one["too_slow"] else "")
        for number, one in enumerate(record.get("confirmation", ()))
    ]


def _finding(finding: Mapping[str, Any]) -> str:
    when = f"+{finding['at']:.2f} s: " if finding["at"] is not None else ""
    return f"{when}{one_line(in_short(finding['seen'], SEEN))} (promised: {finding['promise']})"


def _fault(fault: Mapping[str, Any]) -> str:
    until = f"to +{fault['ended']:.2f} s" if fault["ended"] is not None else "not undone"
    return f"{fault['name']}: +{fault['began']:.2f} s {until}"


def _excerpts(record: ScenarioRecord) -> list[tuple[str, list[str]]]:
    times = record["times"]
    numbers = (
        f"T = {times['ttl']:g} s, max TTL {times['max_ttl']:g} s, deadline {times['deadline']:g} s"
    )
    whiles = _joined(_whiles(record))
    if not whiles:
        return [(f"timeline ({numbers})", _cut(lines_of(record)))]
    return [
        (
            f"from +{since:.2f} s to +{until:.2f} s ({numbers})",
            _cut(lines_of(record, since, until)),
        )
        for since, until in whiles
    ]


def _whiles(record: ScenarioRecord) -> list[tuple[float, float]]:
    found = []
    for finding in findings_of(record):
        until = finding["at"] if finding["until"] is None else finding["until"]
        found.append((max(0.0, finding["at"] - AROUND), until + AROUND))
    for fault in record.get("faults", ()):
        found.append((max(0.0, fault["began"] - AROUND), fault["began"] + AROUND))
        if fault["ended"] is not None:
            found.append((max(0.0, fault["ended"] - AROUND), fault["ended"] + AROUND))
    return found


def _joined(whiles: list[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for since, until in sorted(whiles):
        if joined and since <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(until, joined[-1][1]))
        else:
            joined.append((since, until))
    return joined


def _cut(lines: list[Told]) -> list[str]:
    half = LINES // 2
    last = len(lines) - half
    kept: list[str] = []
    for stays, part in groupby(
        enumerate(lines), key=lambda one: one[0] < half or one[0] >= last or one[1].key
    ):
        texts = [line.text for _, line in part]
        if not stays and len(texts) > 1:  # a single line takes no more room than the note about it
            texts = [f"... {len(texts)} more lines, all of them in the journal ..."]
        kept += texts
    return kept


def timeline(
    journal: Path,
    id: str,  # noqa: A002 - it is one
    *,
    since: float = 0.0,
    until: float = float("inf"),
    raw: bool = False,
) -> str:
    """Return everything that happened in a scenario, on one clock.

    `since` and `until` are seconds since it began. With `raw` no moments share a line.
    """
    record = record_in(load(journal), id, journal)
    with malformed(journal, f"an event of {id.upper()}"):
        if raw:
            lines = [str(moment) for moment in moments(record) if since <= moment.at <= until]
        else:
            lines = [line.text for line in lines_of(record, since, until, all_of_it=True)]
        head = explain({**record, "log": ()}).splitlines() if "times" in record else []
    return "\n".join([*head, "", *lines])
