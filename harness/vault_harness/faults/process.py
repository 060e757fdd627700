"""Faults of processes: the server's and the client's."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from vault_harness.engine import Node
from vault_harness.faults._fault import Fault, Journal, Signature


class ProcessFaults:
    """Freezing and killing.

    Args:
        journal: Where faults are noted.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @contextmanager
    def server_paused(self, node: Node) -> Iterator[Fault]:
        """A server that accepts connections and never answers (SIGSTOP)."""
        node.pause()
        fault = self._journal.begin_fault("server paused", Signature(unanswered=True, late=1.0))
        try:
            yield fault
        finally:
            node.resume()
            self._journal.end_fault(fault)

    @contextmanager
    def server_killed(self, node: Node, *, revive: Callable[[], object]) -> Iterator[Fault]:
        """A server that dies without a goodbye; afterwards it is started again.

        Args:
            node: The server.
            revive: Called once it runs again: a Shamir-sealed Vault needs its keys.
        """
        node.kill()
        fault = self._journal.begin_fault(
            "server killed", Signature(unanswered=True, statuses=frozenset({503}))
        )
        try:
            yield fault
        finally:
            node.start()
            revive()
            self._journal.end_fault(fault)

    @contextmanager
    def client_paused(self, pid: int) -> Iterator[Fault]:
        """A client whose process stands still (SIGSTOP) while the world goes on."""
        os.kill(pid, signal.SIGSTOP)
        fault = self._journal.begin_fault("client paused", Signature(), {"pid": pid}, optional=True)
        try:
            yield fault
        finally:
            with suppress(ProcessLookupError):  # it was killed meanwhile
                os.kill(pid, signal.SIGCONT)
            self._journal.end_fault(fault)
