"""Broken clients derived from the reference client."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from resilient_vault_client import (
    Credential,
    PermissionDenied,
    RateLimited,
    Secret,
    VaultClient,
    VaultError,
)
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Grant, Token
from resilient_vault_client._leases import Held, Leases
from tests.mutants.clients import WHOLES, _of_anybody
from tests.mutants.login_clients import _Loading
from tests.subjects.lazy_wire import DeniedError, UnavailableError
from vault_harness.judge.subjects.reference import ReferenceSubject


class Tweaked(ReferenceSubject):
    """Has other settings than it declares."""

    settings: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        self.client.close()
        self.client = VaultClient(environ=environ, **self.settings)


class Leasing(ReferenceSubject):
    leases_type: ClassVar[type[Leases]] = Leases

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        self.client._session().leases.__class__ = self.leases_type


WHOLES[Leases] = Leasing, "leases_type"


class LeavesItsCredentialsBehind(Leasing):
    """Ends without a word to Vault."""

    leaves: ClassVar[frozenset[str]] = frozenset()

    def close(self) -> None:
        self.client._session().authenticator.surrender(1.0)
        super().close()


class StopsRefreshingAfterADenial(Tweaked):
    """Its thread ends at the first denial."""

    ends_at: ClassVar[type[VaultError]] = PermissionDenied

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._asked: dict[tuple[str, str], Secret | None] = {}
        self._ended = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def read_cached(self, path: str, key: str) -> Secret:
        kept = self._asked.setdefault((path, key), None)
        if kept is None:
            kept = self._asked[path, key] = self.read(path, key)
        return kept

    def close(self) -> None:
        self._ended.set()
        super().close()

    def _look(self) -> None:
        while not self._ended.wait(0.7):
            for path, key in list(self._asked):
                try:
                    self._asked[path, key] = self.read(path, key)
                except self.ends_at:
                    return
                except VaultError:
                    self._asked[path, key] = None


class StopsRefreshingAfterA429(StopsRefreshingAfterADenial):
    """It hands out what it has for ever."""

    ends_at: ClassVar[type[VaultError]] = RateLimited
    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 0.0}


class ReportsUnhealthyForAWhile(Tweaked):
    """Some seconds after the first question; it declares four."""

    after = 2.8
    _since = 0.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "backoff_cap": 2.0}

    def health(self) -> bool:
        now = time.monotonic()
        self._since = self._since or now
        return super().health() and now - self._since >= self.after


class SaysSlowlyHowItIs(Tweaked):
    """Takes nearly all the time of a call."""

    lasts = 1.8

    def health(self) -> bool:
        began = time.monotonic()
        well = super().health()
        time.sleep(max(0.0, began + self.lasts - time.monotonic()))
        return well


class RenewsAtShare(Leases):
    share: ClassVar[float] = 0.5

    def _plan(self, held: Held, grant: Grant) -> None:
        super()._plan(held, grant)
        held.due = grant.granted_at + grant.life * self.share


class _Endless(Grant):
    @property
    def usable(self) -> bool:
        return self.lost is None


class Trusting(Leases):
    """Gives renewals unlimited time."""

    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        grant = super()._ask(path, token, deadline)
        grant.__class__ = _Endless
        return grant

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        grant.renewable = True
        return super()._renew(held, grant, deadline)


class NeverRenewsALease(Leases):
    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        del held, grant, deadline
        return "not_renewable"


class LoadsInEachWay(Leasing):
    """At its first call of any kind, for a little more than a call's time."""

    takes = 2.4

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._loading = _Loading(self.takes)

    def read(self, path: str, key: str) -> Secret:
        self._loading.wait()
        return super().read(path, key)

    def read_cached(self, path: str, key: str) -> Secret:
        self._loading.wait()
        return super().read_cached(path, key)

    def lease(self, path: str, failed: str | None = None) -> Credential:
        self._loading.wait()
        return super().lease(path, failed)


class _WritesByItself(Tweaked):
    """Writes by a second piece of code."""

    patience = 1.0

    def write(self, path: str, data: Mapping[str, str]) -> None:
        token, config = self.client._session().authenticator.current, self.client.config
        if token is None:
            super().write(path, data)
            return
        url = f"{config.address}/v1/{config.mount_point}/data/{path}"
        try:
            status, _ = self.post(url, token.text, json.dumps({"data": dict(data)}).encode())
        except (OSError, HTTPException) as error:
            raise UnavailableError(type(error).__name__) from None
        if not self.done(status):
            raise UnavailableError(f"Vault answered {status}")

    def done(self, status: int) -> bool:
        return status in (200, 204)

    def post(self, url: str, token: str, body: bytes) -> tuple[int, str]:
        there = urlsplit(url)
        with closing(self._connection(there.scheme, there.hostname or "", there.port)) as peer:
            peer.request("POST", there.path, body, {"X-Vault-Token": token})
            answer = peer.getresponse()
            answer.read()
            return answer.status, answer.headers.get("Location", "")

    def _connection(self, scheme: str, host: str, port: int | None) -> HTTPConnection:
        if scheme == "https":
            return HTTPSConnection(host, port, timeout=self.patience, context=_of_anybody())
        return HTTPConnection(host, port, timeout=self.patience)


class GivesUpAfterAnEmptyFile(ReferenceSubject):
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


class ReportsUnhealthyLate(Tweaked):
    """To be sure of an outage."""

    after = 4.5
    _since = 0.0

    def health(self) -> bool:
        now = time.monotonic()
        if super().health():
            self._since = 0.0
            return True
        self._since = self._since or now
        return now - self._since < self.after


class JoinsByPath(Tweaked):
    """Joins simultaneous requests, also with different contents."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._under_way: dict[str, Future[None]] = {}
        self._joining = threading.Lock()

    def joined(self, path: str, ask: Callable[[], None]) -> None:
        """Ask, or take over another caller's result."""
        with self._joining:
            there = self._under_way.get(path)
            mine = self._under_way[path] = there or Future()
        if there is not None:
            there.result(timeout=self.client.config.timeout)
            return
        try:
            ask()
            mine.set_result(None)
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._joining:
                del self._under_way[path]
