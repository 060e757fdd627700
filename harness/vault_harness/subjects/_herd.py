"""Many Python clients in one process, each made as the first was, as in a service of many parts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vault_harness.subjects._shape import OperationFailed

AT_ONCE = 16
"""Clients that are ended side by side: each may wait for Vault."""


class Herd:
    """Clients by their numbers.

    Args:
        first: The one that is there; its number is 0.
        make: Makes another one, with the same environment.
    """

    def __init__(self, first: Any, make: Callable[[], Any]) -> None:
        self._make = make
        self._growing = threading.Lock()
        self._clients = [first]

    def client(self, number: int) -> Any:
        """The client of this number.

        Raises:
            OperationFailed: There is none.
        """
        clients = self._clients
        if not 0 <= number < len(clients):
            raise OperationFailed(None, f"there are {len(clients)} clients, and no {number}")
        return clients[number]

    def grow(self, count: int) -> None:
        """Make clients until there are so many."""
        with self._growing:
            while len(self._clients) < count:
                self._clients.append(self._make())

    def close(self) -> None:
        """Close all of them, and raise what the first raised that could not be closed."""
        with self._growing:
            clients = list(self._clients)
        if len(clients) == 1:
            clients[0].close()
            return
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="close") as pool:
            ends = [pool.submit(client.close) for client in clients]
        for end in ends:
            end.result()
