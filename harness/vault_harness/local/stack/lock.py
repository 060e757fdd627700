"""A lock that keeps two tasks from working on the stack at once."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from vault_harness import files
from vault_harness.errors import Busy, SettingsError
from vault_harness.waiting import Awaited

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP})
_POLL_SECONDS = 0.05
LOCK_NAME = "lock"
_HOLDER_NAME = "lock.holder"


@contextlib.contextmanager
def exclusive(data_dir: Path, *, timeout: float) -> Iterator[None]:
    """Hold the stack's lock, or wait up to `timeout` seconds. It ends with its process."""
    path, deadline = data_dir / LOCK_NAME, time.monotonic() + timeout
    awaited = Awaited("another task that holds the stack", timeout)
    while (descriptor := _take(path)) is None:
        if time.monotonic() >= deadline:
            raise _busy(data_dir, timeout)
        awaited.still(partial(_held_by, data_dir))
        time.sleep(_POLL_SECONDS)  # between two tries, bounded by the deadline
    holder = data_dir / _HOLDER_NAME
    try:
        # Only for messages. A full or read-only disk must not prevent `down` and `seal`.
        with contextlib.suppress(OSError):
            holder.write_text(str(os.getpid()))
        yield
    finally:
        with contextlib.suppress(OSError):  # likewise
            holder.unlink(missing_ok=True)
        os.close(descriptor)


def _busy(data_dir: Path, timeout: float) -> Busy:
    pid = files.tail(data_dir / _HOLDER_NAME).strip()
    stopped = _is_stopped(pid)
    return Busy(
        "another task holds the stack"
        + (f" (pid {pid})" if pid else "")
        + (", which is itself stopped, perhaps by Ctrl-Z" if stopped else ""),
        looked_at=f"{data_dir / LOCK_NAME}, for {timeout:.0f} s",
        remedy=f"let it go on (fg where it was begun, or kill -CONT {pid}), or end it (kill "
        f"{pid}, and then that); its lock ends with it"
        if stopped
        else "wait until it is done, or end it; its lock ends with it",
    )


def _held_by(data_dir: Path) -> str:
    pid = files.tail(data_dir / _HOLDER_NAME).strip()
    return f"pid {pid}" if pid else ""


def _is_stopped(pid: str) -> bool:
    with contextlib.suppress(psutil.Error, ValueError):
        return psutil.Process(int(pid)).status() == psutil.STATUS_STOPPED
    return False


def leave_if_empty(data_dir: Path) -> None:
    """Remove a folder with only the lock and .gitignore, as the last step with the lock."""
    own = {LOCK_NAME, _HOLDER_NAME}
    if files.keeps_from_git(data_dir):
        own.add(files.GITIGNORE)
    with contextlib.suppress(OSError):  # another task was quicker, or the folder is not ours
        if {path.name for path in data_dir.iterdir()} <= own:
            for name in own:
                (data_dir / name).unlink(missing_ok=True)
            data_dir.rmdir()


def _take(path: Path) -> int | None:
    """Return a descriptor that holds the lock, or None while another task has it.

    It is the lock that is in the folder now, not one of a deleted folder.
    """
    try:
        files.private_directory(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except (FileNotFoundError, FileExistsError):
        return None  # another task is deleting or making the folder
    except OSError as error:
        if error.errno != errno.EROFS or not path.exists():
            raise
        descriptor = os.open(path, os.O_RDONLY)
    taken = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken = os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise SettingsError(
            f"the file system of the data directory has no locks: {error.strerror}",
            looked_at=f"{path}, which keeps two tasks from working on one stack at once",
            remedy="let HARNESS_DATA_DIR name a folder on a disk of this machine, or switch on "
            "locks where that file system is mounted",
        ) from None
    finally:
        if not taken:
            os.close(descriptor)
    return descriptor if taken else None
