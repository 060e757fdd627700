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
from filelock import FileLock, Timeout

from vault_harness import files
from vault_harness.errors import Busy, SettingsError
from vault_harness.waiting import PATIENT_SECONDS, Awaited

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP})
_POLL_SECONDS = 0.05
LOCK_NAME = "lock"
_HOLDER_NAME = "lock.holder"


@contextlib.contextmanager
def exclusive(data_dir: Path, *, timeout: float) -> Iterator[None]:
    """Hold the stack's lock, or wait up to `timeout` seconds. It ends with its process."""
    holder = data_dir / _HOLDER_NAME
    try:
        with _locked(data_dir, timeout):
            # Only for messages. A full or read-only disk must not prevent `down` and `seal`.
            with contextlib.suppress(OSError):
                holder.write_text(str(os.getpid()))
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # likewise
                    holder.unlink(missing_ok=True)
    except Timeout:
        pid = files.tail(holder).strip()
        stopped = _is_stopped(pid)
        raise Busy(
            "another task holds the stack"
            + (f" (pid {pid})" if pid else "")
            + (", which is itself stopped, perhaps by Ctrl-Z" if stopped else ""),
            looked_at=f"{data_dir / LOCK_NAME}, for {timeout:.0f} s",
            remedy=f"let it go on (fg where it was begun, or kill -CONT {pid}), or end it (kill "
            f"{pid}, and then that); its lock ends with it"
            if stopped
            else "wait until it is done, or end it; its lock ends with it",
        ) from None


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


@contextlib.contextmanager
def _locked(data_dir: Path, timeout: float) -> Iterator[None]:
    """Hold the lock that is in the folder now, not one of a deleted folder."""
    path, deadline = data_dir / LOCK_NAME, time.monotonic() + timeout
    awaited = Awaited("another task that holds the stack", timeout)
    while True:
        left = max(deadline - time.monotonic(), 0.0)
        turn = min(left, PATIENT_SECONDS)
        lock = FileLock(path, timeout=turn, mode=0o600, poll_interval=_POLL_SECONDS)
        try:
            files.private_directory(data_dir)
            lock.acquire()
        except Timeout:
            if time.monotonic() >= deadline:
                raise
            awaited.still(partial(_held_by, data_dir))
            continue
        except (FileNotFoundError, FileExistsError):
            # The folder was deleted; FileExistsError: it is being made.
            if time.monotonic() < deadline:
                continue
            raise
        except OSError as error:
            if error.errno == errno.EROFS and path.exists():
                held: contextlib.AbstractContextManager[None] = _held_for_reading(
                    path, deadline, awaited
                )
                break
            if error.errno not in _NO_LOCKS:
                raise
            raise SettingsError(
                f"the file system of the data directory has no locks: {error.strerror}",
                looked_at=f"{path}, which keeps two tasks from working on one stack at once",
                remedy="let HARNESS_DATA_DIR name a folder on a disk of this machine, or switch on "
                "locks where that file system is mounted",
            ) from None
        if path.exists():
            held = _released(lock)
            break
        lock.release()
    with held:
        yield


@contextlib.contextmanager
def _released(lock: FileLock) -> Iterator[None]:
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _held_for_reading(path: Path, deadline: float, awaited: Awaited) -> Iterator[None]:
    """Hold the lock on a read-only disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Timeout(str(path)) from None
                awaited.still(partial(_held_by, path.parent))
            time.sleep(_POLL_SECONDS)  # between two tries, bounded by the deadline
        yield
    finally:
        os.close(descriptor)
