"""Ask a server once over HTTP or HTTPS."""

from __future__ import annotations

import contextlib
import http.client
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vault_harness.addresses import host_and_port
from vault_harness.certificates import connected


@dataclass(frozen=True)
class Answer:
    """Status and body of a server's response."""

    status: int
    body: bytes


def ask(
    url: str,
    *,
    timeout: float = 1.0,
    tls: ssl.SSLContext | None = None,
    own: Path | None = None,
) -> Answer | None:
    """Return the response to a GET without a token, or None if no server answers.

    Args:
        timeout: Seconds for each network operation.
        tls: How to check the certificate. By default it is not checked: the request carries no
            secret, and other checks judge the certificate.
        own: Client certificate and key, for a server that requires them and a `tls` without them.
    """
    parts = urlsplit(url)
    host, port = host_and_port(url)  # http.client reads the end of a bare ::1 as a port
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = (
            _Https(host, port, timeout=timeout, context=tls or _unchecked(own))
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=timeout)
        )
        with contextlib.closing(connection):
            connection.request("GET", parts.path or "/")
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
    return None


class _Https(http.client.HTTPSConnection):
    """An HTTPS connection that leaves no socket open when it fails."""

    def __init__(self, host: str, port: int, *, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls, self._seconds = context, timeout

    def connect(self) -> None:
        self.sock = connected(self.host, self.port, self._tls, timeout=self._seconds)


def answers(
    url: str,
    *,
    timeout: float = 1.0,
    tls: ssl.SSLContext | None = None,
    own: Path | None = None,
) -> bool:
    """Return whether a URL answers 200. Arguments as for `ask`."""
    answer = ask(url, timeout=timeout, tls=tls, own=own)
    return answer is not None and answer.status == 200


def seal_status_url(address: str) -> str:
    """Return the URL that Vault answers in every state: sealed, uninitialised, standby."""
    return f"{address}/v1/sys/seal-status"


def _unchecked(own: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if own is not None:
        context.load_cert_chain(own)
    return context
