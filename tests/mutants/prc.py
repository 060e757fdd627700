"""Clients that break the promises of PRC: a client's own process, its health and its words."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping

from tests.mutants.clients import (
    LAZY_PROCESS,
    REFERENCE,
    AlwaysSaysWell,
    HangsAtTheEnd,
    Mutant,
    Tweaked,
)
from tests.subjects.lazy_client import LazyClient, Token, log
from tests.subjects.lazy_wire import (
    ClientError,
    DeniedError,
    UnavailableError,
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
}
