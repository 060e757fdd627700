"""Tell what explore found."""

from __future__ import annotations

import itertools
import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vault_harness.errors import SettingsError, named
from vault_harness.files import write_text
from vault_harness.judge.explore.schedule import (
    NOT_HERE,
    Schedule,
    Step,
    load_schedule,
    to_toml,
)
from vault_harness.judge.explore.search import TIMES, Broken, Coverage

WIDTH = 110

LINES = 5

FOLDER = "schedules"
"""Folder of the schedules, in the report."""

PASSED = "passed.jsonl"
"""Runs of a search that has not ended, in the same folder."""

PAGE = "index.html"
"""The page with their timelines."""

SOURCE = "found by explore"


def prose(found: Broken) -> str:
    """Return a finding in at most `LINES` lines."""
    count = len(found.schedule.steps)
    steps = f"{count} step{'s' * (count != 1)}"
    text = f"Your client breaks in {steps}. {found.schedule} Then: {found.seen}."
    if not count:
        text = f"Your client breaks without any fault. Then: {found.seen}."
    lines = textwrap.wrap(text, WIDTH, max_lines=LINES - 1, placeholder=" ...")
    rates = [f"{found.repeats} of {TIMES} runs"]
    for number, without in enumerate(found.without, start=1):
        which = f"step {number}" if count > 1 else "a fault"
        rates.append(f"{without} of {TIMES} without {which}")
    others = f"{len(found.also)} other schedule{'s' * (len(found.also) != 1)}"
    also = f" {others} broke it too." if found.also else ""
    last = f"It broke in {'; '.join(rates)}.{also}"
    return "\n".join([*lines, textwrap.shorten(last, 2 * WIDTH, placeholder=" ...")])


def claim(coverage: Coverage, shard: tuple[int, int] = (1, 1)) -> str:
    every = "all" if coverage.tried == coverage.cells else f"{coverage.tried} of"
    part = "" if shard == (1, 1) else f" of part {shard[0]} of {shard[1]}"
    lines = [f"{every} {coverage.cells} single faults{part} tried, {coverage.reached} reached"]
    if coverage.without_effect:
        lines.append(f"{coverage.without_effect} of them met no request that they are about")
    if coverage.pairs:
        lines.append(f"{coverage.pairs_tried} of {coverage.pairs} pairs that follow the trace")
    if coverage.longer_tried:
        lines.append(f"{coverage.longer_tried} longer schedules")
    if coverage.unsettled:
        lines.append(f"seen and not confirmed: {'; '.join(coverage.unsettled[:3])}")
    if coverage.unprompted:
        lines.append(f"often broken before any fault: {'; '.join(coverage.unprompted[:3])}")
    if coverage.failed:
        lines.append(f"{len(coverage.failed)} runs failed in the harness: {coverage.failed[0]}")
    lines += [f"not tried: {name}, which {why}" for name, why in NOT_HERE.items()]
    if coverage.seconds and coverage.runs:
        lines.append(
            f"{coverage.runs} runs in {coverage.seconds:.0f} s: "
            f"{coverage.runs / coverage.seconds:.2f} a second, "
            f"{coverage.cpu / coverage.runs:.2f} s of CPU each, without the shared servers"
        )
    return "\n".join(lines)


def paths_of(folder: Path, found: Sequence[Broken]) -> list[Path]:
    """Return a file for each finding, with its kinds of requests and its faults as the name."""
    paths: list[Path] = []
    for one in found:
        steps = one.schedule.steps
        words = "--".join(f"{each.point.kind}-{each.point.phase}-{each.fault}" for each in steps)
        name = re.sub(r"[^a-z0-9-]+", "-", words.lower())[:100] or "no-fault"
        path = folder / FOLDER / f"{name}.toml"
        for number in itertools.count(2):
            if path not in paths:
                break
            path = path.with_name(f"{name}-{number}.toml")
        paths.append(path)
    return paths


def write(folder: Path, found: Sequence[Broken], subject: str) -> list[Path]:
    paths = paths_of(folder, found)
    for number, (one, path) in enumerate(zip(found, paths, strict=True), start=1):
        schedule = replace(one.schedule, subject=subject, promise=one.promise)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, to_toml(schedule))
        write_text(path.with_suffix(".py"), scenario(schedule, number))
    return paths


def write_timelines(folder: Path, found: Sequence[Broken], subject: str) -> Path | None:
    # This loads a template engine, which no other part of a search needs.
    from vault_harness.judge.report.formats import SCHEMA_VERSION, suite_version
    from vault_harness.judge.report.html.page import write_page

    files = paths_of(folder, found)
    scenarios = [
        {
            **one.record,
            "id": _id(number),
            "promise": f"The client survives this: {one.schedule}",
            "source": SOURCE,
            "again": named("replay", str(path)),
        }
        for number, (one, path) in enumerate(zip(found, files, strict=True), start=1)
        if one.record is not None
    ]
    if not scenarios:
        return None
    journal = {
        "schema_version": SCHEMA_VERSION,
        "suite_version": suite_version(),
        "complete": True,
        "summary": f"{subject}: {len(found)} schedules break it",
        "subject": subject,
        "engine": scenarios[0]["engine"],
        "left_out": {"all scenarios": "high"},  # so that the page shows no grade
        "scenarios": scenarios,
    }
    return write_page([journal], folder / FOLDER / PAGE)


def _id(number: int) -> str:
    return f"EXP-{number:02}"


def read_folder(folder: Path) -> tuple[Schedule, ...]:
    """Return the schedules of a folder, which need not exist."""
    if folder.exists() and not folder.is_dir():
        raise SettingsError(
            f"{folder} is no folder",
            looked_at="--schedules",
            remedy="give the folder of schedules that explore wrote",
        )
    return tuple(load_schedule(path) for path in sorted(folder.glob("*.toml")))


def scenario(schedule: Schedule, number: int = 1) -> str:
    one = schedule.baseline
    baseline = repr(one)
    return _SCENARIO.format(
        id=_id(number),
        promise=json.dumps(f"The client survives this: {schedule}", ensure_ascii=False),
        ttl=f"{schedule.ttl:g}",
        max_ttl=f"# max_ttl = {schedule.max_ttl:g}\n" if schedule.max_ttl else "",
        capped=f", max_ttl={schedule.max_ttl:g}" if schedule.max_ttl else "",
        source=SOURCE,
        steps="".join(map(_step, schedule.steps)),
        baseline=baseline,
    )


def _step(step: Step) -> str:
    point = step.point
    words = (point.kind, point.path, point.phase, point.ordinal, point.connection)
    where = ", ".join(json.dumps(word, ensure_ascii=False) for word in words)
    return f'    Step(Point({where}), "{step.fault}", {step.lasts:g}),\n'


_SCENARIO = '''\
# For catalogue.toml, without the leading marks. If the id is taken, change it here and below.
#
# [{id}]
# promise = {promise}
# severity = "high"
# source = "{source}"
# ttl = {ttl}
{max_ttl}# ids = "files"
# seconds = 20

import pytest

from vault_harness.judge.explore.life import survives
from vault_harness.judge.explore.points import Point
from vault_harness.judge.explore.schedule import Baseline, Schedule, Step
from vault_harness.judge.lab import Lab

STEPS = (
{steps})
BASELINE = {baseline}


@pytest.mark.scenario("{id}")
def test_it_survives_a_schedule(lab: Lab) -> None:
    """The client keeps its promises, whatever these steps do."""
    survives(lab, Schedule(STEPS, baseline=BASELINE{capped}))
'''
