"""The PostgreSQL that the scenarios of a run share."""

from __future__ import annotations

import importlib.util
import threading

from vault_harness.errors import HarnessError, ProgramMissing
from vault_harness.local.engine.ports import LOOPBACK
from vault_harness.local.engine.process.postgresql import Postgresql
from vault_harness.local.programs import find_postgresql


class SharedPostgresql:
    """One server for all scenarios of a run. Each has its own users, and none breaks the server.

    A given `server` belongs to the process from which this one was forked. Without it, a server
    starts when the first scenario needs it.
    """

    def __init__(self, *, host: str = LOOPBACK, server: Postgresql | None = None) -> None:
        self._host = host
        self._given = server
        self._lock = threading.Lock()
        self._server: Postgresql | None = None

    def lacking(self) -> str:
        """Return in one line why no server is possible here, or ``""``."""
        if importlib.util.find_spec("psycopg") is None:
            return "psycopg is not installed (pip install vault-harness[postgresql])"
        try:
            find_postgresql()
        except ProgramMissing as missing:
            return f"{missing.cause} (looked at: {missing.looked_at})"
        return ""

    def server(self) -> Postgresql:
        """Start the server if necessary and return it."""
        if self._given is not None:
            self._given.await_ready()
            return self._given
        with self._lock:
            server = self._begun()
            try:
                server.start()
            except HarnessError:  # the next scenario tries again
                self._server = None
                server.close()
                raise
            return server

    def begin(self) -> Postgresql:
        """Prepare the server's data in advance."""
        with self._lock:
            return self._begun()

    def _begun(self) -> Postgresql:
        if self._server is None:
            self._server = Postgresql(find_postgresql(), host=self._host, started=False)
        return self._server

    def close(self) -> None:
        """Stop the server, if it was started here."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.close()
