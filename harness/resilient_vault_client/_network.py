"""A network backend for httpcore that keeps the deadline of a call.

A socket's timeout limits each read, so a server that sends a byte now and then can hold its caller
for ever. Here every look-up, connection, handshake, read and write gets the rest of the call's
time.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import h11
import httpcore

from resilient_vault_client._config import Config
from resilient_vault_client._credentials import told
from resilient_vault_client._deadline import Deadline, clock

# OpenSSL's words for a certificate and another one's key.
_DO_NOT_FIT = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"})

_log = logging.getLogger("resilient_vault_client")

_Stamp = tuple[tuple[int, int, int] | None, ...]


class TlsFiles:
    """The CA and client certificate files, read again after a change."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.RLock()
        self._stamp: _Stamp | None = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context for the present files, or raise `ssl.SSLError`."""
        try:
            return self._current()
        except ssl.SSLError:
            raise
        except OSError as error:
            # Without the CA file no server can be verified, and nothing is sent.
            which = (
                told(Path(error.filename))
                if error.filename
                else "the file of VAULT_CACERT, VAULT_CLIENT_CERT or VAULT_CLIENT_KEY"
            )
            raise ssl.SSLCertVerificationError(f"cannot read {which}: {error.strerror}") from None

    def _current(self) -> ssl.SSLContext:
        config = self._config
        with self._lock:
            stamp = tuple(
                _stamp(p) for p in (config.ca_cert, config.client_cert, config.client_key)
            )
            if self._context is not None and stamp == self._stamp:
                return self._context
            try:
                self._context = _build(config)
            except ssl.SSLError as error:
                if self._context is None or error.reason not in _DO_NOT_FIT:
                    raise
                # One of the files is already the next one. The last pair stays in use, and the next
                # connection reads them again.
                _log.warning("vault: VAULT_CLIENT_CERT and VAULT_CLIENT_KEY do not fit (yet?)")
                return self._context
            self._stamp = stamp
            return self._context


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def _build(config: Config) -> ssl.SSLContext:
    if config.ca_cert is not None and config.ca_cert.is_dir():
        context = ssl.create_default_context(capath=str(config.ca_cert))
    else:
        context = ssl.create_default_context(cafile=config.ca_cert and str(config.ca_cert))
    if config.client_cert is not None:
        context.load_cert_chain(config.client_cert, config.client_key, _no_passphrase)
    if not config.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _no_passphrase() -> str:
    """OpenSSL would wait at the terminal for ever."""
    raise ssl.SSLError(
        "the key of the client's certificate is encrypted, and there is nobody to ask for its "
        "passphrase: give it in the clear in VAULT_CLIENT_KEY"
    )


Address = tuple[Any, Any, int, str, Any]


class Resolver:
    """Look names up in a separate thread, since the system's look-up has no timeout.

    A hanging name service blocks one thread for each name. Each connection looks up again, since
    names move. If no thread can start, as at a program's end, the last result is used: the client
    still has to revoke its token.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pending: dict[tuple[str, int], Future[list[Address]]] = {}
        self._found: dict[tuple[str, int], list[Address]] = {}

    def addresses(self, host: str, port: int, timeout: float) -> list[Address]:
        """Return the addresses, or raise `TimeoutError` if the name service is slow."""
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
        """Start a look-up; publish it only when it runs.

        A signal handler that interrupted an earlier publication would wait for a thread that its
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
            # The machine is out of threads, or the interpreter is ending.
            if (host, port) not in self._found:
                raise OSError(errno.EAGAIN, "no thread to look the name up in") from error
            pending.set_result(self._found[host, port])
        else:
            self._pending[host, port] = pending
        return pending

    def _look_up(self, host: str, port: int, pending: Future[list[Address]]) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - the waiting threads must get any error
            pending.set_exception(error)
        else:
            self._found[host, port] = found
            pending.set_result(found)
        # Last, because the waiting code may be a signal handler that interrupted `addresses`.
        with self._lock:
            if self._pending.get((host, port)) is pending:
                del self._pending[host, port]


# Many times Vault's largest secret. A longer answer may have no end, and would fill the memory.
MOST_BYTES = 32 * 1024 * 1024


class AnswerWithoutEnd(httpcore.ProtocolError):
    """The answer is longer than any of Vault."""


class DeadlineBackend(httpcore.NetworkBackend):
    """Make a connection's one socket, and know the call's deadline.

    `abort` needs `socket`. `received` counts the call's bytes.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self.deadline = Deadline(0.0)
        self.socket: socket.socket | None = None
        self.received = 0
        self._aborted = False

    def begin(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.received = 0

    def left(self) -> float:
        """Return the seconds left; raise `TimeoutError` without any, `OSError` after `abort`."""
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
        """Connect; httpcore's timeouts and options are ignored."""
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
        """Break the connection, so that its reader gets an error at once."""
        self._aborted = True
        if self.socket is not None:
            with contextlib.suppress(OSError):
                # The TLS socket's own method would drop the session under its reader.
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket without a word to the server."""
        if self.socket is not None:
            self.socket.close()

    def _first_that_answers(self, addresses: list[Address]) -> None:
        failure = OSError("the name has no address")
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            try:
                sock = self.socket = socket.socket(family, kind, protocol)
            except OSError as error:
                # If this machine has no IPv6, an IPv4 address may work, and its error tells more.
                failure = failure if tried else error
                continue
            try:
                # A silent address must leave time for the next.
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
    """httpcore's stream, within the deadline."""

    def __init__(self, backend: DeadlineBackend) -> None:
        assert backend.socket is not None
        self._backend = backend
        self._socket = backend.socket

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the next bytes, or b"" at the end; raise `AnswerWithoutEnd` after too many."""
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
        """Read; the whole request has been sent before."""
        while True:
            try:
                self._socket.settimeout(self._backend.left())
                return self._socket.recv(max_bytes)
            except TimeoutError:
                if not self._backend.deadline.goes_on():
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
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
        del timeout
        try:
            # Stored before its handshake, since `abort` must find it. The old socket has given its
            # descriptor away.
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
        self._backend.close()

    def get_extra_info(self, info: str) -> Any:
        """Return whether the idle connection is readable: the server has closed it."""
        return _is_readable(self._socket) if info == "is_readable" else None


def _is_readable(sock: socket.socket) -> bool:
    if sock.fileno() < 0:
        return True
    # select.select() fails for descriptors from 1024 on.
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


# Common load balancers drop an idle connection after a minute.
_IDLE_SECONDS = 50.0

# One for each thread that asks at the same time.
_MOST_IDLE = 64


class AnswerCut(httpcore.RemoteProtocolError):
    """The connection ended in the middle of an answer."""


class _Connection:
    """One connection, opened by the first request."""

    def __init__(self, origin: httpcore.Origin, resolver: Resolver, tls: TlsFiles) -> None:
        self.network = DeadlineBackend(resolver)
        self._used_at = clock()
        self._http = httpcore.HTTPConnection(
            origin,
            # A new certificate counts from the next connection.
            ssl_context=tls.context() if origin.scheme == b"https" else None,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=self.network,
        )

    def exchange(self, request: httpcore.Request, deadline: Deadline) -> httpcore.Response:
        self.network.begin(deadline)
        try:
            response = self._http.handle_request(request)
        except (httpcore.RemoteProtocolError, httpcore.ReadError) as error:
            # A cause from h11 means that the answer is not HTTP.
            if self.network.received and not isinstance(error.__cause__, h11.RemoteProtocolError):
                raise AnswerCut from error
            raise
        try:
            response.read()
        except (httpcore.RemoteProtocolError, httpcore.ReadError) as error:
            raise AnswerCut from error
        finally:
            response.close()
        self._used_at = clock()
        return response

    @property
    def ended(self) -> bool:
        """Return whether the server has closed it, or it was idle too long.

        httpcore's timer does not count the machine's sleep.
        """
        idle = clock() - self._used_at
        return idle > _IDLE_SECONDS or self._http.is_closed() or self._http.has_expired()

    @property
    def reusable(self) -> bool:
        return self._http.is_idle()


class Pool:
    """A client's connections in one process."""

    def __init__(self, tls: TlsFiles) -> None:
        self._tls = tls
        self._resolver = Resolver()
        self._idle: dict[str, deque[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._closed = False

    def exchange(self, request: httpcore.Request, deadline: Deadline) -> httpcore.Response:
        """Send a request; raise the exceptions of httpcore, or `ssl.SSLError` for the files."""
        idle = self._idle.setdefault(str(request.url.origin), deque())
        connection = self._kept(idle) or _Connection(request.url.origin, self._resolver, self._tls)
        self._open.add(connection)
        try:
            response = connection.exchange(request, deadline)
        except BaseException:
            self._discard(connection)
            # The cause may have broken all connections.
            self._discard_all(idle)
            raise
        if self._closed or len(idle) >= _MOST_IDLE or not connection.reusable:
            self._discard(connection)
        else:
            idle.append(connection)
        return response

    def abort(self) -> None:
        """Break every connection, so that waiting threads get an error at once."""
        self._closed = True
        for connection in list(self._open):
            connection.network.abort()

    def close(self) -> None:
        """Close idle connections now, the others after use."""
        self._closed = True
        for idle in list(self._idle.values()):
            self._discard_all(idle)

    def forget(self) -> None:
        """Close a forked child's copies without a word to the server."""
        self._closed = True
        for connection in list(self._open):
            self._discard(connection)

    def _kept(self, idle: deque[_Connection]) -> _Connection | None:
        """Return the latest used connection that works, or None."""
        while True:
            try:
                connection = idle.pop()
            except IndexError:
                return None
            if not connection.ended:
                self._let_go_of_the_oldest(idle)
                return connection
            self._discard(connection)

    def _let_go_of_the_oldest(self, idle: deque[_Connection]) -> None:
        """Close an ended connection, so that they do not pile up after a rush."""
        try:
            oldest = idle.popleft()
        except IndexError:
            return
        if oldest.ended:
            self._discard(oldest)
        else:
            idle.appendleft(oldest)

    def _discard_all(self, idle: deque[_Connection]) -> None:
        while True:
            try:
                connection = idle.pop()
            except IndexError:
                return
            self._discard(connection)

    def _discard(self, connection: _Connection) -> None:
        self._open.discard(connection)
        connection.network.close()
