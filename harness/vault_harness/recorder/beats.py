"""The witness's clock, which beats in a process of its own.

An interpreter without site packages runs this file, so that it starts in a few milliseconds.
Arguments: the file to write, and the pid of the parent, whose end ends the program.
"""

import os
import struct
import sys
import time

INTERVAL = 0.02

LOOK = 0.1
"""Seconds of each entry."""

SLOTS = 6000
"""Entries in the file: ten minutes, longer than any scenario."""

ENTRY = struct.Struct("<4d")
"""Its time, the start and length of its longest stall, and the programs that wanted to run. Times
are seconds on the monotonic clock, which all processes share.
"""


def wanted() -> int:
    """Return how many other programs want to run; 0 if unknown."""
    try:
        with open("/proc/loadavg", encoding="ascii") as file:  # noqa: PTH123 - do not load pathlib
            return max(0, int(file.read().split()[3].split("/")[0]) - 1)
    except (OSError, ValueError, IndexError):
        return 0


def beat(file: int, parent: int) -> None:
    number, written = 0, time.monotonic()
    due, at, length = written + INTERVAL, 0.0, 0.0
    while os.getppid() == parent:
        time.sleep(max(0.0, due - time.monotonic()))
        now = time.monotonic()
        if now - due > length:
            at, length = due, now - due
        due = now + INTERVAL
        if now - written >= LOOK:
            entry = ENTRY.pack(now, at, length, wanted())
            os.pwrite(file, entry, number % SLOTS * ENTRY.size)
            number, written, length = number + 1, now, 0.0


if __name__ == "__main__":
    beat(os.open(sys.argv[1], os.O_WRONLY), int(sys.argv[2]))
