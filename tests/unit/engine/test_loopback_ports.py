"""A leased port belongs to one server, and to nobody else in between."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from vault_harness.engine import PortLease
from vault_harness.engine._ports import listens, port_taken
from vault_harness.errors import PortTaken

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a lease holds nothing")


def server(port: int) -> socket.socket:
    """A listening socket as Go and asyncio make it."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()
    return listening


@linux
def test_a_server_can_listen_on_a_leased_port() -> None:
    """The lease keeps others off, not the server that it is for."""
    lease = PortLease()
    try:
        with server(lease.port):
            assert listens(lease.port)
    finally:
        lease.release()


@linux
def test_nobody_who_wants_a_free_port_gets_a_leased_one() -> None:
    """Two thousand requests for a free port, and never one of ours."""
    leases = [PortLease() for _ in range(20)]
    ours = {lease.port for lease in leases}
    given = set()
    for _ in range(2000):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", 0))
            given.add(other.getsockname()[1])
    for lease in leases:
        lease.release()

    assert len(ours) == 20
    assert not ours & given


def test_a_leased_port_refuses_connections() -> None:
    """While no server listens, a client is refused at once rather than kept waiting."""
    lease = PortLease()
    try:
        assert not listens(lease.port)
    finally:
        lease.release()


def test_a_taken_port_is_refused() -> None:
    """A wanted port where somebody listens is an error that names who it is."""
    with server(0) as listening, pytest.raises(PortTaken) as caught:
        PortLease(listening.getsockname()[1])

    assert f"pid {os.getpid()}" in str(caught.value)


def test_the_error_names_the_setting() -> None:
    """A person learns which setting chooses another port."""
    with server(0) as listening:
        error = port_taken(listening.getsockname()[1], setting="HARNESS_VAULT_PORT")

    assert "HARNESS_VAULT_PORT" in error.remedy


def test_releasing_twice_is_harmless() -> None:
    """Cleaning up may be repeated."""
    lease = PortLease()
    lease.release()
    lease.release()
