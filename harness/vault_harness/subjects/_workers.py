"""Calls of a client on threads of the harness's own, which it may keep for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from vault_harness.subjects._python_object import in_words
from vault_harness.subjects._shape import SubjectHung

T = TypeVar("T")


class Workers:
    """Threads that run one call each and are used again: a client's per-thread state lives on.

    `concurrent.futures` has such a pool, but the interpreter waits for its threads at exit, and
    one that a client keeps for ever would keep the harness too.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self.closed = False

    def run(self, call: Callable[[], T], what: str, timeout: float) -> T:
        """What ``call`` returns or raises.

        Raises:
            SubjectHung: It does neither within ``timeout`` seconds.
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
        """End the idle threads; one that is in a call ends after it."""
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
    """The future once it is done; ``result`` would confuse a TimeoutError of the call."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not done.wait(timeout):
        raise TimeoutError
    return future


class _Worker:
    """One thread and the place where its next call is put."""

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
            # Before the one who waits goes on: the next call shall find this very thread.
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
