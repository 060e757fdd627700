"""Sockets that obey the deadline of the call, from the look-up of the name to the last byte.

A socket timeout alone limits each single read, so that a server which sends a byte now and then
holds its caller for ever. Here every read and write gets what is left of the whole call. Nothing
watches from outside: no thread stays behind when a call ends.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from resilient_vault_client._deadline import seconds_left

_Address = tuple[Any, Any, int, str, Any]


class DeadlineSocket(socket.socket):
    """A plain socket whose reads and writes end by the deadline that is bound to the thread."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """As `socket.socket.recv_into`."""
        _limit(self)
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        """As `socket.socket.sendall`, whose timeout is a total one by itself."""
        _limit(self)
        return super().sendall(*args, **kwargs)


class DeadlineTlsSocket(ssl.SSLSocket):
    """The same for a secure connection."""

    def do_handshake(self, block: bool = False) -> None:
        """As `ssl.SSLSocket.do_handshake`."""
        _limit(self)
        super().do_handshake(block)

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """As `ssl.SSLSocket.read`, which all its ways to receive go through."""
        _limit(self)
        return super().read(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        """As `ssl.SSLSocket.send`, which `sendall` calls piece by piece."""
        _limit(self)
        return super().send(*args, **kwargs)


class Resolver:
    """Looks names up in a thread of its own, since the system's look-up knows no timeout.

    One look-up for a name is under way at a time, however many wait for it: if the name service
    hangs, one thread hangs. Nothing is remembered, so a name that moves is followed at the next
    connection.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, int], Future[list[_Address]]] = {}

    def addresses(self, host: str, port: int, timeout: float | None) -> list[_Address]:
        """Where ``host`` is.

        Raises:
            TimeoutError: The name service did not answer in time.
            socket.gaierror: There is no such name.
        """
        with contextlib.suppress(socket.gaierror):
            return socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        with self._lock:
            pending = self._pending.get((host, port))
            if pending is None:
                pending = self._pending[host, port] = Future()
                threading.Thread(
                    target=self._look_up,
                    args=(host, port, pending),
                    name="vault-resolver",
                    daemon=True,
                ).start()
        return pending.result(timeout)

    def _look_up(self, host: str, port: int, pending: Future[list[_Address]]) -> None:
        found: list[_Address] = []
        failure: Exception | None = None
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            failure = error
        with self._lock:
            del self._pending[host, port]
        if failure is None:
            pending.set_result(found)
        else:
            pending.set_exception(failure)


class OpenSockets:
    """The sockets of one client that are open, so that its end can wake those who wait on them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def add(self, sock: socket.socket) -> None:
        """Remember a socket as long as anybody else does."""
        with self._lock:
            self._sockets.add(sock)

    def forget(self) -> None:
        """After a fork: close this process's copies, silently and without locks."""
        for sock in list(self._sockets):
            sock.close()

    def abort(self) -> None:
        """Break every connection; who waits on one gets an error at once."""
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with contextlib.suppress(OSError):
                # Not the method of the TLS socket, which would pull the session from under its
                # reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def pool_classes(
    resolver: Resolver, sockets: OpenSockets, tls: Callable[[], ssl.SSLContext]
) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Connection pools by scheme, for `urllib3.PoolManager.pool_classes_by_scheme`.

    Args:
        resolver: Who looks names up.
        sockets: Where open sockets are registered.
        tls: Gives the context for a new secure connection, so that changed files take effect.
    """

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self, self._dns_host, resolver)

        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self, self._dns_host, resolver)

        def connect(self) -> None:
            self.ssl_context = tls()
            self.cert_reqs = self.ssl_context.verify_mode
            super().connect()
            # Without verification urllib3 would warn at each request; the client says it once.
            self.is_verified = True
            sockets.add(self.sock)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls: Any = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls: Any = Secure

    return {"http": PlainPool, "https": SecurePool}


def _limit(sock: socket.socket) -> None:
    left = seconds_left()
    if left is not None:
        sock.settimeout(left)


def _connect(connection: HTTPConnection, host: str, resolver: Resolver) -> socket.socket:
    default = connection.timeout
    try:
        addresses = resolver.addresses(host, connection.port, seconds_left(default))
        return _first_that_answers(addresses, default)
    except socket.gaierror as error:
        raise NameResolutionError(host, connection, error) from None
    except TimeoutError:
        raise ConnectTimeoutError(connection, f"no connection to {host} in time") from None
    except OSError as error:
        raise NewConnectionError(connection, f"no connection to {host}: {error.strerror}") from None


def _first_that_answers(addresses: list[_Address], default: float | None) -> socket.socket:
    failure: OSError = OSError("the name has no address")
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = DeadlineSocket(family, kind, protocol)
        try:
            left = seconds_left(default)
            # A silent address must leave time for the next one.
            sock.settimeout(None if left is None else left / (len(addresses) - tried))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure
