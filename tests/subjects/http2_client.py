"""The lazy client over HTTP/2 with kept connections."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Mapping

import httpcore

from tests.subjects.lazy_client import LazyClient
from tests.subjects.lazy_wire import Reply, UnavailableError, Wire, _left, understood

_FAILURES = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError)


class Http2Wire(Wire):
    """Kept connections, each used by one thread at a time.

    An unanswered request closes its own and all idle ones: one cause may have killed them all.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._idle: deque[httpcore.ConnectionPool] = deque()
        self._base = environ.get("VAULT_ADDR", "https://127.0.0.1:8200").rstrip("/")

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        headers = [("Host", self._authority), ("X-Vault-Request", "true")]
        if token:
            headers.append(("X-Vault-Token", token))
        if self._namespace:
            headers.append(("X-Vault-Namespace", self._namespace))
        content = b"" if body is None else json.dumps(body).encode()
        if content:
            headers.append(("Content-Length", str(len(content))))
        request = httpcore.Request(
            method, f"{self._base}/v1/{path}", headers=headers, content=content
        )
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._new()
        try:
            response = self._exchanged(connection, request, _left(deadline))
        except _FAILURES as error:
            self._failed(connection)
            raise UnavailableError(f"{type(error).__name__} at {self._authority}") from None
        self._idle.append(connection)
        waits = {name.lower(): value for name, value in response.headers}.get(b"retry-after", b"")
        return understood(response.status, response.content, waits.decode())

    def _new(self) -> httpcore.ConnectionPool:
        context = self._context() if self._secure else None
        return httpcore.ConnectionPool(ssl_context=context, http2=True, max_connections=1)

    def _exchanged(
        self, connection: httpcore.ConnectionPool, request: httpcore.Request, left: float
    ) -> httpcore.Response:
        request.extensions = {"timeout": dict.fromkeys(("connect", "read", "write"), left)}
        response = connection.handle_request(request)
        try:
            response.read()
        finally:
            response.close()
        return response

    def _failed(self, connection: httpcore.ConnectionPool) -> None:
        connection.close()
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()


class Http2Client(LazyClient):
    """Correct, where HTTP/2 is offered."""

    wire_type = Http2Wire
