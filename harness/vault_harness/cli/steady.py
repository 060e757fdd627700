"""Run a suite many times, partly on a busy machine, and compare the verdicts."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.command import command, option, repeated, required
from vault_harness.cli.common import ENGINE, use_engine, wrong
from vault_harness.cli.printing import say
from vault_harness.cli.running import PYTEST, pytest_environment, run_child, suite_place
from vault_harness.errors import SettingsError

if TYPE_CHECKING:
    from vault_harness.judge.report.steady import Judged

_LOAD = "import os\nparent = {parent}\nwhile os.getppid() == parent:\n    sum(range(1000000))\n"
"""Keeps one core busy until its parent ends."""


@dataclass(frozen=True)
class Order:
    """How often which scenarios of which client run."""

    runs: int = required("how many times the suite runs")
    subject: str = option("the client under test, as for scenarios", default="reference")
    busy: int = option(
        "in this many of them, the last ones, other programs keep all cores busy", default=0
    )
    only: list[str] = repeated(
        "an id (TOK-11), a group (TOK) or a severity (critical); may be repeated"
    )
    resume: bool = option("continue an interrupted call after its last run", default=False)
    to: str = option("where steady.md and steady.json go, default report", default="report")
    engine: str | None = option(ENGINE)


@command(
    "steady",
    group="judge",
    judges=True,
    examples=("steady 20 --busy 5", "steady 3 --subject 'command:./client' --only critical"),
)
def steady(order: Order) -> None:
    """Run the suite many times, and compare the verdicts.

    Exit code 1: a verdict differs from the first run; 3 or 4: that is unknown. The table is written
    after each run, and the journal of a run that differs is kept. "The machine was too slow" counts
    as a difference on an idle machine only.
    """
    from vault_harness.judge.report import steady as kept

    runs, busy, directory = order.runs, order.busy, Path(order.to)
    use_engine(order.engine)
    if not 0 <= busy <= runs or not runs:
        raise wrong(
            f"{runs} runs, {busy} of them busy, do not make sense",
            "give at least one run, and no more busy ones than runs",
        )
    words = sorted({word.strip().upper() for text in order.only for word in text.split(",")})
    order = replace(order, only=words)
    asked = {"subject": order.subject, "only": words, "runs": runs, "busy": busy}
    done = kept.load(directory, asked) if order.resume else []
    environ = pytest_environment()
    while len(done) < runs:
        number = len(done) + 1
        done.append(_run(number, order, environ, busy=number > runs - busy))
        say(_settle(done))
        kept.save(directory, done, asked)
    say()
    say(kept.told(done, subject=order.subject))
    say(f"written: {directory / 'steady.md'}, {directory / 'steady.json'}")
    if kept.differences(done):
        raise SystemExit(1)


def _run(number: int, order: Order, environ: Mapping[str, str], *, busy: bool) -> Judged:
    """Run the suite in its own process and folder; without a verdict raise `SettingsError`."""
    from vault_harness.judge.report import load
    from vault_harness.judge.report.outcome import Outcome
    from vault_harness.judge.report.steady import judged

    folder = Path(order.to) / f"run-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / "journal.json"
    before = _written(journal)  # perhaps left by an interrupted call
    options = ["--vault-subject", order.subject, "--vault-report", str(folder), "-q"]
    options += [word for name in order.only for word in ("--vault-only", name)]
    output = folder / "output.txt"
    with (
        output.open("wb") as file,
        _busy(os.cpu_count() or 1) if busy else contextlib.nullcontext(),
    ):
        code = run_child(
            [sys.executable, *PYTEST, *suite_place(), *options],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    found = load(journal) if _written(journal) not in (None, before) else {}
    if code == Outcome.USAGE or "seconds" not in found:
        last = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
        raise SettingsError(
            f"run {number} came to no verdict: pytest ended with exit code {code}",
            looked_at="\n".join([f"{output}, which ends:", *last]),
            remedy="fix that, and continue with --resume",
        )
    return judged(number, found, busy=busy, kept=str(folder))


def _written(file: Path) -> tuple[int, int] | None:
    """Return a value that changes when a file is replaced; None if it is missing."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


@contextlib.contextmanager
def _busy(cores: int) -> Iterator[None]:
    program = _LOAD.format(parent=os.getpid())
    with contextlib.ExitStack() as ending:
        for _ in range(cores):
            # In their own session: a Ctrl-C reaches this program only.
            child = subprocess.Popen(
                [sys.executable, "-c", program], stdin=subprocess.DEVNULL, start_new_session=True
            )
            ending.callback(child.wait)
            ending.callback(child.kill)
        yield


def _settle(done: list[Judged]) -> str:
    """Describe the latest run; delete its files if it is like the first."""
    from vault_harness.judge.report.steady import differences

    run = done[-1]
    found = [one for one in differences(done) if one.run == run.number]
    if not found and run.number > 1:
        shutil.rmtree(run.kept)
        done[-1] = replace(run, kept="")
    said = ", ".join(f"{one.id} {one.word} (first {one.first})" for one in found) or "as the first"
    return f"run {run.number}, {'busy' if run.busy else 'idle'}, {run.seconds:.0f} s: {said}"
