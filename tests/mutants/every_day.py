"""Clients with a defect that is written every day, and that shows beside others only.

A pool that is too small, a cache that is handed out itself, a clock on the wall. Each is listed in
the module of the group whose scenario it meets.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from resilient_vault_client import VaultClient
from resilient_vault_client._memory import Memory, Remembered
from tests.mutants.clients import AtShare, LooksByItself, Tweaked
from tests.mutants.unasked import Writes
from tests.mutants.untried import _kept_open
from tests.subjects.lazy_client import LazyClient, Token, _secret, log
from tests.subjects.lazy_wire import Reply, UnavailableError, Wire, _left

# Connections


class _FewConnections(Wire):
    """Has so many connections to one host, and no more."""

    most = 2

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._free = threading.BoundedSemaphore(self.most)

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        if not self._free.acquire(timeout=_left(deadline)):
            raise TimeoutError
        try:
            return super()._exchange(request, deadline)
        finally:
            self._free.release()


class HasTwoConnections(LazyClient):
    """Has a pool of two connections for a host, as Apache's HttpClient has if nobody says more."""

    wire_type = _FewConnections


class _FourConnections(_FewConnections):
    most = 4


class HasFourConnections(LazyClient):
    """Of four."""

    wire_type = _FourConnections


class LeavesAConnectionForEachWrite(Writes):
    """Looks at the status of what a write is answered, leaves the body unread, and closes nothing.

    Where it reads an answer is read to its end, so that nobody notices.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._left: list[socket.socket] = []

    def write(self, path: str, data: Mapping[str, str]) -> None:
        super().write(path, data)
        self._left.append(_kept_open(self._wire, time.monotonic() + self._deadline))

    def close(self) -> None:
        super().close()
        for kept in self._left:
            kept.close()


class EndsAfterItsWrite(Writes):
    """Takes its time for a write, as much as Vault takes, and ends when all of them are done.

    So does a pool of threads that is shut down and waited for, beside calls that have deadlines.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._writing = threading.Lock()

    def write(self, path: str, data: Mapping[str, str]) -> None:
        with self._writing:
            while True:
                try:
                    return super().write(path, data)
                except UnavailableError:
                    if self._closed:
                        raise

    def close(self) -> None:
        if self._writing.acquire(timeout=60.0):
            self._writing.release()
        super().close()


# Caches


class HandsOutItsCacheItself(LazyClient):
    """Gives whole secrets from a cache for a second, and whoever is given one has the cache's own.

    So does `functools.cache` around a function that returns a dictionary: an application that takes
    a key out of it, or fills a template in, has done so for all.
    """

    keeps = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._wholes: dict[str, tuple[float, dict[str, str]]] = {}

    def read_all(self, path: str) -> dict[str, str]:
        asked = time.monotonic()
        at, whole = self._wholes.get(path, (-self.keeps, {}))
        if asked - at >= self.keeps:
            whole = super().read_all(path)
            self._wholes[path] = asked, whole
        return whole


class _ByTheTimeOfDay(Memory):
    def keep(self, entry: Remembered) -> None:
        super().keep(entry)
        self.__dict__.setdefault("_kept_at", {})[entry.path] = time.time()

    def stand_in(self, path: str) -> Remembered | None:
        entry = self.entries.get(path)
        kept = self.__dict__.get("_kept_at", {}).get(path, 0.0)
        return entry if time.time() - kept <= self._max_stale else None


