"""Measure how soon a stranger's client has its first verdict, once the packages are there.

``./dev bench stranger`` builds both wheels and installs them into a fresh environment outside this
checkout. There it runs ``vault-harness judge`` on a client of ten lines. The clock starts with that
command. Building and installing are printed, but depend on the package index.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[3]
CLIENT = Path(__file__).with_name("client.py")

BAR = 20.0
"""Seconds until the first verdict."""

FIRST = 4
"""Scenarios at the start of the catalogue, which are the most telling."""

BUILT, INSTALLED = "wheels built", "installed"
BEGUN, VERDICT, VERDICTS = "the run's head", "the first verdict", f"{FIRST} verdicts"

VERDICT_LINE = re.compile(r"[A-Z0-9]+-\d+ +(pass|fail|flaky) ")
"""A verdict on the client, which ``skipped`` is not."""

END = 90.0
"""Seconds for an interrupted run to stop its servers."""


def outside() -> dict[str, str]:
    ours = ("PYTEST_", "VAULT_", "BAO_", "HARNESS_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "HARNESS_ENGINE": "process"}


def installed(folder: Path) -> tuple[Path, Mapping[str, float]]:
    pip = ("-m", "pip", "--disable-pip-version-check")
    began = time.monotonic()
    for project in (ROOT, ROOT / "harness" / "resilient_vault_client"):
        options = ("--no-deps", "--no-build-isolation", "-w", folder / "wheels")
        _run(sys.executable, *pip, "wheel", "-q", *options, project)
    built = time.monotonic()
    _run(sys.executable, "-m", "venv", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    _run(python, *pip, "install", "-q", *(folder / "wheels").glob("*.whl"))
    return python, {BUILT: built - began, INSTALLED: time.monotonic() - built}


def _run(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], env=outside(), check=True)


def judged(python: Path, place: Path) -> Mapping[str, float]:
    """Return the seconds until the first verdicts, then interrupt the run."""
    place.mkdir()
    subject = f"command:{python} {CLIENT}"
    began = time.monotonic()
    run = subprocess.Popen(
        [python.with_name("vault-harness"), "judge", "--subject", subject],
        cwd=place,
        env=outside(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.stdout is not None
    reached: dict[str, float] = {}
    verdicts, said = 0, ""
    with run.stdout as lines:
        for line in lines:
            said += line
            since = time.monotonic() - began
            if line.startswith("subject: "):
                reached[BEGUN] = since
            elif VERDICT_LINE.match(line):
                verdicts += 1
                reached.setdefault(VERDICT, since)
            if verdicts == FIRST and VERDICTS not in reached:
                reached[VERDICTS] = since
                run.send_signal(signal.SIGINT)
    run.wait(END)
    if VERDICTS not in reached:
        raise SystemExit(f"the run came to {verdicts} verdicts:\n{said[-2000:]}")
    return reached


def render(made: Mapping[str, float], rounds: Sequence[Mapping[str, float]]) -> Table:
    table = Table(title=f"a stranger's client on {os.cpu_count()} cores")
    for name in ("until", "median", "longest", "bar"):
        table.add_column(name, justify="left" if name == "until" else "right")
    for name, seconds in made.items():
        table.add_row(name, f"{seconds:.1f} s", "", "")
    for name in (BEGUN, VERDICT, VERDICTS):
        times = [one[name] for one in rounds]
        bar = f"{BAR:g} s" if name == VERDICT else ""
        table.add_row(name, f"{statistics.median(times):.1f} s", f"{max(times):.1f} s", bar)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Always return 0, since the machine may be busy."""
    parser = argparse.ArgumentParser(prog="bench stranger", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often the client is judged")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python, made = installed(folder)
        rounds = [judged(python, folder / str(number)) for number in range(options.rounds)]
    Console(width=120).print(render(made, rounds))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
