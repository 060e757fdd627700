"""Scenarios side by side, some of them beginning, and one that needs the machine for itself."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PATIENCE = 300.0
"""Seconds after which a scenario that wants to be alone goes on beside others."""

PAUSE = 0.05

_WAITS = "-waits-"


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
def place(file: Path | None, *, places: int, rank: int = 0) -> Iterator[None]:
    """Be one of so many while the block runs: for what keeps a core busy, as starts do.

    All of a run's servers started at once take long, each of them; those that are under way by then
    would be disturbed by it, and clients whose secret-ids live for seconds would come too late.

    Args:
        file: What the processes of a run share; None where there is one.
        places: How many at once.
        rank: Of those that wait the one with the least goes first: the longest scenarios have to
            begin first, and forks that are made at once come here in any order.
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
        with _waiting(file, rank) as mine:
            # Whoever waits for too long goes on beside the others; one that dies lets go.
            until = time.monotonic() + PATIENCE
            taken = None
            while taken is None and time.monotonic() < until:
                if not _others_before(mine):
                    taken = next((one for one in files if _try(one.fileno(), fcntl.LOCK_EX)), None)
                if taken is None:
                    time.sleep(PAUSE)
        yield


@contextmanager
def _waiting(file: Path, rank: int) -> Iterator[Path]:
    """A file that is locked by who waits for a place, with a name that sorts by its turn."""
    who = f"{os.getpid()}-{threading.get_ident()}"
    mine = file.with_name(f"{file.name}{_WAITS}{rank:05}-{time.monotonic():015.3f}-{who}")
    with mine.open("x") as held:
        fcntl.flock(held.fileno(), fcntl.LOCK_EX)
        try:
            yield mine
        finally:
            mine.unlink(missing_ok=True)


def _others_before(mine: Path) -> bool:
    """Whether one waits whose turn comes before; the file of one that has died is not locked."""
    prefix = mine.name.partition(_WAITS)[0] + _WAITS
    before = sorted(f for f in mine.parent.glob(f"{prefix}*") if f.name < mine.name)
    for one in before:
        with suppress(FileNotFoundError), one.open() as other:
            if not _try(other.fileno(), fcntl.LOCK_SH):
                return True
    return False


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
