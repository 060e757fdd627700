"""Calls of a client on the harness's own threads, which the client may block for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from vault_harness.judge.subjects.python_object import in_words
from vault_harness.judge.subjects.shape import SubjectHung

T = TypeVar("T")


class Workers:
    """Threads that run one call each and are used again, so that a client's thread state lives on.

    At exit, the interpreter waits for the threads of `concurrent.futures`. A thread that a client
    blocks for ever would then block the harness too.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self.closed = False

    def run(self, call: Callable[[], T], what: str, timeout: float) -> T:
        """Return what ``call`` returns, or raise what it raises.

        Raises:
            SubjectHung: It takes more than ``timeout`` seconds.
        """
        began = time.monotonic()
        future = self.start(call)
        try:
            done = _settled(future, timeout)
        except TimeoutError:
            raise SubjectHung(
                f"the subject did not return from {what} within {timeout:g} s",
                looked_at=f"{self._name}, for {time.monotonic() - began:.1f} s",
                remedy="give every call a deadline of its own",
            ) from None
        return done.result()

    def start(self, call: Callable[[], T]) -> Future[T]:
        """Run ``call`` on a thread, and do not wait for it."""
        with self._lock:
            worker = self._idle.pop() if self._idle else _Worker(self._name, self._back)
        future: Future[T] = Future()
        worker.give(call, future)
        return future

    def close(self) -> None:
        """End the idle threads. A busy thread ends after its call."""
        with self._lock:
            self.closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.stop()

    def _back(self, worker: _Worker) -> bool:
        with self._lock:
            if not self.closed:
                self._idle.append(worker)
            return not self.closed


def _settled(future: Future[T], timeout: float) -> Future[T]:
    """Wait for the future. ``result(timeout)`` cannot be told from a TimeoutError of the call."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(timeout):
        raise TimeoutError
    return future


class _Worker:
    """A thread, and the place for its next call."""

    def __init__(self, name: str, back: Callable[[_Worker], bool]) -> None:
        self._back = back
        self._ready = threading.Semaphore(0)
        self._call: Callable[[], None] | None = None
        threading.Thread(target=self._run, name=f"subject {name}", daemon=True).start()

    def give(self, call: Callable[[], T], future: Future[T]) -> None:
        """Run this call next."""

        def settle() -> None:
            try:
                result = call()
            except Exception as error:  # noqa: BLE001 - whatever a client raises is its answer
                outcome: Exception | None = error
            except BaseException as error:  # noqa: BLE001 - SystemExit must not end our thread
                outcome = RuntimeError(f"the client raised {in_words(error)}")
            else:
                outcome = None
            # Before the waiting caller goes on: the next call must find this very thread.
            self._alive = self._back(self)
            if outcome is None:
                future.set_result(result)
            else:
                future.set_exception(outcome)

        self._call = settle
        self._ready.release()

    def stop(self) -> None:
        """End the thread, which must be idle."""
        self._call = None
        self._ready.release()

    def _run(self) -> None:
        self._alive = True
        while self._alive:
            self._ready.acquire()
            call, self._call = self._call, None
            if call is None:
                return
            call()
            del call
