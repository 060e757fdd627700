"""What time it is for a token, a lease and a value, which get older while the machine sleeps.

`time.monotonic` stands still then, on Linux, and Vault's clock does not: by it a token would live
on that has ended, and a value would stand in for longer than it may. How long to wait is another
matter: a call whose machine slept has the rest of its time (`Deadline`).
"""

from __future__ import annotations

import contextlib
import time


def _found() -> int:
    """The clock that goes on in a sleep, and that nobody sets."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        with contextlib.suppress(OSError):  # a kernel that does not know it
            time.clock_gettime(time.CLOCK_BOOTTIME)
            return time.CLOCK_BOOTTIME
    return time.CLOCK_MONOTONIC  # which is that one where there is no other, as on macOS


_CLOCK = _found()


def clock() -> float:
    """Seconds since some time in the past, a sleep's among them."""
    return time.clock_gettime(_CLOCK)
