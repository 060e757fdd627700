"""The one PostgreSQL of a run, or of a process that runs scenarios without others beside it."""

from __future__ import annotations

import importlib.util
import threading

from vault_harness.engine import LOOPBACK, Postgresql
from vault_harness.errors import HarnessError, ProgramMissing
from vault_harness.programs import find_postgresql


class SharedPostgresql:
    """A server for all scenarios of a run: each has users of its own in it, and none breaks it.

    Args:
        host: Where it listens; loopback by default.
        server: One that the process starts from which this one was forked. Without one it is
            started when the first scenario needs it.
    """

    def __init__(self, *, host: str = LOOPBACK, server: Postgresql | None = None) -> None:
        self._host = host
        self._given = server
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
        if self._given is not None:
            self._given.await_ready()
            return self._given
        with self._lock:
            server = self._begun()
            try:
                server.start()
            except HarnessError:  # whoever needs it next tries anew, and is told the same
                self._server = None
                server.close()
                raise
            return server

    def begin(self) -> Postgresql:
        """Begin to make its data, so that it is there sooner when it is needed.

        Raises:
            EngineError: It cannot be run.
        """
        with self._lock:
            return self._begun()

    def _begun(self) -> Postgresql:
        if self._server is None:
            self._server = Postgresql(find_postgresql(), host=self._host, started=False)
        return self._server

    def close(self) -> None:
        """End it, if it was started here."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.close()
