"""How late this process's own clockwork was, and how crowded its machine, while a scenario ran."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from vault_harness.scenario._beside import Beside
from vault_harness.scenario.history import History

INTERVAL = 0.02
"""Seconds between two beats."""

NOTED = 0.005
"""Seconds of lateness from which one is noted; an idle machine has a tenth of a millisecond."""

LOOK = 0.1
"""Seconds from one look at how long threads waited for a core to the next."""

_PRESSURE = Path("/proc/pressure/cpu")
_FILE = 1000
"""Bytes, more than it has."""


class Heartbeat(Beside):
    """A thread that wants to run every `INTERVAL` seconds, and notes each time that it could not.

    It shares the interpreter with the callers of the subject and with the recorder, so it is late
    when they are: because the machine is busy, or because one of them does not let go. It asks for
    so little, though, that Linux lets it run before those who ask for much; so it notes as well how
    long threads waited for a core, of whatever program, where the machine tells that.

    Args:
        history: Where stalls and crowding are noted.
        waited: Seconds for which some thread has waited for a core since the machine began; None
            where it does not tell.
    """

    def __init__(
        self, history: History, *, waited: Callable[[], float | None] | None = None
    ) -> None:
        super().__init__("heartbeat")
        self._history = history
        self._waited = seconds_waited_for_cores if waited is None else waited

    def _run(self) -> None:
        looked, waited = time.monotonic(), self._waited()
        due = looked + INTERVAL
        while not self._over.is_set():
            # Not a wait for an event: that takes three times as much, fifty times a second.
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            if now - due > NOTED:
                self._history.note_stall(due, now - due)
            due = now + INTERVAL
            if waited is not None and now - looked >= LOOK:
                until = self._waited()
                if until is not None and until - waited > NOTED:
                    self._history.note_crowding(looked, now, min(until - waited, now - looked))
                looked, waited = now, until


def seconds_waited_for_cores() -> float | None:
    """Seconds since this machine began in which at least one thread waited for a core.

    Linux counts them since 4.20, as pressure stall information ("some" of the file for the CPU).

    Returns:
        None where the kernel does not tell.
    """
    # Not `Path.read_text`, which takes five times as long, ten times a second.
    try:
        descriptor = os.open(_PRESSURE, os.O_RDONLY)
    except OSError:  # another system, an older kernel, or one told not to count
        return None
    try:
        return _in_seconds(os.read(descriptor, _FILE).decode("ascii"))
    except OSError:  # told not to count, says the file only now
        return None
    finally:
        os.close(descriptor)


def _in_seconds(pressure: str) -> float | None:
    """The total of ``some avg10=0.00 avg60=0.00 avg300=0.00 total=4061``, microseconds there."""
    for line in pressure.splitlines():
        kind, *fields = line.split()
        told = dict(one.partition("=")[::2] for one in fields)
        if kind == "some" and told.get("total", "").isdigit():
            return int(told["total"]) / 1e6
    return None
