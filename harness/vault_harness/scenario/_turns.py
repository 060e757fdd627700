"""Scenarios side by side, some of them beginning, and one that needs the machine for itself."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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


@contextmanager
def place(file: Path | None, *, places: int) -> Iterator[None]:
    """Be one of so many while the block runs: for what keeps a core busy, as starts do.

    All of a run's servers started at once take long, each of them; those that are under way by then
    would be disturbed by it, and clients whose secret-ids live for seconds would come too late.

    Args:
        file: What the processes of a run share; None where there is one.
        places: How many at once.
    """
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as closing:
        files = [
            closing.enter_context(file.with_name(f"{file.name}-{number}").open("a"))
            for number in range(places)
        ]
        with file.with_name(f"{file.name}-queue").open("a") as queue:
            # Whoever came first gets the next place: the longest scenarios begin first. The first
            # of the queue waits for `PATIENCE` seconds at most, and one that dies lets go.
            fcntl.flock(queue.fileno(), fcntl.LOCK_EX)
            until = time.monotonic() + PATIENCE
            taken = None
            while taken is None and time.monotonic() < until:
                taken = next((one for one in files if _try(one.fileno(), fcntl.LOCK_EX)), None)
                if taken is None:
                    time.sleep(PAUSE)
        yield


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take(descriptor: int, kind: int) -> None:
    until = time.monotonic() + PATIENCE
    while not _try(descriptor, kind) and time.monotonic() < until:
        time.sleep(PAUSE)
