"""A thread that does what is due, sleeps until more is, and is started again if it dies."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from resilient_vault_client._boundary import boundary, where

# Seconds that a wait takes at most: it stands still while the machine sleeps, and what is due does
# not.
_LOOK_EVERY = 30.0

_log = logging.getLogger("resilient_vault_client")


class Background(ABC):
    """Work of a client that goes on by itself.

    Its lock lets its own thread in again: a signal's handler may come in the midst of a start.

    Args:
        name: Of the thread.
        purpose: What it is for, to follow "no thread to".

    Attributes:
        running: Whether the thread does its work; for a finalizer, which must not ask the thread.
    """

    def __init__(self, name: str, purpose: str) -> None:
        self._name = name
        self._purpose = purpose
        self._lock = threading.RLock()
        self._starting = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopped = False
        self.running = False
        self._farewell: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None

    @abstractmethod
    def _step(self) -> float | None:
        """Do what is due; the seconds until something else is, or None for never."""

    def _restarted(self) -> None:  # noqa: B027 - who has nobody to tell leaves it as it is
        """The thread had died and was started again; for those who tell that."""

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    @property
    def started_before(self) -> bool:
        """Whether it has ever run."""
        return self._thread is not None

    def ensure_running(self) -> None:
        """Start the thread at the first call, and again if it has died."""
        if self.alive or self._stopped:
            return
        with self._lock:
            if self._starting:
                return  # this is a signal's handler that has interrupted the start
            self._starting = True
            try:
                before = self._thread
                if before is not None and before.is_alive():
                    return
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._thread = thread
            except RuntimeError as error:
                # The machine is out of threads, or the interpreter is about to end: reads go on.
                _log.warning("vault: no thread to %s: %s", self._purpose, error)
                return
            finally:
                self._starting = False
        if before is not None:
            self._restarted()

    def wake(self) -> None:
        """Look now whether something is due."""
        # The one way to wake a thread that takes no lock, as a finalizer must not.
        self._wake.put(None)

    def stop(self) -> None:
        """Let the thread end when it has finished what it does."""
        self._stopped = True
        self._wake.put(None)

    def abandon(self, farewell: Callable[[], None]) -> None:
        """As `stop`, from a finalizer: no lock is taken, and the thread does what is left to do."""
        self._farewell = farewell
        self.stop()

    def join(self, timeout: float) -> None:
        """Wait for its end."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    @boundary
    def _run(self) -> None:
        self.running = True
        try:
            self._work()
        finally:
            self.running = False

    def _work(self) -> None:
        while not self._stopped:
            wait: float | None = 1.0
            try:
                wait = self._step()
            except Exception as error:  # noqa: BLE001 - a mistake here must not end all renewal
                _log.error("vault: the renewal stumbled over %s", where(error))
            self._rest(wait)
        if self._farewell is not None:
            self._farewell()

    def _rest(self, seconds: float | None) -> None:
        """Wait until then, or until there is something to look at."""
        with contextlib.suppress(queue.Empty):
            self._wake.get(timeout=None if seconds is None else min(seconds, _LOOK_EVERY))
            while True:
                self._wake.get_nowait()
