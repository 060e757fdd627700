from __future__ import annotations

import errno
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vault_harness.errors import EngineError, PortTaken, named
from vault_harness.local.engine.ports import PortLease, listens, port_taken

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a lease holds nothing")


def server(port: int) -> socket.socket:
    """Return a listening socket like those of Go and asyncio."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()
    return listening


@linux
def test_a_server_can_listen_on_a_leased_port() -> None:
    lease = PortLease()
    try:
        with server(lease.port):
            assert listens(lease.port)
    finally:
        lease.release()


@linux
def test_a_leased_port_is_never_given_out_as_free() -> None:
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
    lease = PortLease()
    try:
        assert not listens(lease.port)
    finally:
        lease.release()


def test_a_taken_port_is_refused() -> None:
    with server(0) as listening, pytest.raises(PortTaken) as caught:
        PortLease(listening.getsockname()[1])

    assert f"pid {os.getpid()}" in str(caught.value)


def test_the_error_names_the_setting() -> None:
    with server(0) as listening:
        error = port_taken(listening.getsockname()[1], setting="HARNESS_VAULT_PORT")

    assert "HARNESS_VAULT_PORT" in error.remedy


def test_releasing_twice_is_harmless() -> None:
    lease = PortLease()
    lease.release()
    lease.release()


# As for a server of a stack, the command line names its configuration.
_SERVER = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    sys.stdin.read()
"""


@linux
@pytest.mark.parametrize("place", ["vault", "nodes/vault-2"])
def test_the_remedy_for_another_stack_is_its_down(tmp_path: Path, place: str) -> None:
    """A killed Vault would be sealed."""
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
def test_a_port_that_is_not_taken_is_not_called_taken(
    monkeypatch: pytest.MonkeyPatch, number: int, cause: str, remedy: str
) -> None:
    """It is below 1024, or loopback is missing."""

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", refused)
    with pytest.raises(EngineError) as caught:
        PortLease(443)
    assert caught.value.cause.startswith(cause)
    assert remedy in caught.value.remedy
    assert isinstance(caught.value, PortTaken) == (number == errno.EADDRINUSE)
