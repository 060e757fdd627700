"""Folders of one run, which the next run deletes if this one was killed.

They hold raft data, configuration and audit logs: nothing that should pile up in a machine's folder
for temporary files. A folder is held by a lock on a file in it, which ends with its holder, however
that ends; what nobody holds belongs to nobody.
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
    held = os.open(made / _HELD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        made.rename(directory)
        try:
            yield directory
        finally:
            with contextlib.suppress(FileNotFoundError):  # somebody has cleaned up by hand
                _delete(directory)
    finally:
        os.close(held)
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
    """Delete one folder unless somebody holds it; whether it was deleted.

    Raises:
        OSError: It is held, gone, or not ours to delete.
    """
    held = directory / _HELD
    # Without that file it is not ours to judge. By numbers: a container's user may have no name.
    if not held.is_file() or held.stat().st_uid != directory.stat().st_uid:
        return False
    # Never made here: who makes it anew, and its folder, gives life to what another has deleted.
    descriptor = os.open(held, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _delete(directory)
    finally:
        os.close(descriptor)
    return True


def _delete(directory: Path) -> None:
    """Delete a folder that is held here, out of the sight of sweeps."""
    hidden = directory.with_name(_UNHELD + directory.name.removeprefix(_PREFIX))
    directory.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)
