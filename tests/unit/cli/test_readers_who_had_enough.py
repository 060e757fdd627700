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
    raise SystemExit(1)

with streams():
    work(Context())
"""


def ended(directory: Path, say: str) -> tuple[int, str, list[str]]:
    """Exit code, complaints and steps of a task whose output nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TASK.format(say=say), str(directory)],
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
