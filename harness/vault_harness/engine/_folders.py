"""Folders of one run, which the next run deletes if this one was killed.

They hold raft data, configuration and audit logs: nothing that should pile up in a machine's folder
for temporary files. A folder is held by a lock on a file in it, which ends with its holder, however
that ends; what nobody holds belongs to nobody.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX = "vault-harness-run-"
_HELD = ".held"


@contextlib.contextmanager
def run_directory(*, parent: Path | None = None) -> Iterator[Path]:
    """A private folder (0700) for the length of the block; deletes those of runs that were killed.

    Args:
        parent: Where it is made; the machine's folder for temporary files by default.
    """
    parent = parent or Path(tempfile.gettempdir())
    sweep_run_directories(parent)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    lock = FileLock(directory / _HELD, timeout=0)
    try:
        with lock:
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def sweep_run_directories(parent: Path | None = None) -> list[Path]:
    """Delete what killed runs left; returns what it was. Folders that are held are spared.

    Args:
        parent: Where they are; the machine's folder for temporary files by default.
    """
    swept: list[Path] = []
    if parent is None:
        try:
            parent = Path(tempfile.gettempdir())
        except FileNotFoundError:
            return swept  # none can be written to: the disk is full
    for directory in parent.glob(f"{_PREFIX}*"):
        held = directory / _HELD
        # Without that file the folder was made this very moment, or is not ours to judge.
        with contextlib.suppress(OSError, Timeout):
            if held.is_file() and held.owner() == directory.owner():
                with FileLock(held, timeout=0):
                    shutil.rmtree(directory)
                swept.append(directory)
    return swept
