"""Clients that are correct for as long, or in as far, as is tried first, and broken a step further.

At the fourth renewal, at the second token, at a status of another class, at a secret of the same
name, at a file that is empty for a moment. Each is listed in the module of the group whose scenario
it meets.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from resilient_vault_client import Secret, VaultClient, VaultError
from tests.mutants.clients import AtShare, CachesForTheRefreshTime, Tweaked
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import DeniedError, UnavailableError, Wire
from vault_harness.subjects.reference import ReferenceSubject

# The next renewal, the next token


class RenewsThreeTimes(AtShare):
    """Counts the renewals that it was granted as if they were tries, and makes three of them."""

    share = 0.6
    most = 3
    _made = 0
    _failed = False

    def _renewed(self, token: Token, deadline: float) -> bool:
        self._made += 1
        self._failed = False
        try:
            return super()._renewed(token, deadline)
        except UnavailableError:
            self._made -= 1
            self._failed = True
            raise

    def _arm(self, seconds: float) -> None:
        if self._failed:  # which it tries again after a pause, and not at its share
            LazyClient._arm(self, seconds)
        elif self._made < self.most:
            super()._arm(seconds)


class PlansByItsFirstToken(AtShare):
    """Takes it for granted that each token lives for as long as its first one."""

    share = 0.75
    _first = 0.0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._first = self._first or token.ttl
        token.ttl = token.first_ttl = self._first
        self._arm(token.due)
        return token


# Another secret


class CachesByTheKeyAlone(Tweaked):
    """Keeps values in its cache by their key, in whichever secret that is."""

    keeps = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[str, tuple[float, Secret]] = {}

    def named(self, path: str, key: str) -> str:
        """By what name a value is kept."""
        del path
        return key

    def read_cached(self, path: str, key: str) -> Secret:
        asked, name = time.monotonic(), self.named(path, key)
        at, secret = self._kept.get(name, (0.0, None))
        if secret is None or asked - at >= self.keeps:
            secret = super().read_cached(path, key)
            self._kept[name] = asked, secret
        return secret


class CachesByTheLastOfThePath(CachesForTheRefreshTime):
    """Keeps what it reads by the last part of its path, and the key."""

    keeps = 1.0

    def read(self, path: str, key: str) -> str:
        asked, name = time.monotonic(), (path.rpartition("/")[2], key)
        at, value = self._values.get(name, (0.0, ""))
        if not at or asked - at >= self.keeps:
            value = LazyClient.read(self, path, key)
            self._values[name] = asked, value
        return value


# Not Vault's own answer


class _GoesByTheStatus(Wire):
    """Takes an answer with the status of a missing secret, or of a denial, for that."""

    words: ClassVar[Mapping[bytes, bytes]] = {b"404": b'{"errors":[]}'}

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        says = self.words.get(raw[9:12])
        if says is None or b"text/html" not in raw:
            return raw
        head = b"HTTP/1.1 %s As Vault says\r\nContent-Length: %d\r\n\r\n"
        return head % (raw[9:12], len(says)) + says


class _TakesItForADenial(_GoesByTheStatus):
    words: ClassVar[Mapping[bytes, bytes]] = {b"403": b'{"errors":["permission denied"]}'}


class TakesAPageForAMissingSecret(LazyClient):
    """Says that there is no such secret where a gateway has no route to Vault."""

    wire_type = _GoesByTheStatus


class TakesAPageForADenial(LazyClient):
    """Takes a gateway's 403 for Vault's, and its token for dead."""

    wire_type = _TakesItForADenial


class RetriesAWriteThatAGatewayFailed(Tweaked):
    """Takes a 5xx for a promise that nothing was done; a connection that breaks it does not."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        try:
            super().write(path, data)
        except VaultError as error:
            if (error.status or 0) < 500:
                raise
            super().write(path, data)


# What is not there for a moment


class _AsksNoMore(Wire):
    """Resolves its server's name for each connection, until that has failed once."""

    _nowhere = False

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        if self._nowhere:
            raise ConnectionRefusedError
        try:
            return super()._exchange(request, deadline)
        except socket.gaierror as error:
            self._nowhere = error.errno == socket.EAI_NONAME
            raise


class TakesAnUnknownNameForTheEnd(LazyClient):
    """Takes a name that does not resolve for a mistake in its configuration."""

    wire_type = _AsksNoMore


class TakesAnEmptyFileForTheEnd(ReferenceSubject):
    """Watches the file that it logs in with, and gives up for good when there is nothing in it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        named = environ.get("VAULT_TOKEN_FILE") or environ["VAULT_JWT_FILE"]
        self._file, self._over = Path(named), threading.Event()
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def read(self, path: str, key: str) -> Secret:
        if self._ended.is_set():
            raise DeniedError("there is nothing to log in with")
        return super().read(path, key)

    def close(self) -> None:
        self._over.set()
        super().close()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            if not self._file.read_bytes():
                self._ended.set()
