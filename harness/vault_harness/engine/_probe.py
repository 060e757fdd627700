"""One look at a server over HTTP or HTTPS: whether it answers, and what."""

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
    """What a server said.

    Attributes:
        status: The HTTP status.
        body: What followed the headers.
    """

    status: int
    body: bytes


def ask(
    url: str,
    *,
    timeout: float = 1.0,
    tls: ssl.SSLContext | None = None,
    own: Path | None = None,
) -> Answer | None:
    """The answer to a GET without a token, or None if nobody answers.

    Args:
        url: What to get.
        timeout: Seconds for each step of it.
        tls: How a certificate is checked. By default not at all: whether a server answers is one
            question, whether its certificate is good another, and nothing secret is said here.
        own: Certificate and key for a server that asks for them, where `tls` has none.
    """
    parts = urlsplit(url)
    host, port = host_and_port(url)  # http.client takes the end of a bare ::1 for a port
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
    """As ``http.client`` has it, but that nothing stays open of a connection that fails."""

    def __init__(self, host: str, port: int, *, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls, self._seconds = context, timeout

    def connect(self) -> None:
        """See `vault_harness.certificates.connected`."""
        self.sock = connected(self.host, self.port, self._tls, timeout=self._seconds)


def answers(
    url: str,
    *,
    timeout: float = 1.0,
    tls: ssl.SSLContext | None = None,
    own: Path | None = None,
) -> bool:
    """Whether it answers 200; arguments as for `ask`."""
    answer = ask(url, timeout=timeout, tls=tls, own=own)
    return answer is not None and answer.status == 200


def seal_status_url(address: str) -> str:
    """What a Vault answers in every state: sealed, not initialised, standby."""
    return f"{address}/v1/sys/seal-status"


def _unchecked(own: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if own is not None:
        context.load_cert_chain(own)
    return context
