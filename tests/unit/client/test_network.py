"""One connection: which address it takes, and how it is broken."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from resilient_vault_client._deadline import Deadline
from resilient_vault_client._network import DeadlineBackend
from resilient_vault_client._resolver import Address, Resolver

NO_SUCH_FAMILY = 9999
"""Of addresses: as IPv6 is to a machine whose kernel has none."""


class Known(Resolver):
    """Knows where every name is."""

    def __init__(self, *addresses: Address) -> None:
        super().__init__()
        self._known = list(addresses)

    def addresses(self, host: str, port: int, timeout: float) -> list[Address]:
        """As they were given."""
        del host, port, timeout
        return self._known


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def backend(*addresses: Address) -> DeadlineBackend:
    """For a call that has time enough."""
    made = DeadlineBackend(Known(*addresses))
    made.begin(Deadline(30.0))
    return made


def of(listener: socket.socket) -> Address:
    """Where it listens, as a look-up says it."""
    return (socket.AF_INET, socket.SOCK_STREAM, 0, "", listener.getsockname())


def test_an_address_of_a_kind_that_the_machine_has_not_is_passed_over(
    listener: socket.socket,
) -> None:
    """A name has one of IPv6 too, and the kernel no IPv6: the other one works."""
    unknown: Address = (NO_SUCH_FAMILY, socket.SOCK_STREAM, 0, "", ("::1", 1, 0, 0))
    network = backend(unknown, of(listener))
    network.connect_tcp("vault", 8200)
    assert network.socket is not None
    assert network.socket.getpeername() == listener.getsockname()
    network.close()
