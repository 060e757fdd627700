"""Clients that break KV-01, 02 or 07: a cache, and stale values."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from resilient_vault_client import Secret, VaultClient, VaultError, VaultSealed, VaultUnavailable
from resilient_vault_client.events import ServedStale
from tests.mutants.clients import (
    CachesForTheRefreshTime,
    CachesForTooLong,
    Mutant,
    Tolerated,
    by_name,
)
from tests.mutants.login_clients import AnswersFromMemory
from tests.mutants.reference_clients import Tweaked
from tests.subjects.lazy_client import LazyClient
from tests.subjects.lazy_wire import (
    DeletedError,
    MissingError,
    Reply,
    UnavailableError,
)

# KV-01


class CachesForever(Tweaked):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._read: dict[tuple[str, str], Secret] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        if (path, key) not in self._read:
            self._read[path, key] = super().read_cached(path, key)
        return self._read[path, key]


# KV-02


class _KnowsWhy(Tweaked):
    """Knows why a value is stale, so that a subclass can react."""

    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 3600.0, "backoff_cap": 1.0}
    max_stale, while_sealed, while_refused = 6.0, 6.0, 6.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client.close()
        self.declares["max_stale"] = self.max_stale
        self._why: VaultError | None = None
        self.client = VaultClient(environ=environ, on_event=self._told, **self.settings)

    def _told(self, event: object) -> None:
        if isinstance(event, ServedStale):
            self._why = event.error

    def read_cached(self, path: str, key: str) -> Secret:
        secret = super().read_cached(path, key)
        sealed = isinstance(self._why, VaultSealed)
        if secret.stale and secret.age > (self.while_sealed if sealed else self.while_refused):
            raise self._why or VaultUnavailable("Vault is away")
        return secret


class ServesStaleForeverInPlainReads(Tweaked):
    """Limits only the age of cached values."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._last: dict[tuple[str, str], Any] = {}

    def read(self, path: str, key: str) -> Any:
        try:
            found = self._last[path, key] = super().read(path, key)
        except VaultUnavailable:
            if (path, key) not in self._last:
                raise
            return dataclasses.replace(self._last[path, key], source="stale")
        return found


class ServesStaleWholeSecretsForever(Tweaked):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._last: dict[str, Any] = {}

    def read_all(self, path: str) -> Any:
        try:
            found = self._last[path] = super().read_all(path)
        except VaultUnavailable:
            if path not in self._last:
                raise
            return dataclasses.replace(self._last[path], source="stale")
        return found


class ServesStaleValuesWithoutAMark(Tweaked):
    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 3600.0}

    def read_cached(self, path: str, key: str) -> Any:
        return str(super().read_cached(path, key).value)


# KV-07


class ServesASecretDeletedInAnOutage(LazyClient):
    keeps = 3600.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._had: dict[tuple[str, str], str] = {}
        self._missed: dict[tuple[str, str], float] = {}

    def read(self, path: str, key: str) -> Any:
        try:
            self._had[path, key] = super().read(path, key)
        except UnavailableError:
            self._missed[path, key] = time.monotonic()
            raise
        except (DeletedError, MissingError):
            if time.monotonic() - self._missed.get((path, key), -self.keeps) >= self.keeps:
                raise
            return self._old(self._had[path, key])
        self._missed.pop((path, key), None)
        return self._had[path, key]

    def _old(self, value: str) -> Any:
        return value


class ServesStaleWholeSecretsWithoutAMark(Tweaked):
    def read_all(self, path: str) -> Any:
        return dict(self.client.read(path).value)


class _Kept(str):
    """A value marked as old."""

    __slots__ = ()
    stale = True


class ServesASecretDeletedInAnOutageForTooLong(ServesASecretDeletedInAnOutage):
    """Marks the value as old, and drops it four seconds too late."""

    keeps = 12.0

    def _old(self, value: str) -> Any:
        return _Kept(value)


class ReadsOverADeadConnectionEverySecondTime(LazyClient):
    """Alternates two connections, and never renews one of them after an outage."""

    _failed = False
    _turn = 0

    def _ask(self, *request: Any, **more: Any) -> Reply:
        try:
            return super()._ask(*request, **more)
        except UnavailableError:
            self._failed = True
            raise

    def read_all(self, path: str) -> dict[str, str]:
        self._turn += 1
        if self._failed and self._turn % 2:
            raise UnavailableError("the connection is closed")
        return super().read_all(path)


class TreatsARefusedConnectionAsAMissingSecret(LazyClient):
    _refused = False

    def _ask(self, *request: Any, **more: Any) -> Reply:
        try:
            reply = super()._ask(*request, **more)
        except UnavailableError as error:
            self._refused |= "ConnectionRefused" in str(error)
            raise
        self._refused = False
        return reply

    def read_all(self, path: str) -> dict[str, str]:
        try:
            return super().read_all(path)
        except UnavailableError:
            if self._refused:
                raise MissingError(f"there is no {path}") from None
            raise


MUTANTS = by_name(
    Mutant(CachesForever, "KV-01", "a rotated secret is seen"),
    Mutant(CachesForTooLong, "KV-01", "within 5 s"),
    Mutant(_KnowsWhy, "KV-02", "the last good value is served").called(
        "serves-no-stale-value-when-refused", while_refused=0.0
    ),
    Mutant(_KnowsWhy, "KV-02", "no value is served").called(
        "serves-stale-forever-in-a-seal", while_sealed=3600.0
    ),
    Mutant(ServesStaleForeverInPlainReads, "KV-02", "read gave one"),
    Mutant(ServesStaleWholeSecretsForever, "KV-02", "read_all gave one"),
    Mutant(ServesStaleValuesWithoutAMark, "KV-02", "no value is served"),
    # Has nothing left after a third of max_stale.
    # A failing call takes up to a deadline, and the time counts from its end.
    Mutant(Tweaked, "KV-02", "the last good value is served").called(
        "serves-stale-for-too-short", settings={"max_stale": 2.0}
    ),
    Mutant(Tweaked, "KV-02", "no value is served").called(
        "serves-stale-for-too-long", settings={"max_stale": 9.5}
    ),
    Mutant(ServesASecretDeletedInAnOutage, "KV-07", "it is deleted"),
    Mutant(
        ServesStaleWholeSecretsWithoutAMark, "KV-07", "read_all of backend/django-read_all gave"
    ),
    Mutant(AnswersFromMemory, "KV-07", "read of backend/django (SECRET_KEY) gave").called(
        "answers-from-memory-longer-than-max-stale"
    ),
    Mutant(ServesASecretDeletedInAnOutageForTooLong, "KV-07", "gone within"),
    Mutant(ReadsOverADeadConnectionEverySecondTime, "KV-07", "go on: 6 in a row"),
    Mutant(TreatsARefusedConnectionAsAMissingSecret, "KV-07", "never called missing or deleted"),
)


TOLERATED = by_name(
    Tolerated(CachesForTheRefreshTime, "KV-01"),
    Tolerated(Tweaked, "KV-02").called(
        "serves-stale-just-long-enough", settings={"max_stale": 5.5}
    ),
    # Returns it a bit longer than max_stale, as a call that began earlier may.
    Tolerated(Tweaked, "KV-02").called("serves-stale-a-little-longer", settings={"max_stale": 7.4}),
    # Drops it a second and a half early: recovery may take 3 s, a refresh 5 s.
    Tolerated(ServesASecretDeletedInAnOutageForTooLong, "KV-07").called(
        "serves-a-secret-deleted-in-an-outage-for-a-while", keeps=6.5
    ),
)
