from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import httpcore
import pytest

from resilient_vault_client._deadline import Deadline
from resilient_vault_client._network import (
    MOST_BYTES,
    Address,
    AnswerWithoutEnd,
    DeadlineBackend,
    Resolver,
)
from vault_harness.waiting import wait_until

NO_SUCH_FAMILY = 9999
"""An address family that the kernel lacks, as some machines lack IPv6."""


class Known(Resolver):
    def __init__(self, *addresses: Address) -> None:
        super().__init__()
        self._known = list(addresses)

    def addresses(self, host: str, port: int, timeout: float) -> list[Address]:
        del host, port, timeout
        return self._known


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def backend(*addresses: Address) -> DeadlineBackend:
    made = DeadlineBackend(Known(*addresses))
    made.begin(Deadline(30.0))
    return made


def of(listener: socket.socket) -> Address:
    """Return the server's address as a lookup gives it."""
    return (socket.AF_INET, socket.SOCK_STREAM, 0, "", listener.getsockname())


def test_an_address_of_a_kind_that_the_machine_has_not_is_passed_over(
    listener: socket.socket,
) -> None:
    """A name with an IPv6 address works on a machine without IPv6."""
    unknown: Address = (NO_SUCH_FAMILY, socket.SOCK_STREAM, 0, "", ("::1", 1, 0, 0))
    network = backend(unknown, of(listener))
    network.connect_tcp("vault", 8200)
    assert network.socket is not None
    assert network.socket.getpeername() == listener.getsockname()
    network.close()


def test_a_handshake_that_hangs_is_broken_by_the_end_of_the_client(
    listener: socket.socket,
) -> None:
    """It is broken off before the deadline."""
    network = backend(of(listener))
    stream = network.connect_tcp("vault", 8200)
    failures: list[Exception] = []

    def secure() -> None:
        try:
            stream.start_tls(ssl.create_default_context(), "vault")
        except httpcore.ConnectError as error:
            failures.append(error)

    thread = threading.Thread(target=secure, daemon=True)
    thread.start()
    served, _ = listener.accept()
    with served:
        served.settimeout(10.0)
        assert served.recv(1)  # the handshake has begun and gets no answer
        network.abort()
        wait_until(lambda: bool(failures), "the error of who made the handshake", timeout=10.0)
    assert network.socket is not None
    assert network.socket.fileno() == -1


def test_an_answer_without_end_is_not_read_to_its_end(listener: socket.socket) -> None:
    """It would fill the application's memory."""
    network = backend(of(listener))
    stream = network.connect_tcp("vault", 8200)
    served, _ = listener.accept()

    def pour() -> None:
        with contextlib.suppress(OSError):
            while True:
                served.sendall(bytes(1 << 20))

    def drain() -> None:
        while stream.read(1 << 16):
            pass

    threading.Thread(target=pour, daemon=True).start()
    with served, pytest.raises(AnswerWithoutEnd):
        drain()
    network.close()
    assert network.received <= MOST_BYTES + (1 << 16)


def test_each_answer_has_room_of_its_own(listener: socket.socket) -> None:
    """The size limit is not one of the connection."""
    network = backend(of(listener))
    stream = network.connect_tcp("vault", 8200)
    served, _ = listener.accept()
    network.received = MOST_BYTES
    network.begin(Deadline(30.0))
    with served:
        served.sendall(b"x")
        assert stream.read(1) == b"x"
    network.close()


def test_the_error_names_the_address_that_was_reached(listener: socket.socket) -> None:
    unknown: Address = (NO_SUCH_FAMILY, socket.SOCK_STREAM, 0, "", ("::1", 1, 0, 0))
    closed = of(listener)
    listener.close()
    with pytest.raises(httpcore.ConnectError) as failed:
        backend(closed, unknown).connect_tcp("vault", 8200)
    assert isinstance(failed.value.__cause__, ConnectionRefusedError)
