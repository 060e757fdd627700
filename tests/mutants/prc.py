"""Clients that break the promises of PRC: a client's own process, its health and its words."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Mapping
from typing import ClassVar

from tests.mutants.clients import (
    LAZY_PROCESS,
    REFERENCE,
    AlwaysSaysWell,
    HangsAtTheEnd,
    LeavesAThreadForEachFailure,
    Mutant,
    Tweaked,
)
from tests.subjects.lazy_client import LazyClient, Token, log
from tests.subjects.lazy_wire import (
    ClientError,
    DeniedError,
    UnavailableError,
    Wire,
    is_whole,
)


class LogsItsToken(LazyClient):
    """Writes each token into its log, for debugging."""

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        log.debug("got token %s", token.value)
        return token


class ShowsItsSecretId(LazyClient):
    """Puts what it sent into the error that it raises."""

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except DeniedError as error:
            raise DeniedError(f"{error}: {self._credentials.current()}") from None


class CatchesUpAfterSleep(LazyClient):
    """Looks at its token by a timetable, and after a sleep does all that it has missed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        threading.Thread(target=self._by_timetable, daemon=True).start()

    def _by_timetable(self) -> None:
        due = time.monotonic()
        while not self._closed:
            due += 0.4
            time.sleep(max(0.0, due - time.monotonic()))
            if self._token is not None:
                with contextlib.suppress(ClientError):
                    self._wire.send(
                        "GET",
                        "auth/token/lookup-self",
                        deadline=time.monotonic() + 1.0,
                        token=self._token.value,
                    )


class NeverSaysWellAgain(Tweaked):
    """Once red, its health stays so."""

    _red = False

    def health(self) -> bool:
        self._red = self._red or not super().health()
        return not self._red


class SaysNothingOfItsHealth(LazyClient):
    """Well in calm weather; after an outage its health waits for what never comes."""

    capabilities = frozenset({"read", "outcomes", "health"})
    _shaken = False

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except UnavailableError:
            self._shaken = True
            raise

    def health(self) -> bool:
        if self._shaken:
            threading.Event().wait(30.0)
        return True


class NeverMissesItsThread(Tweaked):
    """Starts the thread that renews once, and never looks after it again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        renewer = self.client._session().renewer
        start = renewer.ensure_running

        def once() -> None:
            if renewer._thread is None:
                start()

        renewer.ensure_running = once  # type: ignore[method-assign]  # that is its fault


class LogsInWithoutATimer(LazyClient):
    """Takes a timer that is gone for a token that is gone, at every call, and sets no other."""

    _armed = False

    def _arm(self, seconds: float) -> None:
        if not self._armed:
            self._armed = True
            super()._arm(seconds)

    def _valid_token(self, deadline: float) -> Token:
        if self._timer is not None and not self._timer.is_alive():
            self._token = None
        return super()._valid_token(deadline)


class _Hoarder(Wire):
    """Closes a connection only if all went well."""

    _kept: ClassVar[list[socket.socket]] = []

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        peer = socket.create_connection((self._host, self._port), timeout=1.0)
        self._kept.append(peer)
        peer.settimeout(max(0.01, deadline - time.monotonic()))
        peer.sendall(request)
        received = bytearray()
        while not is_whole(received):
            piece = peer.recv(65536)
            if not piece:
                return bytes(received)
            received += piece
        peer.close()
        return bytes(received)


class HoardsDeadConnections(LazyClient):
    """Lets go of a connection that failed without closing it."""

    wire_type = _Hoarder


MUTANTS: dict[str, Mutant] = {
    "catches-up-after-sleep": Mutant(
        CatchesUpAfterSleep, "PRC-03", "requests (all kinds)", LAZY_PROCESS, process=True
    ),
    "logs-its-token": Mutant(LogsItsToken, "PRC-04", "token"),
    "shows-its-secret-id": Mutant(ShowsItsSecretId, "PRC-04", "secret-id"),
    "says-well-under-a-seal": Mutant(AlwaysSaysWell, "PRC-05", "health tells the truth", REFERENCE),
    "never-says-well-again": Mutant(
        NeverSaysWellAgain, "PRC-05", "health tells the truth", REFERENCE
    ),
    "says-nothing-of-its-health": Mutant(SaysNothingOfItsHealth, "PRC-05", "health"),
    "hangs-with-a-call": Mutant(HangsAtTheEnd, "PRC-07", "it ends cleanly"),
    "never-misses-its-thread": Mutant(
        NeverMissesItsThread, "PRC-02", "a renewal or a login between", REFERENCE
    ),
    "logs-in-without-a-timer": Mutant(LogsInWithoutATimer, "PRC-02", "at most 1 login"),
    "leaves-a-thread-for-each-fault": Mutant(
        LeavesAThreadForEachFailure, "PRC-06", "leave nothing behind"
    ),
    "hoards-dead-connections": Mutant(HoardsDeadConnections, "PRC-06", "leave nothing behind"),
}
