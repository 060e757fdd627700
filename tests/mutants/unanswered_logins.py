"""Clients that have a deadline for each read, and none for a login in place of a lost token.

The answer to that login never comes (SID-04). `tests.mutants.sid` lists them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import ClientError, GivenUpError, Reply, UnavailableError, Wire


class _PatientWithLogins(Wire):
    """A login takes as long as it takes."""

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        if path.endswith("/login"):
            deadline = time.monotonic() + 3600.0
        return super().send(method, path, deadline=deadline, token=token, body=body)


class WaitsForItsLogin(LazyClient):
    """The call that logs in waits for that, and holds the lock for which all others wait."""

    wire_type = _PatientWithLogins


class LogsInBehindItsCallers(LazyClient):
    """A thread logs in for all calls, each of which waits for it until its deadline."""

    wire_type: type[Wire] = _PatientWithLogins
    patience = 1.0  # times the deadline of a call

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._under_way: threading.Thread | None = None
        self._failure: ClientError | None = None

    def _log_in(self, deadline: float) -> Token:
        running, before = self._under_way, self._token
        if running is None or not running.is_alive():
            self._failure = None
            running = threading.Thread(target=self._do_log_in, name="login", daemon=True)
            self._under_way = running
            running.start()
        running.join(max(0.0, deadline - time.monotonic()))
        if running.is_alive():
            raise GivenUpError("a login is under way")
        token = self._token
        if token is None or token is before:
            raise self._failure or UnavailableError("no token came of the login")
        return token

    def _do_log_in(self) -> None:
        try:
            super()._log_in(time.monotonic() + self.patience * self._deadline)
        except ClientError as error:
            self._failure = error


class LogsInBehindItsCallersForAWhile(LogsInBehindItsCallers):
    """The thread gives a login up after three times as long as a call may take."""

    wire_type = Wire
    patience = 3.0
