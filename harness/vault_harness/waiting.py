"""Waiting for a condition, never for a while."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

from vault_harness.errors import DeadlineExceeded

PATIENT_SECONDS = 5.0
"""For how long a person waits without asking what for."""

_listeners: list[Callable[[str], None]] = []


@contextlib.contextmanager
def telling_waits(listener: Callable[[str], None]) -> Iterator[None]:
    """Let a person know, until the block ends, what is awaited where that takes a while.

    Args:
        listener: Takes a line, once for each `Awaited` that takes longer than `PATIENT_SECONDS`.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class Awaited:
    """One wait that somebody may wonder about: told once, if it takes a while.

    Args:
        what: In words, to follow "waiting for".
        most: Seconds that it takes at most; None where nobody can tell.
    """

    def __init__(self, what: str, most: float | None = None) -> None:
        self._what = what
        self._most = most
        self._tell_at = time.monotonic() + PATIENT_SECONDS
        self._told = False

    def still(self, state: Callable[[], str] = str) -> None:
        """To be called at each look: it has not come yet.

        Args:
            state: How things are now; called only where it is told, and asks no server.
        """
        if self._told or not _listeners or time.monotonic() < self._tell_at:
            return
        self._told = True
        most = "" if self._most is None else f", {self._most:g} s at most"
        how = state()
        for listener in _listeners:
            listener(f"waiting for {self._what}{most}" + (f": {how}" if how else ""))


def wait_until(
    condition: Callable[[], bool],
    what: str,
    *,
    timeout: float,
    interval: float = 0.02,
    evidence: Callable[[], str] = lambda: "",
    remedy: str = "",
) -> None:
    """Look at a condition until it holds.

    Args:
        condition: Called again and again; an exception ends the wait and is passed on.
        what: The condition in words, to follow "waited for".
        timeout: Seconds.
        interval: Seconds between two looks.
        evidence: Called at the deadline for what was looked at last.
        remedy: What to do if it never comes true.

    Raises:
        DeadlineExceeded: It did not hold in time.
    """
    deadline = time.monotonic() + timeout
    awaited = Awaited(what, timeout)
    while not condition():
        awaited.still()
        if time.monotonic() >= deadline:
            raise DeadlineExceeded(
                f"timed out after {timeout:g} s waiting for {what}",
                looked_at=evidence(),
                remedy=remedy,
            )
        time.sleep(interval)


def rest(seconds: float, what: str) -> None:
    """Let a time go by of which nothing tells that it is over.

    Args:
        seconds: How long.
        what: What it is for, to follow "waiting for".
    """
    awaited, end = Awaited(what, seconds), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        awaited.still()
        time.sleep(min(left, PATIENT_SECONDS))


MOST_CROWDED = 8.0
"""How many times longer at most a start may take on a machine that has more to do than it can."""


def crowding() -> float:
    """How many processes want to run on each core: 1 at least, `MOST_CROWDED` at most.

    It is an average over the last minute, so a wait looks at it again when its time is over.
    """
    return min(MOST_CROWDED, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