class ReckonsMaxStaleByTheTimeOfDay(Tweaked):
    """Knows by the wall clock when Vault gave a value last, and so how old one is in an outage."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client._session().memory.__class__ = _ByTheTimeOfDay


class TriesUntilATimeOfDay(LazyClient):
    """Tries a call again for as long as that has, and knows by the wall clock how long that is."""

    def read_all(self, path: str) -> dict[str, str]:
        until = time.time() + 0.9 * self._deadline
        while True:
            try:
                return _secret(self._fetch(path, time.monotonic() + 0.3), path)
            except UnavailableError:
                if time.time() >= until:
                    raise
                time.sleep(0.1)


# What it does by itself


class LooksAtVersionsWhateverRetryAfterSays(LooksByItself):
    """Looks twice a second whether what was read last has another version; a quota stops reads."""

    every = 0.5
    _last = ""

    def read_all(self, path: str) -> dict[str, str]:
        self._last = path
        return super().read_all(path)

    def _look(self, token: Token, deadline: float) -> None:
        if where := self._last:
            where = f"{self._mount}/metadata/{where}"
            self._wire.send("GET", where, deadline=deadline, token=token.value)


class TakesAnyPageForARenewal(AtShare):
    """Looks at the status of what its renewal is answered, and reckons with another whole life."""

    share = 0.6

    def _renewed(self, token: Token, deadline: float) -> bool:
        asked = time.monotonic()
        try:
            return super()._renewed(token, deadline)
        except UnavailableError as error:
            if "none of Vault's" not in str(error):
                raise
        token.since = asked
        self._arm(token.due)
        return True


# Files


class KeepsItsTokenForAll(LazyClient):
    """Keeps its token in a file for its next start, as many as may read what is in that folder."""

    mode = 0o644

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        handle, name = tempfile.mkstemp(prefix="token-")
        os.close(handle)
        self._file = Path(name)
        self._file.chmod(self.mode)

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._file.write_text(token.value, encoding="ascii")
        return token

    def close(self) -> None:
        super().close()
        self._file.unlink(missing_ok=True)


class KeepsItsTokenForItself(KeepsItsTokenForAll):
    """Where nobody else may."""

    mode = 0o600


# Logs


class LogsThatItWaits(LazyClient):
    """Has a thread that waits for Vault's return, and says so each time that it looks.

    It looks at a flag of its own, so that nothing is sent, and has forgotten to pause.
    """

    lines, pause = 50, 0.005
    _waiting: threading.Thread | None = None
    _away = False

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        try:
            reply = super()._ask(method, path, deadline, token, body)
        except UnavailableError:
            self._away = True
            if self._waiting is None or not self._waiting.is_alive():
                self._waiting = threading.Thread(target=self._wait, name="waits", daemon=True)
                self._waiting.start()
            raise
        self._away = False
        return reply

    def _wait(self) -> None:
        while self._away and not self._closed:
            for _ in range(self.lines):
                log.info("Vault is away; waiting for it")
            time.sleep(self.pause)


class LogsThatItWaitsNowAndThen(LogsThatItWaits):
    """Has remembered to, if for a moment."""

    lines, pause = 10, 0.02


class SpinsWhileItWaits(LogsThatItWaits):
    """Has such a thread, which says nothing: it looks, and looks again.

    So does a `select` in Go that has a `default`, and a loop that waits for a time of day.
    """

    rests = 0.0

    def _wait(self) -> None:
        while self._away and not self._closed:
            until = time.monotonic() + 0.01
            while time.monotonic() < until and not self._closed:
                pass
            if self.rests:
                time.sleep(self.rests)


class LooksAboutWhileItWaits(SpinsWhileItWaits):
    """Has a pause between its looks, and takes a tenth of a core."""

    rests = 0.09


class _ConnectsOn(Wire):
    """Tries to connect until it can, or the call's time is up."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        while True:
            log.debug("connecting")
            try:
                return super()._exchange(request, deadline)
            except ConnectionRefusedError:
                log.debug("refused; trying again")


class ConnectsWithoutAPause(LazyClient):
    """Waits out an answer that fails it, and tries again at once where nobody listens."""

    wire_type = _ConnectsOn


class LogsInForItsHealth(Tweaked):
    """Is well when a client of its own can log in, which it makes for each question."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._environ = environ

    def health(self) -> bool:
        own = VaultClient(environ=self._environ)
        try:
            return own.health().ok
        finally:
            own.close()
