"""Looking names up within a deadline."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from concurrent.futures import Future
from typing import Any

Address = tuple[Any, Any, int, str, Any]


class Resolver:
    """Looks names up in a thread of its own, since the system's look-up knows no timeout.

    One look-up for a name is under way at a time, however many wait for it: if the name service
    hangs, one thread hangs. A name is looked up for each connection, so one that moves is followed
    at the next. Where no thread is to be had, as at the end of a program, when its token is to be
    given back, what was found last has to do.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pending: dict[tuple[str, int], Future[list[Address]]] = {}
        self._found: dict[tuple[str, int], list[Address]] = {}

    def addresses(self, host: str, port: int, timeout: float) -> list[Address]:
        """Where ``host`` is.

        Raises:
            TimeoutError: The name service did not answer in time.
            OSError: There is no such name, or no thread to look it up in.
        """
        with contextlib.suppress(socket.gaierror):
            return socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        with self._lock:
            pending = self._pending.get((host, port))
            if pending is None or pending.done():
                pending = self._started(host, port)
        return pending.result(timeout)

    def _started(self, host: str, port: int) -> Future[list[Address]]:
        """A look-up of which others hear once it is under way.

        Not sooner: a signal's handler that comes here in the midst of this would wait for what its
        own thread has yet to start.
        """
        pending: Future[list[Address]] = Future()
        try:
            threading.Thread(
                target=self._look_up,
                args=(host, port, pending),
                name="vault-resolver",
                daemon=True,
            ).start()
        except RuntimeError as error:
            # The machine is out of threads, or the interpreter is about to end.
            if (host, port) not in self._found:
                raise OSError(errno.EAGAIN, "no thread to look the name up in") from error
            pending.set_result(self._found[host, port])
        else:
            self._pending[host, port] = pending
        return pending

    def _look_up(self, host: str, port: int, pending: Future[list[Address]]) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            pending.set_exception(error)
        else:
            self._found[host, port] = found
            pending.set_result(found)
        # Last: whoever waits may be the handler of a signal that came in the midst of `addresses`.
        with self._lock:
            if self._pending.get((host, port)) is pending:
                del self._pending[host, port]
