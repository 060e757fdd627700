"""Addresses of servers: ``host:port`` where somebody listens, and the base URL of that."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_LOOPBACK = "127.0.0.1"


def base_url(listen: str, *, tls: bool = False) -> str:
    """The base URL of a server.

    Args:
        listen: ``host:port``.
        tls: Whether it speaks TLS.
    """
    return f"{'https' if tls else 'http'}://{listen}"


def host_and_port(url: str) -> tuple[str, int]:
    """Host and port of a base URL, the scheme's own port where it names none."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def joined(url: str) -> str:
    """``host:port`` of a base URL, as a proxy takes it: an IPv6 address stands in brackets."""
    host, port = host_and_port(url)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_base_url(text: str) -> bool:
    """Whether that is an address to which requests can be sent: ``http(s)://host``, port or not."""
    try:
        parts = urlsplit(text)
        return parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or half an IPv6 address
        return False


def leads_to_one_of(url: str, others: Iterable[str]) -> bool:
    """Whether a base URL leads where one of others does, whatever it looks like."""
    place = _place(url)
    return place is not None and place in map(_place, others)


def _place(url: str) -> tuple[str, str, int] | None:
    """What of a base URL says where a connection goes; None if it is no URL."""
    try:
        host, port = host_and_port(url)
    except ValueError:
        return None
    return url.partition("://")[0], _LOOPBACK if _is_here(host) else host, port


def _is_here(host: str) -> bool:
    """Whether that name leads to the loopback address on which all servers of a stack listen.

    On a machine that knows ``localhost`` as ``::1`` alone it does not.
    """
    if host != "localhost":
        return False
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return False
    return any(place[0] == _LOOPBACK for *_, place in found)


def without_password(url: str) -> str:
    """A URL of somebody else for the eyes of all."""
    scheme, mark, rest = url.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
