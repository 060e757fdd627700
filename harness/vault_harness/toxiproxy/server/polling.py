"""Watching sockets for the loop, at less cost than `loop.add_reader` has.

On Linux all sockets of all proxies are in one epoll set of our own, and the loop watches only that
set (an epoll descriptor can be watched like any other). Registering is one system call, closing a
socket unregisters it for nothing, and one wake-up of the loop serves every socket that is ready.
Elsewhere the loop's own `add_reader` and `add_writer` do.
"""

from __future__ import annotations

import asyncio
import select
import sys
from collections.abc import Callable
from typing import Protocol

BATCH = 128
"""Sockets served before others are looked for."""
ROUNDS = 4
"""Looks at all sockets before the loop, and so the API, gets its turn."""

Callback = Callable[[], None]


class Poller(Protocol):
    """Calls back when a descriptor can be read or written, for as long as that is so."""

    def read(self, fd: int, callback: Callback) -> None:
        """Call back when there is something to read, the end of the stream and errors included."""

    def write(self, fd: int, callback: Callback) -> None:
        """Call back when something can be written, or never will."""

    def ignore_read(self, fd: int) -> None:
        """No more calls for reading."""

    def ignore_write(self, fd: int) -> None:
        """No more calls for writing."""

    def forget(self, fd: int) -> None:
        """No more calls at all: the descriptor is closed right after this."""

    def close(self) -> None:
        """Watch nothing any more."""


def make(loop: asyncio.AbstractEventLoop) -> Poller:
    """The best one here."""
    return EpollPoller(loop) if sys.platform == "linux" else LoopPoller(loop)


class LoopPoller:
    """By the loop's own means."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def read(self, fd: int, callback: Callback) -> None:
        """See `Poller`."""
        self._loop.add_reader(fd, callback)

    def write(self, fd: int, callback: Callback) -> None:
        """See `Poller`."""
        self._loop.add_writer(fd, callback)

    def ignore_read(self, fd: int) -> None:
        """See `Poller`."""
        self._loop.remove_reader(fd)

    def ignore_write(self, fd: int) -> None:
        """See `Poller`."""
        self._loop.remove_writer(fd)

    def forget(self, fd: int) -> None:
        """See `Poller`."""
        self._loop.remove_reader(fd)
        self._loop.remove_writer(fd)

    def close(self) -> None:
        """See `Poller`."""


if sys.platform == "linux":
    READ = select.EPOLLIN | select.EPOLLRDHUP
    WRITE = select.EPOLLOUT
    TROUBLE = select.EPOLLERR | select.EPOLLHUP  # reported whether asked for or not

    class EpollPoller:
        """By an epoll set of our own."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self._loop = loop
            self._epoll = select.epoll()
            self._readers: dict[int, Callback] = {}
            self._writers: dict[int, Callback] = {}
            loop.add_reader(self._epoll.fileno(), self._ready)

        def read(self, fd: int, callback: Callback) -> None:
            """See `Poller`."""
            self._readers[fd] = callback
            if fd in self._writers:
                self._epoll.modify(fd, READ | WRITE)
            else:
                self._epoll.register(fd, READ)

        def write(self, fd: int, callback: Callback) -> None:
            """See `Poller`."""
            self._writers[fd] = callback
            if fd in self._readers:
                self._epoll.modify(fd, READ | WRITE)
            else:
                self._epoll.register(fd, WRITE)

        def ignore_read(self, fd: int) -> None:
            """See `Poller`."""
            if self._readers.pop(fd, None) is not None:
                if fd in self._writers:
                    self._epoll.modify(fd, WRITE)
                else:
                    # Not even trouble is of interest now, and epoll would go on reporting it.
                    self._epoll.unregister(fd)

        def ignore_write(self, fd: int) -> None:
            """See `Poller`."""
            if self._writers.pop(fd, None) is not None:
                if fd in self._readers:
                    self._epoll.modify(fd, READ)
                else:
                    self._epoll.unregister(fd)

        def forget(self, fd: int) -> None:
            """See `Poller`."""
            self._readers.pop(fd, None)
            self._writers.pop(fd, None)

        def close(self) -> None:
            """See `Poller`."""
            if not self._epoll.closed:
                self._loop.remove_reader(self._epoll.fileno())
                self._epoll.close()

        def _ready(self) -> None:
            readers, writers = self._readers, self._writers
            # A descriptor may be closed, and its number used again, before its event's turn: then a
            # stranger is called for nothing, finds nothing to do, and that is all.
            poll = self._epoll.poll
            for _ in range(ROUNDS):
                ready = poll(0, BATCH)
                if not ready:
                    return
                for fd, events in ready:
                    if events & ~WRITE:
                        callback = readers.get(fd)
                        if callback is not None:
                            callback()
                    if events & (WRITE | TROUBLE):
                        callback = writers.get(fd)
                        if callback is not None:
                            callback()
