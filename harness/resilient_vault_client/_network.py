"""A network backend for httpcore that ends by the deadline of the call, whatever the server does.

A socket's timeout limits each single read, so that a server which sends a byte now and then holds
its caller for ever. Here every look-up, connection, handshake, read and write gets what is left of
the whole call. Nothing watches from outside: no thread stays behind when a call ends.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

from resilient_vault_client._deadline import Deadline
from resilient_vault_client._resolver import Address, Resolver

# Bytes of one answer: many times the most that Vault keeps of a secret. Who sends more has no end
# in mind, and would fill the memory until the deadline.
MOST_BYTES = 32 * 1024 * 1024


class AnswerWithoutEnd(httpcore.ProtocolError):
    """More came than any answer of Vault's has."""


class DeadlineBackend(httpcore.NetworkBackend):
    """Makes the one socket of a connection, and knows when the call on it must be over.

    Args:
        resolver: Who looks names up.

    Attributes:
        deadline: That of the call which uses the connection right now.
        socket: The open socket, so that the client's end can wake who waits on it.
        received: How many bytes came back since the call began.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self.deadline = Deadline(0.0)
        self.socket: socket.socket | None = None
        self.received = 0
        self._aborted = False

    def begin(self, deadline: Deadline) -> None:
        """Another call uses the connection from now on."""
        self.deadline = deadline
        self.received = 0

    def left(self) -> float:
        """Seconds left for the next operation.

        Raises:
            TimeoutError: None.
            OSError: The connection was broken on purpose.
        """
        if self._aborted:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the client was closed")
        return self.deadline.for_socket()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect; the times and options of httpcore's caller do not count.

        Raises:
            httpcore.ConnectTimeout: Not in time.
            httpcore.ConnectError: There is no such name, or nobody listens.
        """
        del timeout, local_address, socket_options
        try:
            addresses = self._resolver.addresses(host, port, self.left())
            self._first_that_answers(addresses)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error
        except OSError as error:
            raise httpcore.ConnectError from error
        return DeadlineStream(self)

    def abort(self) -> None:
        """Break the connection; who waits on it gets an error at once."""
        self._aborted = True
        if self.socket is not None:
            with contextlib.suppress(OSError):
                # Not the method of the TLS socket, which would pull the session from under its
                # reader.
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket and say nothing to the other side."""
        if self.socket is not None:
            self.socket.close()

    def _first_that_answers(self, addresses: list[Address]) -> None:
        failure = OSError("the name has no address")
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            try:
                sock = self.socket = socket.socket(family, kind, protocol)
            except OSError as error:
                # This machine has no IPv6, say: one of IPv4 may work, and if not it says more.
                failure = failure if tried else error
                continue
            try:
                # A silent address must leave time for the next one.
                sock.settimeout(self.left() / (len(addresses) - tried))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return
        raise failure


class DeadlineStream(httpcore.NetworkStream):
    """What httpcore reads from and writes to.

    Args:
        backend: Who holds the socket and the deadline.
    """

    def __init__(self, backend: DeadlineBackend) -> None:
        assert backend.socket is not None
        self._backend = backend
        self._socket = backend.socket

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What comes next; nothing at the end.

        Raises:
            httpcore.ReadTimeout: Not in time.
            httpcore.ReadError: The connection broke.
            AnswerWithoutEnd: That is too much.
        """
        del timeout
        try:
            data = self._received(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout from error
        except OSError as error:
            raise httpcore.ReadError from error
        self._backend.received += len(data)
        if self._backend.received > MOST_BYTES:
            raise AnswerWithoutEnd
        return data

    def _received(self, max_bytes: int) -> bytes:
        """What comes next; whoever reads has sent all that it asks for."""
        while True:
            try:
                self._socket.settimeout(self._backend.left())
                return self._socket.recv(max_bytes)
            except TimeoutError:
                if not self._backend.deadline.goes_on():
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send everything.

        Raises:
            httpcore.WriteTimeout: Not in time.
            httpcore.WriteError: The connection broke.
        """
        del timeout
        left = memoryview(buffer)
        try:
            while left:
                self._socket.settimeout(self._backend.left())
                left = left[self._socket.send(left) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout from error
        except OSError as error:
            raise httpcore.WriteError from error

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """The same connection, secured.

        Raises:
            httpcore.ConnectTimeout: The handshake was not over in time.
            httpcore.ConnectError: One side does not trust the other, or the connection broke.
        """
        del timeout
        try:
            # The handshake is made apart, by a socket that is known here: `abort` must find it, and
            # the one before has lost its descriptor to it.
            secured = self._backend.socket = ssl_context.wrap_socket(
                self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
            )
            secured.settimeout(self._backend.left())
            secured.do_handshake()
        except TimeoutError as error:
            self.close()
            raise httpcore.ConnectTimeout from error
        except (OSError, ValueError) as error:
            self.close()
            raise httpcore.ConnectError from error
        return DeadlineStream(self._backend)

    def close(self) -> None:
        """Close it."""
        self._backend.close()

    def get_extra_info(self, info: str) -> Any:
        """Whether there is something to read, which between two calls means that it has ended."""
        return _is_readable(self._socket) if info == "is_readable" else None


def _is_readable(sock: socket.socket) -> bool:
    if sock.fileno() < 0:
        return True
    # Not select.select(), which knows no descriptors from 1024 on.
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))
