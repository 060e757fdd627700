"""Read, resolve and listen on ``host:port`` texts as upstream's Go does, with its error texts."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import re
import socket
import threading
from dataclasses import dataclass

BACKLOG = 4096
"""Connections that may wait to be accepted; the kernel may lower it."""
RESOLVE_TIMEOUT = 5.0
KEEPALIVE_IDLE = 15
"""Seconds of silence before the kernel probes a peer, as upstream."""


class AddressError(Exception):
    """An unusable address. The text is Go's, for answers of the API."""


@dataclass(frozen=True)
class Address:
    """A resolved address. `host` is an IP address, or empty for any."""

    host: str
    port: int

    def __str__(self) -> str:
        return join(self.host, self.port)


def join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(text: str) -> tuple[str, str]:
    """Split ``host:port``. The empty text is any host and port 0."""
    if not text:
        return "", "0"
    host, colon, port = text.rpartition(":")
    if not colon:
        raise AddressError(f"address {text}: missing port in address")
    if host.startswith("["):
        if not host.endswith("]"):
            raise AddressError(f"address {text}: missing ']' in address")
        host = host[1:-1]
    elif ":" in host:
        raise AddressError(f"address {text}: too many colons in address")
    return host, port


def port_number(text: str) -> int:
    """Return the port of a number or service name; 0 for the empty text."""
    if not text:
        return 0
    if numeric := re.fullmatch(r"([+-]?)0*([0-9]*)", text):
        sign, digits = numeric.groups()
        number = int(f"{sign}{digits or 0}") if len(digits) <= 5 else -1
        if not 0 <= number <= 65535:
            raise AddressError(f"address {text}: invalid port")
        return number
    try:
        return socket.getservbyname(text, "tcp")
    except (OSError, ValueError):
        raise AddressError(f"lookup tcp/{text}: unknown port") from None


def is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Resolver:
    """Looks up host names in threads. One that hangs delays only requests for the same name."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Future[list[str]]] = {}

    async def addresses(self, host: str) -> list[str]:
        """Return all IP addresses of a host, IPv4 first. An empty host stays empty."""
        if not host or is_ip(host):
            return [host]
        if host == "localhost":
            return ["127.0.0.1", "::1"]
        running = self._running.get(host) or self._look_up(host)
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT):
                found = await asyncio.shield(running)
        except TimeoutError:
            raise AddressError(f"lookup {host}: i/o timeout") from None
        if not found:
            raise AddressError(f"lookup {host}: no such host")
        return found

    async def resolve(self, text: str) -> Address:
        host, port = split(text)
        number = port_number(port)
        return Address((await self.addresses(host))[0], number)

    def _look_up(self, host: str) -> asyncio.Future[list[str]]:
        loop = asyncio.get_running_loop()
        future = self._running[host] = loop.create_future()

        def found(hosts: list[str]) -> None:
            del self._running[host]
            future.set_result(hosts)

        def run() -> None:
            try:
                infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            except (OSError, ValueError):
                infos = []
            infos.sort(key=lambda info: info[0] != socket.AF_INET)
            hosts = list(dict.fromkeys(str(info[4][0]) for info in infos))
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(found, hosts)

        # Not in an executor: look-ups that hang would use up its few threads.
        try:
            threading.Thread(target=run, name=f"look-up of {host}", daemon=True).start()
        except RuntimeError:  # too many threads
            found([])
        return future


def listen(address: Address) -> tuple[socket.socket, str]:
    """Listen, and return the socket and its real address.

    No host, ``0.0.0.0`` and ``::`` mean all addresses, reported as ``[::]`` if there is IPv6.
    Accepted sockets inherit no-delay and keep-alive.
    """
    host = address.host
    try:
        if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - only when the caller asked for any address
            sock = _listen_any(address.port)
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = _listen_one(family, host, address.port)
    except OSError as error:
        raise AddressError(f"listen tcp {address}: bind: {reason(error)}") from None
    name = sock.getsockname()
    return sock, join(name[0], name[1])


def _listen_any(port: int) -> socket.socket:
    try:
        return _listen_one(socket.AF_INET6, "::", port)
    except OSError as error:
        if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}:
            raise
    return _listen_one(socket.AF_INET, "0.0.0.0", port)  # noqa: S104 - as above


def _listen_one(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        tune(sock)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def tune(sock: socket.socket) -> None:
    """Send small pieces at once, and notice a peer that has vanished."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)


def reason(error: OSError) -> str:
    """Return the error text as Go words it."""
    if error.errno is None:
        return str(error).lower()
    if error.errno == errno.EADDRNOTAVAIL:
        return "cannot assign requested address"
    return os.strerror(error.errno).lower()
