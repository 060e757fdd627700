"""A task works to its end, even if the reader of its output closes the pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# Each of the two steps is printed and then done.
_TASK = """
import sys
from pathlib import Path
from invoke.context import Context
from vault_harness.cli.command import command
from vault_harness.cli.printing import say, say_on, streams

@command("work", group="develop", examples=("work",))
def work() -> None:
    "Do two things, and find that something is wrong."
    for step in ("one", "two"):
        {say}(step)
        (Path(sys.argv[1]) / step).touch()
    {end}

with streams():
    work(Context())
"""


def ended(
    directory: Path, say: str, *, into: str = "", end: str = "raise SystemExit(1)"
) -> tuple[int, str, list[str]]:
    """Return exit code, stderr and steps of a task whose output has no reader.

    Args:
        directory: Where the task leaves its steps.
        into: The file to print to instead of a closed pipe.
    """
    if into:
        writing = os.open(into, os.O_WRONLY)
    else:
        reading, writing = os.pipe()
        os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TASK.format(say=say, end=end), str(directory)],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    return done.returncode, done.stderr, sorted(path.name for path in directory.iterdir())


def test_a_task_goes_on(tmp_path: Path) -> None:
    """`rotate.secret-id --all | head -1` rotates all."""
    assert ended(tmp_path, "say") == (1, "", ["one", "two"])


def test_printing_log_lines_ends_with_the_reader(tmp_path: Path) -> None:
    assert ended(tmp_path, "say_on") == (0, "", [])


def test_a_task_does_its_work_on_a_full_standard_output(tmp_path: Path) -> None:
    code, said, steps = ended(tmp_path, "say", into="/dev/full", end="pass")
    assert steps == ["one", "two"]
    assert code == 1
    assert said.startswith("the output could not be printed: No space left on device\n")
    assert "looked at: standard output" in said
    assert "what to do: make room there" in said
    assert "Exception ignored" not in said


def test_a_failed_task_keeps_its_exit_code_on_a_full_disk(tmp_path: Path) -> None:
    assert ended(tmp_path, "say", into="/dev/full", end="raise SystemExit(5)")[0] == 5
