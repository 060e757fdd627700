"""Measure how long each engine takes: from nothing to seeded, a fresh Vault, the whole suite.

``./dev bench engines`` measures the first two, ``--args --suite`` the suite as well. Engines take
turns within one run, so that a busy machine slows all of them. The ratio is what counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.choice import choose, open_engine
from vault_harness.local.engine.docker.state import inspect_docker
from vault_harness.local.engine.shape import Engine, EngineName, NodeSpec
from vault_harness.local.stack.launching import launch
from vault_harness.local.stack.local import LocalStack
from vault_harness.settings import Settings

ROOT = Path(__file__).resolve().parents[3]

# Seconds for the process engine, from section 9 of the design.
BARS = {
    "nothing to seeded, durable": 3.0,
    "nothing to seeded, in memory": 0.5,
    "a fresh Vault for a scenario": 0.35,
    "the whole suite": 60.0,
}


@dataclass
class Measured:
    """Seconds by what was measured, then by engine."""

    seconds: dict[str, dict[EngineName, list[float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, engine: EngineName, seconds: float) -> None:
        self.seconds.setdefault(what, {}).setdefault(engine, []).append(seconds)


@contextlib.contextmanager
def stopwatch(measured: Measured, what: str, engine: EngineName) -> Iterator[None]:
    begin = time.monotonic()
    yield
    measured.add(what, engine, time.monotonic() - begin)


def settings_for(engine: EngineName, data_dir: Path) -> Settings:
    return Settings.from_environment(
        engine=engine, data_dir=data_dir, vault_port=0, proxy_port=0, toxiproxy_port=0
    )


def durable(measured: Measured, engine: EngineName) -> None:
    with tempfile.TemporaryDirectory() as directory:
        stack = LocalStack(settings_for(engine, Path(directory) / "vault-data"))
        try:
            with stopwatch(measured, "nothing to seeded, durable", engine):
                stack.up()
                stack.seed(Blueprint.default())
        finally:
            stack.destroy()


def in_memory(measured: Measured, engine: EngineName) -> None:
    with tempfile.TemporaryDirectory() as directory:
        settings = settings_for(engine, Path(directory) / "vault-data")
        with contextlib.ExitStack() as closing:
            with stopwatch(measured, "nothing to seeded, in memory", engine):
                opened = closing.enter_context(
                    open_engine(settings, directory=Path(directory) / "engine")
                )
                vault = launch(
                    opened, Blueprint.default(), NodeSpec(directory=Path(directory) / "vault")
                )
            vault.close()


def fresh(measured: Measured, engine: Engine, directory: Path) -> None:
    with stopwatch(measured, "a fresh Vault for a scenario", engine.name):
        stack = launch(engine, Blueprint.default(), NodeSpec(directory=directory))
    with stopwatch(measured, "its removal", engine.name):
        stack.close()


def suite(measured: Measured, engine: EngineName, workers: int, only: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as report:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += [
            str(ROOT / "scenarios"),
            "--vault-workers",
            str(workers),
            "--vault-report",
            report,
        ]
        command += [word for name in only for word in ("--vault-only", name)]
        begin = time.monotonic()
        answer = subprocess.run(
            command,
            cwd=ROOT,
            env=_environment(engine),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        measured.add("the whole suite", engine, time.monotonic() - begin)
        summary = _summary(Path(report) / "journal.json")
        measured.notes.append(f"{engine}: {summary or answer.stdout.strip().splitlines()[-1]}")


def _environment(engine: EngineName) -> dict[str, str]:
    return {**os.environ, "HARNESS_ENGINE": engine}


def _summary(journal: Path) -> str:
    try:
        return str(json.loads(journal.read_text())["summary"])
    except (OSError, ValueError, KeyError):
        return ""


def engines_here(wanted: Sequence[EngineName], console: Console) -> list[EngineName]:
    here: list[EngineName] = []
    for name in wanted:
        if name == "docker":
            state = inspect_docker(Settings.from_environment())
            console.print(f"docker: {state.line}")
            if not state.usable:
                continue
        here.append(name)
    return here


def measure(
    engines: Sequence[EngineName], *, rounds: int, whole: bool, workers: int, only: Sequence[str]
) -> Measured:
    measured = Measured()
    for turn in range(rounds):
        # The first engine of a round finds a colder machine, so the order alternates.
        for engine in engines if turn % 2 == 0 else list(reversed(engines)):
            durable(measured, engine)
            in_memory(measured, engine)
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as closing:
        opened = [
            closing.enter_context(
                open_engine(
                    settings_for(engine, Path(directory) / engine / "vault-data"),
                    directory=Path(directory) / engine / "engine",
                )
            )
            for engine in engines
        ]
        for turn in range(rounds * 3):
            for one in opened:
                fresh(measured, one, Path(directory) / one.name / f"vault-{turn}")
    if whole:
        for engine in engines:
            suite(measured, engine, workers, only)
    return measured


def render(measured: Measured, engines: Sequence[EngineName]) -> Table:
    table = Table(title="engines: median seconds (best to worst)")
    table.add_column("what")
    for engine in engines:
        table.add_column(engine, justify="right")
    for engine in engines[1:]:
        table.add_column(f"{engine} / {engines[0]}", justify="right")
    table.add_column("bar (process)", justify="right")
    for what, by_engine in measured.seconds.items():
        medians = {name: statistics.median(values) for name, values in by_engine.items()}
        first = medians.get(engines[0])
        cells = [_cell(by_engine.get(name, [])) for name in engines]
        ratios = [f"{medians[name] / first:.1f}x" if first else "-" for name in engines[1:]]
        table.add_row(what, *cells, *ratios, _bar(what, medians.get("process")))
    return table


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle = f"{statistics.median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f} to {max(values):.2f})"


def _bar(what: str, median: float | None) -> str:
    bar = BARS.get(what)
    if bar is None or median is None:
        return "-"
    return f"{bar:g} {'met' if median <= bar else 'MISSED'}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement")
    parser.add_argument("--suite", action="store_true", help="the whole scenario suite too")
    parser.add_argument("--only", action="append", default=[], help="with --suite: as for pytest")
    parser.add_argument("--workers", type=int, default=Settings.from_environment().workers)
    parser.add_argument(
        "--engine",
        action="append",
        choices=["process", "docker"],
        help="may be repeated; default: both, as far as they are here",
    )
    options = parser.parse_args(arguments)
    console = Console(width=120)
    console.print(f"by default this machine would use: {choose(Settings.from_environment())[0]}")
    engines = engines_here(options.engine or ["process", "docker"], console)
    if not engines:
        console.print("no engine to measure")
        return 1
    measured = measure(
        engines,
        rounds=options.rounds,
        whole=options.suite,
        workers=options.workers,
        only=options.only,
    )
    console.print(render(measured, engines))
    for note in measured.notes:
        console.print(note, markup=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
