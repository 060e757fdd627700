"""A leased port belongs to one server, and to nobody else in between."""

from __future__ import annotations

import errno
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vault_harness.commands import named
from vault_harness.engine import PortLease
from vault_harness.engine._ports import listens, port_taken
from vault_harness.errors import EngineError, PortTaken

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


# As a server of a stack: its command line names its configuration.
_SERVER = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    sys.stdin.read()
"""


@linux
@pytest.mark.parametrize("place", ["vault", "nodes/vault-2"])
def test_a_stack_elsewhere_is_ended_by_its_task(tmp_path: Path, place: str) -> None:
    """Of another checkout, say: killed it comes back sealed, and its keys may be lost."""
    home = tmp_path / "another one's data"
    home.mkdir()
    (home / "stack.json").touch()
    words = [sys.executable, "-c", _SERVER, f"-config={home / place}/vault.json"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            error = port_taken(int(other.stdout.readline()), setting="HARNESS_VAULT_PORT")
        finally:
            other.kill()
    assert f"(pid {other.pid}) of the stack in {home}" in error.cause
    assert f"HARNESS_DATA_DIR={shlex.quote(str(home))} {named('down')}" in error.remedy
    assert "HARNESS_VAULT_PORT" in error.remedy
    assert f"end {Path(sys.executable).name}" not in error.remedy


@linux
@pytest.mark.parametrize(
    ("number", "cause", "remedy"),
    [
        (errno.EACCES, "port 443 on 127.0.0.1 is not for this user", "from 1024 on"),
        (errno.EADDRNOTAVAIL, "no server can listen on 127.0.0.1 here", "ip link set lo up"),
        (errno.EADDRINUSE, "port 443 on 127.0.0.1 is taken", "end what listens there"),
    ],
)
def test_a_port_that_nobody_has_is_not_called_taken(
    monkeypatch: pytest.MonkeyPatch, number: int, cause: str, remedy: str
) -> None:
    """Those below 1024 are root's, and a sandbox may have no loopback at all."""

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", refused)
    with pytest.raises(EngineError) as caught:
        PortLease(443)
    assert caught.value.cause.startswith(cause)
    assert remedy in caught.value.remedy
    assert isinstance(caught.value, PortTaken) == (number == errno.EADDRINUSE)
