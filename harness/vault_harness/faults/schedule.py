"""Faults that come and go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from vault_harness.errors import DeadlineExceeded
from vault_harness.faults._fault import Fault


@contextmanager
def flapping(
    fault: Callable[[], AbstractContextManager[Fault]], *, on: float, off: float
) -> Iterator[list[Fault]]:
    """Break and mend in turn while the block runs, beginning broken and ending mended.

    Args:
        fault: Makes the fault anew for each turn.
        on: Seconds broken.
        off: Seconds mended.

    Yields:
        A list that grows with each turn.
    """
    stop = threading.Event()
    turns: list[Fault] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            while not stop.is_set():
                with fault() as turn:
                    turns.append(turn)
                    stop.wait(on)
                stop.wait(off)
        except BaseException as error:  # noqa: BLE001 - passed on to the scenario's own thread below
            failures.append(error)

    thread = threading.Thread(target=run, name="flapping", daemon=True)
    thread.start()
    try:
        yield turns
    finally:
        stop.set()
        thread.join(timeout=30)
        if thread.is_alive():
            raise DeadlineExceeded(
                "A flapping fault could not be undone within 30 s", looked_at=repr(turns[-1:])
            )
        if failures:
            raise failures[0]
