"""Wait for a condition, never for a fixed time."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

from vault_harness.errors import DeadlineExceeded

PATIENT_SECONDS = 5.0
"""Seconds that a person waits without asking why."""

_listeners: list[Callable[[str], None]] = []


def in_words(seconds: float) -> str:
    """Format seconds: ``30 s`` for 29.9901, ``0.25 s``."""
    return f"{round(seconds, 1 if seconds >= 1 else 2):g} s"


@contextlib.contextmanager
def telling_waits(listener: Callable[[str], None]) -> Iterator[None]:
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class Awaited:
    """One wait, reported once if it takes long. ``what`` follows "waiting for"."""

    def __init__(self, what: str, most: float | None = None) -> None:
        self._what = what
        self._most = most
        self._tell_at = time.monotonic() + PATIENT_SECONDS
        self._told = False

    def still(self, state: Callable[[], str] = str) -> None:
        """Note that the wait goes on; ``state`` is called only for a report, and asks no server."""
        if self._told or not _listeners or time.monotonic() < self._tell_at:
            return
        self._told = True
        most = "" if self._most is None else f", {in_words(self._most)} at most"
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
    """Wait until a condition holds, or raise `DeadlineExceeded`.

    Args:
        condition: Its exceptions end the wait.
        what: Follows "waiting for".
        interval: Seconds between two looks.
        evidence: Called at the deadline; returns the last observation.
    """
    deadline = time.monotonic() + timeout
    awaited = Awaited(what, timeout)
    while not condition():
        awaited.still()
        if time.monotonic() >= deadline:
            raise DeadlineExceeded(
                f"timed out after {in_words(timeout)} waiting for {what}",
                looked_at=evidence(),
                remedy=remedy,
            )
        time.sleep(interval)


def rest(seconds: float, what: str) -> None:
    """Let a fixed time pass, if there is no condition to await."""
    awaited, end = Awaited(what, seconds), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        awaited.still()
        time.sleep(min(left, PATIENT_SECONDS))


MOST_CROWDED = 8.0


def crowding() -> float:
    """Return how many processes want to run on each core, up to `MOST_CROWDED`.

    It is an average over the last minute, so a wait asks again when its time is over.
    """
    return min(MOST_CROWDED, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
