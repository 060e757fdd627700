"""Whether a suite says the same each time: many runs of it, some of them on a busy machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli._child import run_child
from vault_harness.cli._command import command
from vault_harness.cli._common import PYTEST, pytest_environment, suite_place
from vault_harness.cli._console import say

if TYPE_CHECKING:
    from vault_harness.report.steady import Judged

_LOAD = "import os\nparent = {parent}\nwhile os.getppid() == parent:\n    sum(range(1000000))\n"
"""A program that keeps one core busy until its parent ends."""


@command(
    "steady",
    group="judge",
    judges=True,
    takes=("runs",),
    needs=("runs",),
    examples=("steady 20 --busy 5", "steady 3 --subject 'command:./client' --only critical"),
    help={
        "runs": "how many times the suite runs",
        "subject": "the client under test, as for scenarios",
        "busy": "in how many of them, the last ones, other programs keep all cores busy",
        "only": "an id (TOK-11), a group (TOK) or a severity (critical); may be repeated",
        "resume": "go on after the last run of a call that was broken off",
        "to": "where steady.md and steady.json go, default report",
    },
    iterable=["only"],
)
def steady(
    runs: int | None = None,
    subject: str = "reference",
    busy: int = 0,
    only: list[str] | None = None,
    resume: bool = False,
    to: str = "report",
) -> None:
    """Run the suite many times, and compare the verdicts.

    Ends with 1 if one differs from the first, and with 3 or 4 if that cannot be told. The table is
    written after each run; the journal of a run that differs is kept. That the machine was too slow
    is a difference on an idle machine only.
    """
    from vault_harness.errors import SettingsError
    from vault_harness.report import steady as kept

    assert runs is not None, "the command line asks for it"
    if not 0 <= busy <= runs or not runs:
        raise SettingsError(
            f"{runs} runs, {busy} of them busy, do not make sense",
            looked_at="the command line",
            remedy="give at least one run, and no more busy ones than runs",
        )
    directory = Path(to)
    words = sorted({word.strip().upper() for text in only or [] for word in text.split(",")})
    order = {"subject": subject, "only": words, "runs": runs, "busy": busy}
    done = kept.load(directory, order) if resume else []
    environ = pytest_environment()
    while len(done) < runs:
        number = len(done) + 1
        done.append(_run(number, subject, words, directory, environ, busy=number > runs - busy))
        say(_settle(done))
        kept.save(directory, done, order)
    say()
    say(kept.told(done, subject=subject))
    say(f"written: {directory / 'steady.md'}, {directory / 'steady.json'}")
    if kept.differences(done):
        raise SystemExit(1)


def _run(
    number: int,
    subject: str,
    only: list[str],
    directory: Path,
    environ: Mapping[str, str],
    *,
    busy: bool,
) -> Judged:
    """One run of the suite, in a process of its own; its journal stays in a folder of its own.

    Raises:
        SettingsError: It came to no verdict at all.
    """
    from vault_harness.errors import SettingsError
    from vault_harness.report import load
    from vault_harness.report.outcome import Outcome
    from vault_harness.report.steady import judged

    folder = directory / f"run-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / "journal.json"
    before = _written(journal)  # of a call that was broken off; the run removes it, or begins not
    options = ["--vault-subject", subject, "--vault-report", str(folder), "-q"]
    options += [word for name in only for word in ("--vault-only", name)]
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
            remedy="mend that, and go on with --resume",
        )
    return judged(number, found, busy=busy, kept=str(folder))


def _written(file: Path) -> tuple[int, int] | None:
    """What differs once a file was replaced; None if there is none."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


@contextlib.contextmanager
def _busy(cores: int) -> Iterator[None]:
    """Keep so many cores busy while the block runs."""
    program = _LOAD.format(parent=os.getpid())
    with contextlib.ExitStack() as ending:
        for _ in range(cores):
            # Out of the terminal's reach: a Ctrl-C is this program's, and ends them below.
            child = subprocess.Popen(
                [sys.executable, "-c", program], stdin=subprocess.DEVNULL, start_new_session=True
            )
            ending.callback(child.wait)
            ending.callback(child.kill)
        yield


def _settle(done: list[Judged]) -> str:
    """A line of what the latest run came to; the files of one that is like the first go."""
    from vault_harness.report.steady import differences

    run = done[-1]
    found = [one for one in differences(done) if one.run == run.number]
    if not found and run.number > 1:
        shutil.rmtree(run.kept)
        done[-1] = replace(run, kept="")
    said = ", ".join(f"{one.id} {one.word} (first {one.first})" for one in found) or "as the first"
    return f"run {run.number}, {'busy' if run.busy else 'idle'}, {run.seconds:.0f} s: {said}"
