"""Connecting to an upstream, without holding up anybody else."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from vault_harness.toxiproxy.server import addresses

if TYPE_CHECKING:
    from vault_harness.toxiproxy.server.proxies import Server

TIMEOUT = 30.0
"""Seconds until an upstream that does not answer is given up; upstream itself waits for ever."""


class Dial:
    """One attempt to connect: every address of the host in turn.

    Either ``connected`` is called with a socket that does not block, or ``failed`` with the reason,
    or neither after `cancel`. Both may be called before `start` returns.
    """

    __slots__ = (
        "connected",
        "failed",
        "hosts",
        "loop",
        "poller",
        "port",
        "sock",
        "task",
        "timer",
        "upstream",
    )

    def __init__(
        self,
        upstream: str,
        server: Server,
        connected: Callable[[socket.socket], None],
        failed: Callable[[str], None],
    ) -> None:
        self.upstream = upstream
        self.loop = server.loop
        self.poller = server.poller
        self.connected = connected
        self.failed = failed
        self.hosts: list[str] = []
        self.port = 0
        self.sock: socket.socket | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin."""
        try:
            host, self.port, known = _parse(self.upstream)
        except addresses.AddressError as error:
            self.failed(str(error))
            return
        if known:
            self.hosts = list(known)
            self._next("no address")
        else:
            self.task = self.loop.create_task(self._resolve(host))

    def cancel(self) -> None:
        """Give up quietly."""
        if self.task is not None:
            self.task.cancel()
        self._drop()

    async def _resolve(self, host: str) -> None:
        try:
            self.hosts = await addresses.candidates(host)
        except addresses.AddressError as error:
            self.failed(str(error))
            return
        finally:
            self.task = None
        self._next("no address")

    def _next(self, reason: str) -> None:
        while self.hosts:
            host = self.hosts.pop(0)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as error:
                reason = addresses.reason(error)
                continue
            self.sock = sock
            try:
                sock.setblocking(False)
                addresses.tune(sock)
                code = sock.connect_ex((host, self.port))
                if code == errno.EINPROGRESS:
                    # On loopback the answer is there already, and asking again is how to see it.
                    code = sock.connect_ex((host, self.port))
            except OSError as error:
                code = error.errno or errno.EINVAL
            except (OverflowError, ValueError):
                code = errno.EINVAL
            if code in {0, errno.EISCONN}:
                self._done()
                return
            if code in {errno.EINPROGRESS, errno.EALREADY}:
                self.timer = self.loop.call_later(TIMEOUT, self._expired)
                self.poller.write(sock.fileno(), self._writable)
                return
            reason = addresses.reason(OSError(code, ""))
            self._drop()
        self.failed(reason)

    def _writable(self) -> None:
        if self.sock is None:
            return
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._drop()
            self._next(addresses.reason(OSError(code, "")))
            return
        try:
            self.sock.getpeername()
        except OSError:
            return  # called for nothing (see `polling`): it is not connected yet
        self._done()

    def _expired(self) -> None:
        self._drop()
        self._next("i/o timeout")

    def _done(self) -> None:
        sock = self._release()
        if sock is not None:
            self.connected(sock)

    def _drop(self) -> None:
        sock = self._release()
        if sock is not None:
            sock.close()

    def _release(self) -> socket.socket | None:
        sock, self.sock = self.sock, None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
            if sock is not None:
                self.poller.ignore_write(sock.fileno())
        return sock


@lru_cache(maxsize=256)
def _parse(upstream: str) -> tuple[str, int, tuple[str, ...]]:
    """Host, port, and the addresses that need no lookup."""
    host, port = addresses.split(upstream)
    number = addresses.port_number(port)
    if host in {"", "localhost"}:
        return host, number, ("127.0.0.1", "::1")
    return host, number, (host,) if addresses.is_ip(host) else ()
