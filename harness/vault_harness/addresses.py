"""Addresses of servers: ``host:port`` and base URLs."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_LOOPBACK = "127.0.0.1"


def base_url(listen: str, *, tls: bool = False) -> str:
    return f"{'https' if tls else 'http'}://{listen}"


def host_and_port(url: str) -> tuple[str, int]:
    """Return host and port of a base URL; without a port, the scheme's default."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def joined(url: str) -> str:
    """Return ``host:port`` of a base URL; an IPv6 address gets brackets."""
    host, port = host_and_port(url)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_base_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is not a number, or half an IPv6 address
        return False


def leads_to_one_of(url: str, others: Iterable[str]) -> bool:
    place = _place(url)
    return place is not None and place in map(_place, others)


def _place(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port; None if it is no URL."""
    try:
        host, port = host_and_port(url)
    except ValueError:
        return None
    return url.partition("://")[0], _LOOPBACK if _is_here(host) else host, port


def _is_here(host: str) -> bool:
    """Return whether a name leads to the loopback address.

    A machine may know ``localhost`` as ``::1`` only.
    """
    if host != "localhost":
        return False
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return False
    return any(place[0] == _LOOPBACK for *_, place in found)


def without_password(url: str) -> str:
    scheme, mark, rest = url.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
