"""Measure the time and the CPU of the suite: all scenarios, and the critical ones alone.

``./dev bench suite`` runs both with the reference client. ``--workers 12 --workers 24`` compares
how many scenarios run side by side. On a machine with other work compare processor time: the wall
clock is meaningful only on an idle machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vault_harness.judge.report import load
from vault_harness.settings import Settings

ROOT = Path(__file__).resolve().parents[3]

# For an idle machine with two cores. ``wall``: wall-clock seconds for each second of all scenarios
# in sequence (40 s for the 650 s of 71 scenarios). ``cpu``: processor seconds a scenario.
BARS = {"wall": 40 / 650, "cpu": 45 / 71}

PARTS: Mapping[str, Sequence[str]] = {"all": (), "critical": ("critical",)}


@dataclass(frozen=True)
class Cost:
    """What one run cost: seconds, of which ``cpu`` and ``servers`` are processor time.

    ``seconds`` is the sum over all scenarios. ``words`` has the verdicts by id, without ``pass``
    and ``skipped``.
    """

    wall: float
    cpu: float
    scenarios: int
    seconds: float
    servers: float
    words: Mapping[str, str]


def run(only: Sequence[str], workers: int, subject: str) -> Cost:
    with tempfile.TemporaryDirectory() as report:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += [
            str(ROOT / "scenarios"),
            "--vault-workers",
            str(workers),
            "--vault-report",
            report,
        ]
        command += ["--vault-subject", subject]
        command += [word for name in only for word in ("--vault-only", name)]
        began, used = time.monotonic(), _cpu()
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        wall, cpu = time.monotonic() - began, _cpu() - used
        journal = Path(report) / "journal.json"
        if not journal.exists():
            raise SystemExit(f"the suite came to no verdict:\n{done.stdout[-2000:]}")
        return _cost(load(journal)["scenarios"], wall, cpu)


def _cost(scenarios: Sequence[Mapping[str, Any]], wall: float, cpu: float) -> Cost:
    judged = [one for one in scenarios if one["word"] != "skipped"]
    return Cost(
        wall=wall,
        cpu=cpu,
        scenarios=len(judged),
        seconds=sum(one["seconds"] for one in judged),
        servers=sum(one["spent"]["cpu"]["servers"] for one in judged if "spent" in one),
        words={one["id"]: one["word"] for one in judged if one["word"] != "pass"},
    )


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def render(costs: Mapping[tuple[str, int], Sequence[Cost]]) -> Table:
    table = Table(title=f"the suite on {os.cpu_count()} cores: medians")
    for name in ("what", "side by side"):
        table.add_column(name)
    for name in (
        "scenarios",
        "wall",
        "wall / scenario-second",
        "CPU",
        "CPU / scenario",
        "servers'",
    ):
        table.add_column(name, justify="right")
    for (part, workers), rounds in costs.items():
        wall = statistics.median(cost.wall for cost in rounds)
        per_second = statistics.median(cost.wall / cost.seconds for cost in rounds)
        per_scenario = statistics.median(cost.cpu / cost.scenarios for cost in rounds)
        table.add_row(
            *(part, str(workers), str(rounds[0].scenarios), f"{wall:.1f} s"),
            f"{per_second:.3f} (bar {BARS['wall']:.3f})" if part == "all" else f"{per_second:.3f}",
            f"{statistics.median(cost.cpu for cost in rounds):.1f} s",
            f"{per_scenario:.2f} s (bar {BARS['cpu']:.2f})",
            f"{statistics.median(cost.servers / cost.cpu for cost in rounds):.0%}",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="runs of each")
    parser.add_argument("--workers", type=int, action="append", help="may be repeated")
    parser.add_argument("--only", action="append", help="instead of both parts: as for pytest")
    parser.add_argument("--subject", default="reference")
    options = parser.parse_args(arguments)
    console = Console(width=120)
    parts = {" ".join(options.only): options.only} if options.only else PARTS
    numbers = options.workers or [Settings.from_environment().workers]
    costs: dict[tuple[str, int], list[Cost]] = {}
    for _ in range(options.rounds):
        for part, only in parts.items():
            for workers in numbers:  # in turn: a busy machine slows all of them
                cost = run(only, workers, options.subject)
                costs.setdefault((part, workers), []).append(cost)
                if cost.words:
                    console.print(f"{part}, {workers} side by side: {dict(cost.words)}")
    console.print(render(costs))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
