"""Keeps two tasks from working on the stack at once, and an interrupt from losing unseal keys."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from vault_harness import files
from vault_harness.errors import Busy

LOCK_NAME = "lock"
_HOLDER_NAME = "lock.holder"


@contextlib.contextmanager
def exclusive(data_dir: Path, *, timeout: float) -> Iterator[None]:
    """Hold the stack in ``data_dir``; whoever comes second waits.

    The lock ends with its holder, however that ends.

    Raises:
        Busy: Another task holds it for longer than ``timeout`` seconds.
    """
    files.private_directory(data_dir)
    lock = FileLock(data_dir / LOCK_NAME, timeout=timeout, mode=0o600, poll_interval=0.05)
    holder = data_dir / _HOLDER_NAME
    try:
        with lock:
            # For the message alone: a full disk must not keep anybody from `down` and `destroy`.
            with contextlib.suppress(OSError):
                holder.write_text(str(os.getpid()))
            try:
                yield
            finally:
                holder.unlink(missing_ok=True)
    except Timeout:
        pid = files.tail(holder).strip()
        raise Busy(
            "another task holds the stack" + (f" (pid {pid})" if pid else ""),
            looked_at=f"{data_dir / LOCK_NAME}, for {timeout:.0f} s",
            remedy="wait until it is done, or end it; its lock ends with it",
        ) from None


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Put Ctrl-C and SIGTERM off to the end of the block.

    For the moments between Vault handing out its keys and the keys being on disk.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals arrive in the main thread, which this is not
        return
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- signal's shape
        received.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, remember) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in received:
            os.kill(os.getpid(), late)
