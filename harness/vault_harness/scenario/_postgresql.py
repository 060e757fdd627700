"""The one PostgreSQL of a process that runs scenarios, started when the first of them needs it."""

from __future__ import annotations

import importlib.util
import threading

from vault_harness.engine import LOOPBACK, Postgresql
from vault_harness.errors import ProgramMissing
from vault_harness.programs import find_postgresql


class SharedPostgresql:
    """A server for all scenarios of this process: each has users of its own in it.

    Args:
        host: Where it listens; loopback by default.
    """

    def __init__(self, *, host: str = LOOPBACK) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._server: Postgresql | None = None

    def lacking(self) -> str:
        """Why there can be none here, in one line; empty if there can."""
        if importlib.util.find_spec("psycopg") is None:
            return "psycopg is not installed (pip install vault-harness[postgresql])"
        try:
            find_postgresql()
        except ProgramMissing as missing:
            return f"{missing.cause} (looked at: {missing.looked_at})"
        return ""

    def server(self) -> Postgresql:
        """The server, started.

        Raises:
            EngineError: It cannot be run.
        """
        with self._lock:
            if self._server is None:
                self._server = Postgresql(find_postgresql(), host=self._host)
            return self._server

    def close(self) -> None:
        """End it, if it was started."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.close()
