from __future__ import annotations

import asyncio
import socket

import pytest

from vault_harness.local.toxiproxy.server import addresses
from vault_harness.local.toxiproxy.server.addresses import AddressError, Resolver
from vault_harness.local.toxiproxy.server.connection import dial


def _dial(upstream: str) -> socket.socket:
    async def run() -> socket.socket:
        return await dial(upstream, Resolver())

    return asyncio.run(run())


def test_a_listener_is_reached() -> None:
    """The socket sends small pieces at once."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        _dial(f"localhost:{listener.getsockname()[1]}") as reached,
    ):
        assert reached.getpeername() == listener.getsockname()
        assert reached.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_socket_that_reached_itself_was_refused(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It frees the upstream's port."""
    address = (host.strip("[]"), 0)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if ":" in host and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with socket.socket(family) as free:
        free.bind(address)
        port = free.getsockname()[1]
    tune = addresses.tune

    def choose_the_dialled_port(sock: socket.socket) -> None:
        tune(sock)
        sock.bind((address[0], port))

    monkeypatch.setattr(addresses, "tune", choose_the_dialled_port)
    with pytest.raises(AddressError, match=r"^connection refused$"):
        _dial(f"{host}:{port}")
    monkeypatch.undo()
    socket.create_server((address[0], port), family=family).close()


def test_the_last_error_is_reported() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(AddressError, match=r"^connection refused$"):
            _dial(f"127.0.0.1:{silent.getsockname()[1]}")
