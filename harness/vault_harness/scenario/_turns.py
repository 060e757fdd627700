"""Scenarios side by side, and one that needs the machine for itself."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 300.0
"""Seconds after which a scenario that wants to be alone goes on beside others."""

PAUSE = 0.05


@contextmanager
def turn(file: Path | None, *, alone: bool) -> Iterator[None]:
    """Be one of many while the block runs, or the only one.

    Args:
        file: What the processes of a run share; None where there is one.
        alone: Wait until no other scenario of the run is under way, and let none begin.
    """
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as shared:
        _take(shared.fileno(), fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


def _take(descriptor: int, kind: int) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return
            time.sleep(PAUSE)
        else:
            return
