"""How late this process's own clockwork was, while a scenario ran."""

from __future__ import annotations

import time

from vault_harness.scenario._beside import Beside
from vault_harness.scenario.history import History

INTERVAL = 0.02
"""Seconds between two beats."""

NOTED = 0.005
"""Seconds of lateness from which one is noted; an idle machine has a tenth of a millisecond."""


class Heartbeat(Beside):
    """A thread that wants to run every `INTERVAL` seconds, and notes each time that it could not.

    It shares the interpreter with the callers of the subject and with the recorder, so it is late
    when they are: because the machine is busy, or because one of them does not let go.

    Args:
        history: Where stalls are noted.
    """

    def __init__(self, history: History) -> None:
        super().__init__("heartbeat")
        self._history = history

    def _run(self) -> None:
        due = time.monotonic() + INTERVAL
        while not self._over.is_set():
            # Not a wait for an event: that takes three times as much, fifty times a second.
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            if now - due > NOTED:
                self._history.note_stall(due, now - due)
            due = now + INTERVAL
