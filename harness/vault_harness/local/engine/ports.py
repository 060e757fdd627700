"""Ports on loopback, reserved without races, and single questions to a server."""

from __future__ import annotations

import contextlib
import errno
import http.client
import shlex
import socket
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from vault_harness.addresses import host_and_port
from vault_harness.certificates import connected
from vault_harness.errors import EngineError, PortTaken, named

LOOPBACK = "127.0.0.1"

_STACK = "stack.json"
"""In every data directory of a stack; `vault_harness.local.stack.record` writes it."""

# Programs that listen on a published port for a container.
_RELAYS = frozenset(
    {"dockerd", "docker-proxy", "com.docker.backend", "rootlesskit", "rootlessport", "conmon"}
)


class PortLease:
    """A loopback port that nobody else gets while this object lives.

    On Linux a socket with ``SO_REUSEADDR`` is bound to it and does not listen. The kernel then
    gives the port to nobody who asks for a free one, but a server that names it can listen there
    (Go and asyncio set ``SO_REUSEADDR``). Elsewhere the port is only free at the moment of the
    call.
    """

    def __init__(self, port: int = 0) -> None:
        """Take `port`, or a free one for 0.

        Raises `EngineError` if loopback is missing or this user may not use the port.
        """
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((LOOPBACK, port))
            self.port: int = held.getsockname()[1]
            if port and listens(port):
                raise port_taken(port)
        except OSError as error:
            held.close()
            raise _not_given(port, error) from None
        except PortTaken:
            held.close()
            raise
        self._held: socket.socket | None = held
        if sys.platform != "linux":
            self.release()

    @property
    def listen(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


def listens(port: int, *, host: str = LOOPBACK) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def listener(port: int) -> str:
    """Return the listening process as ``name (pid 123)``; empty if unknown."""
    with contextlib.suppress(psutil.Error, OSError):
        process = _listening(port)
        return f"{process.name()} (pid {process.pid})" if process is not None else ""
    return ""


def _listening(port: int) -> psutil.Process | None:
    for connection in psutil.net_connections("tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.pid:
            continue
        if connection.laddr and connection.laddr.port == port:
            return psutil.Process(connection.pid)
    return None


def _stack_of(port: int) -> Path | None:
    """Return the data directory of the listening server's stack.

    The server's command line names its configuration, one or two folders below.
    """
    with contextlib.suppress(psutil.Error, OSError):
        process = _listening(port)
        for word in process.cmdline() if process is not None else ():
            for home in [*Path(word.rpartition("=")[2]).parents][1:3]:
                if home.is_absolute() and (home / _STACK).is_file():
                    return home
    return None


def _not_given(port: int, error: OSError) -> EngineError:
    if error.errno == errno.EADDRINUSE:
        return port_taken(port)
    if error.errno in {errno.EACCES, errno.EPERM}:
        return EngineError(
            f"port {port} on {LOOPBACK} is not for this user: {error.strerror}",
            looked_at=f"{LOOPBACK}:{port}",
            remedy="choose one from 1024 on (HARNESS_VAULT_PORT, HARNESS_TOXIPROXY_PORT, "
            "HARNESS_PROXY_PORT), or 0 for a free one",
        )
    return EngineError(
        f"no server can listen on {LOOPBACK} here: {error.strerror}",
        looked_at=f"{LOOPBACK}:{port}" if port else LOOPBACK,
        remedy="bring the loopback interface up with its address (ip link set lo up), which a "
        "sandbox or a network namespace may lack",
    )


def port_taken(port: int, *, setting: str = "") -> PortTaken:
    who = listener(port)
    ways = [f"end {who}" if who else "end what listens there"]
    if not who or who.partition(" ")[0] in _RELAYS:
        from vault_harness.local.engine.docker_client import container_on

        # It listens for its containers; ending the engine would be wrong.
        container = container_on(port)
        if container:
            who = f"the container {container}"
            ways = [f"end {who} (docker stop {container})"]
        elif who:
            ways = [f"find its container (docker ps) behind {who}, and end that"]
    elif (home := _stack_of(port)) is not None:
        # Killed by hand, it comes back sealed, or not at all if its keys are lost.
        who = f"{who} of the stack in {home}"
        at = f"HARNESS_DATA_DIR={shlex.quote(str(home))}"
        ways = [f"{at} {named('down')} ends that stack, and keeps its data"]
    if setting:
        ways.append(f"choose another port with {setting}")
    return PortTaken(
        f"port {port} on {LOOPBACK} is taken" + (f" by {who}" if who else ""),
        looked_at=f"{LOOPBACK}:{port}",
        remedy=", or ".join(ways),
    )


@dataclass(frozen=True)
class Answer:
    """A server's response."""

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
        tls: By default the certificate is not checked: the request carries no secret, and other
            checks judge the certificate.
        own: Client certificate and key to show if `tls` is None.
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
    """Return whether a URL answers 200; see `ask`."""
    answer = ask(url, timeout=timeout, tls=tls, own=own)
    return answer is not None and answer.status == 200


def seal_status_url(address: str) -> str:
    """Return the URL that Vault answers in every state."""
    return f"{address}/v1/sys/seal-status"


def _unchecked(own: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if own is not None:
        context.load_cert_chain(own)
    return context
