"""Addresses and the life of a listener: contract sections 4.2 and 6."""

from __future__ import annotations

import asyncio
import socket

import pytest

from vault_harness.local.toxiproxy.server import addresses
from vault_harness.local.toxiproxy.server.addresses import Address, AddressError, Resolver


async def _resolve(text: str) -> Address:
    return await Resolver().resolve(text)


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("127.0.0.1:8666", "127.0.0.1:8666"),
        ("localhost:8666", "127.0.0.1:8666"),
        (":8666", ":8666"),
        ("", ":0"),
        (":", ":0"),
        ("0.0.0.0:8666", "0.0.0.0:8666"),
        ("[::]:8666", "[::]:8666"),
        ("[::1]:0", "[::1]:0"),
        ("127.0.0.1:http", "127.0.0.1:80"),
        ("127.0.0.1:+80", "127.0.0.1:80"),
        ("127.0.0.1:0000008666", "127.0.0.1:8666"),
        ("127.0.0.1:+", "127.0.0.1:0"),
    ],
)
def test_resolving(text: str, resolved: str) -> None:
    """A host becomes its first IPv4 address, a service its port."""
    assert str(asyncio.run(_resolve(text))) == resolved


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nope", "address nope: missing port in address"),
        ("::1:80", "address ::1:80: too many colons in address"),
        ("[::1:80", "address [::1:80: missing ']' in address"),
        ("127.0.0.1:99999", "address 99999: invalid port"),
        ("127.0.0.1:-1", "address -1: invalid port"),
        ("127.0.0.1:--5", "lookup tcp/--5: unknown port"),
        ("127.0.0.1:+-5", "lookup tcp/+-5: unknown port"),
        ("127.0.0.1:+99999", "address +99999: invalid port"),
        ("127.0.0.1:nosuchservice", "lookup tcp/nosuchservice: unknown port"),
        ("127.0.0.1:\x00", "lookup tcp/\x00: unknown port"),
    ],
)
def test_what_cannot_be_resolved(text: str, error: str) -> None:
    """Errors use Go's words."""
    with pytest.raises(AddressError) as caught:
        asyncio.run(_resolve(text))
    assert str(caught.value) == error


def test_a_name_that_cannot_exist() -> None:
    """The encoder does not crash."""
    with pytest.raises(AddressError, match="no such host"):
        asyncio.run(_resolve("a" * 300 + ".invalid:80"))


def test_listening_reports_the_real_port() -> None:
    """Accepted sockets inherit its options."""
    sock, name = addresses.listen(Address("127.0.0.1", 0))
    with sock:
        host, port = sock.getsockname()
        assert name == f"{host}:{port}"
        assert port
        with socket.create_connection((host, port)):
            sock.setblocking(True)
            client, _ = sock.accept()
            with client:
                assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_port_is_free_as_soon_as_its_listener_is_closed() -> None:
    """Connections may still be open."""
    sock, name = addresses.listen(Address("127.0.0.1", 0))
    port = sock.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)):
        sock.close()
        again, same = addresses.listen(Address("127.0.0.1", port))
        again.close()
    assert same == name


def test_a_taken_port() -> None:
    """It is reported in Go's words."""
    sock, name = addresses.listen(Address("127.0.0.1", 0))
    with sock, pytest.raises(AddressError) as caught:
        addresses.listen(Address("127.0.0.1", sock.getsockname()[1]))
    assert str(caught.value) == f"listen tcp {name}: bind: address already in use"
