"""Connections that are kept for the next request, each used by one thread at a time.

There is no lock: the methods of a deque and a set are each one step, so that neither a fork nor the
end of a forgotten client can meet a lock that is held.
"""

from __future__ import annotations

from collections import deque

import h11
import httpcore

from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._network import DeadlineBackend
from resilient_vault_client._resolver import Resolver
from resilient_vault_client._tls import TlsFiles

# Less than the minute after which common load balancers drop a quiet connection.
_IDLE_SECONDS = 50.0

# Threads of one application that ask at the same time and keep their connections.
_MOST_IDLE = 64


class AnswerCut(httpcore.RemoteProtocolError):
    """The connection ended in the middle of an answer."""


class _Connection:
    """One connection to one server, which is made with its first request."""

    def __init__(self, origin: httpcore.Origin, resolver: Resolver, tls: TlsFiles) -> None:
        self.network = DeadlineBackend(resolver)
        self._used_at = clock()
        self._http = httpcore.HTTPConnection(
            origin,
            # As the files are now: a rotated certificate takes effect with the next connection.
            ssl_context=tls.context() if origin.scheme == b"https" else None,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=self.network,
        )

    def exchange(self, request: httpcore.Request, deadline: Deadline) -> httpcore.Response:
        """Send a request, and read the whole answer."""
        self.network.begin(deadline)
        try:
            response = self._http.handle_request(request)
        except (httpcore.RemoteProtocolError, httpcore.ReadError) as error:
            # With a cause of h11's it is no HTTP at all.
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
        """Whether the other side has closed it, or nobody has used it for long.

        Its own idea of that does not count the time for which the machine slept.
        """
        idle = clock() - self._used_at
        return idle > _IDLE_SECONDS or self._http.is_closed() or self._http.has_expired()

    @property
    def reusable(self) -> bool:
        """Whether another request may follow."""
        return self._http.is_idle()


class Pool:
    """The connections of one client in one process.

    Args:
        tls: Whom to trust.
    """

    def __init__(self, tls: TlsFiles) -> None:
        self._tls = tls
        self._resolver = Resolver()
        self._idle: dict[str, deque[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._closed = False

    def exchange(self, request: httpcore.Request, deadline: Deadline) -> httpcore.Response:
        """Send a request over a connection that is there, or a new one.

        Raises:
            Exception: One of httpcore's, or a `ssl.SSLError` about the certificate files.
        """
        idle = self._idle.setdefault(str(request.url.origin), deque())
        connection = self._kept(idle) or _Connection(request.url.origin, self._resolver, self._tls)
        self._open.add(connection)
        try:
            response = connection.exchange(request, deadline)
        except BaseException:
            self._discard(connection)
            # What broke one of them may have broken all; a new one finds out.
            self._discard_all(idle)
            raise
        if self._closed or len(idle) >= _MOST_IDLE or not connection.reusable:
            self._discard(connection)
        else:
            idle.append(connection)
        return response

    def abort(self) -> None:
        """Break every connection; who waits on one gets an error at once."""
        self._closed = True
        for connection in list(self._open):
            connection.network.abort()

    def close(self) -> None:
        """Close what is not in use, now, and the rest when it is not in use any more."""
        self._closed = True
        for idle in list(self._idle.values()):
            self._discard_all(idle)

    def forget(self) -> None:
        """After a fork: close this process's copies, and say nothing to the server."""
        self._closed = True
        for connection in list(self._open):
            self._discard(connection)

    def _kept(self, idle: deque[_Connection]) -> _Connection | None:
        """The connection that was used last, if it is still good."""
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
        """Close one that nobody needs any more, so that they do not pile up after a rush."""
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
