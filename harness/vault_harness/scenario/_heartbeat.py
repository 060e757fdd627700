"""How late this process's own clockwork was, while a scenario ran."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from vault_harness.scenario.history import History

INTERVAL = 0.02
"""Seconds between two beats."""

NOTED = 0.005
"""Seconds of lateness from which one is noted; an idle machine has a tenth of a millisecond."""


class Heartbeat:
    """A thread that wants to run every `INTERVAL` seconds, and notes each time that it could not.

    It shares the interpreter with the callers of the subject and with the recorder, so it is late
    when they are: because the machine is busy, or because one of them does not let go.

    Args:
        history: Where stalls are noted.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped = True
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        due = time.monotonic() + INTERVAL
        while not self._stopped:
            # Not a wait for an event: that takes three times as much, fifty times a second.
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            if now - due > NOTED:
                self._history.note_stall(due, now - due)
            due = now + INTERVAL
