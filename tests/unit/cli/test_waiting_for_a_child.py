"""A task passes signals on to its program and waits for its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from vault_harness.cli.running import run_child

# On a signal it takes a moment to tidy up.
_CHILD = """
import os, signal, sys, time
def say(line):
    os.write(1, f"{line}\\n".encode())  # print may be at work when the signal comes
def end(number, frame):
    say(f"told {number}")
    time.sleep(0.6)
    say("tidied up")
    sys.exit(7)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, end)
say("here")
signal.pause()
say("told twice")
"""

_TASK = """
import os, signal, sys
from vault_harness.cli.running import run_child
signal.signal(signal.SIGINT, {interrupts})
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it (nohup)
raise SystemExit(run_child([sys.executable, "-c", {child!r}], env=os.environ))
"""


@contextmanager
def task(interrupts: str = "signal.default_int_handler") -> Iterator[subprocess.Popen[bytes]]:
    """Start a task in a process group of its own, as a shell does."""
    program = _TASK.format(child=_CHILD, interrupts=interrupts)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, process_group=0
    ) as process:
        try:
            assert line(process.stdout) == "here"
            yield process
        finally:
            process.kill()


def line(output: IO[bytes] | None) -> str:
    assert output is not None
    return output.readline().decode().strip()


def rest(output: IO[bytes] | None) -> list[str]:
    assert output is not None
    return output.read().decode().split("\n")[:-1]


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGHUP, signal.SIGTERM),
    ],
)
def test_it_tidies_up_and_is_waited_for(sent: signal.Signals, told: signal.Signals) -> None:
    """The exit code tells the signal that the task got."""
    with task() as process:
        process.send_signal(sent)
        assert rest(process.stdout) == [f"told {told.value}", "tidied up"]
        assert process.wait(10) == 128 + sent


def test_a_terminals_interrupt_comes_once() -> None:
    """The program is outside the task's process group."""
    with task() as process:
        os.killpg(process.pid, signal.SIGINT)
        assert rest(process.stdout) == [f"told {signal.SIGINT.value}", "tidied up"]


def test_what_is_ignored_stays_ignored() -> None:
    """In the background of a script SIGINT is ignored."""
    with task("signal.SIG_IGN") as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert rest(process.stdout) == [f"told {signal.SIGTERM.value}", "tidied up"]


def test_an_ordinary_end(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with (tmp_path / "output").open("wb") as file:
        command = [sys.executable, "-c", "print('done'); raise SystemExit(3)"]
        assert run_child(command, env=os.environ, stdout=file) == 3
    assert (tmp_path / "output").read_text() == "done\n"
    assert signal.getsignal(signal.SIGTERM) is before
