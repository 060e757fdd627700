"""Whoever reads what a task prints may have had enough: the task itself goes on to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# Each of its two steps is told, and done after that.
_TASK = """
import sys
from pathlib import Path
from invoke.context import Context
from vault_harness.cli._command import command
from vault_harness.cli._console import say, say_on, streams

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
    """Exit code, complaints and steps of a task whose output nobody reads any more.

    Args:
        directory: Where it does what it does.
        say: By which function it speaks.
        into: Where to, if not to a reader who had enough.
        end: How it ends by itself.
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
    """`rotate.secret-id --all | head -1` is done for all, and its code tells how it went."""
    assert ended(tmp_path, "say") == (1, "", ["one", "two"])


def test_what_has_no_end_ends(tmp_path: Path) -> None:
    """Lines of a log are printed for the reader alone."""
    assert ended(tmp_path, "say_on") == (0, "", [])


def test_a_task_goes_on_where_nothing_can_be_printed(tmp_path: Path) -> None:
    """The disk that has its log is full: all of its work is done, and it does not end well."""
    code, said, steps = ended(tmp_path, "say", into="/dev/full", end="pass")
    assert steps == ["one", "two"]
    assert code == 1
    assert said.startswith("what this says could not be printed: No space left on device\n")
    assert "looked at: standard output" in said
    assert "what to do: make room there" in said
    assert "Exception ignored" not in said


def test_what_went_wrong_says_more_than_a_full_disk(tmp_path: Path) -> None:
    """Its exit code is the one that it had by itself."""
    assert ended(tmp_path, "say", into="/dev/full", end="raise SystemExit(5)")[0] == 5
