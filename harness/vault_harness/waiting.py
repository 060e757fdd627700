"""Waiting for a condition, never for a while."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from vault_harness.errors import DeadlineExceeded


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
    while not condition():
        if time.monotonic() >= deadline:
            raise DeadlineExceeded(
                f"timed out after {timeout:g} s waiting for {what}",
                looked_at=evidence(),
                remedy=remedy,
            )
        time.sleep(interval)


MOST_CROWDED = 8.0
"""How many times longer at most a start may take on a machine that has more to do than it can."""


def crowding() -> float:
    """How many processes want to run on each core: 1 at least, `MOST_CROWDED` at most.

    It is an average over the last minute, so a wait looks at it again when its time is over.
    """
    return min(MOST_CROWDED, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
