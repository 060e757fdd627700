"""Folders of one run, which the next run deletes if this one was killed.

They hold raft data, configuration and audit logs: nothing that should pile up in a machine's folder
for temporary files. A folder is held by a lock on a file in it, which ends with its holder, however
that ends; what nobody holds belongs to nobody.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX = "vault-harness-run-"
_UNHELD = "vault-harness-new-"  # of a folder that is not held yet: nobody else looks at it
_HELD = ".held"
_GRACE = 60.0  # seconds after which one that was never held was left by a run that was killed


@contextlib.contextmanager
def run_directory(*, parent: Path | None = None) -> Iterator[Path]:
    """A private folder (0700) for the length of the block; deletes those of runs that were killed.

    Args:
        parent: Where it is made; the machine's folder for temporary files by default.
    """
    parent = parent or Path(tempfile.gettempdir())
    sweep_run_directories(parent)
    # Held before it has the name by which others find it: the lock is the file's, not the name's.
    made = Path(tempfile.mkdtemp(prefix=_UNHELD, dir=parent))
    directory = made.with_name(_PREFIX + made.name.removeprefix(_UNHELD))
    try:
        with FileLock(made / _HELD, timeout=0):
            made.rename(directory)
            try:
                yield directory
            finally:
                # While it is held: else a sweep would take it up half deleted.
                shutil.rmtree(directory, ignore_errors=True)
    finally:
        shutil.rmtree(made, ignore_errors=True)


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
    for directory in parent.glob(f"{_UNHELD}*"):
        with contextlib.suppress(OSError):
            if time.time() - directory.stat().st_mtime > _GRACE:
                shutil.rmtree(directory)
                swept.append(directory)
    return swept
