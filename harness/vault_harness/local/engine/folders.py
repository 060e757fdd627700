"""Folders for one run. The next run deletes those of killed runs.

They hold raft data and audit logs, which must not pile up in the temporary folder. A lock on a file
marks a folder as used. The lock ends with its process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "vault-harness-run-"
_UNHELD = "vault-harness-new-"  # prefix of a folder without a lock yet; other runs ignore it
_HELD = ".held"
_GRACE = 60.0  # seconds; an older folder without a lock belongs to a killed run


@contextlib.contextmanager
def run_directory(*, parent: Path | None = None) -> Iterator[Path]:
    """Make a private folder (0700) for the block, and sweep those of killed runs."""
    parent = parent or Path(tempfile.gettempdir())
    sweep_run_directories(parent)
    # Lock first, rename second: others find the folder only by its final name.
    made = Path(tempfile.mkdtemp(prefix=_UNHELD, dir=parent))
    directory = made.with_name(_PREFIX + made.name.removeprefix(_UNHELD))
    held = os.open(made / _HELD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        made.rename(directory)
        try:
            yield directory
        finally:
            with contextlib.suppress(FileNotFoundError):  # a user may have deleted it by hand
                _delete(directory)
    finally:
        os.close(held)
        shutil.rmtree(made, ignore_errors=True)


def sweep_run_directories(parent: Path | None = None) -> list[Path]:
    swept: list[Path] = []
    if parent is None:
        try:
            parent = Path(tempfile.gettempdir())
        except FileNotFoundError:
            return swept  # no temporary folder is writable: the disk is full
    for directory in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if _sweep(directory):
                swept.append(directory)
    for directory in parent.glob(f"{_UNHELD}*"):
        with contextlib.suppress(OSError):
            if time.time() - directory.stat().st_mtime > _GRACE:
                shutil.rmtree(directory)
                swept.append(directory)
    return swept


def _sweep(directory: Path) -> bool:
    """Return False if the folder is not ours; raise `OSError` if its lock is held."""
    held = directory / _HELD
    # Without the lock file it may not be ours. Users are compared by number: a container's user may
    # have no name.
    if not held.is_file() or held.stat().st_uid != directory.stat().st_uid:
        return False
    # Without O_CREAT, which would bring back a folder that another run deleted.
    descriptor = os.open(held, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _delete(directory)
    finally:
        os.close(descriptor)
    return True


def _delete(directory: Path) -> None:
    """Delete a folder that we locked, under a name that sweeps ignore."""
    hidden = directory.with_name(_UNHELD + directory.name.removeprefix(_PREFIX))
    directory.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)
