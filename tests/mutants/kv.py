"""Clients that break the promises of KV: what a secret is at the moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from resilient_vault_client import Secret
from tests.mutants.clients import (
    REFERENCE,
    LogsInOnEvery403,
    Mutant,
    Remembers,
    Tweaked,
)
from tests.subjects.lazy_client import LazyClient
from tests.subjects.lazy_wire import (
    DeletedError,
    MissingError,
)


class TakesDeletedForEmpty(LazyClient):
    """Hands out the empty string for a secret whose data is null."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeletedError:
            return ""


class CachesForEver(Tweaked):
    """Never asks again for what it has once read."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._read: dict[tuple[str, str], Secret] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        if (path, key) not in self._read:
            self._read[path, key] = super().read_cached(path, key)
        return self._read[path, key]


class ServesStaleForEver(Tweaked):
    """Serves its last good value as long as the outage lasts."""

    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 3600.0}


class HidesThatItIsStale(Tweaked):
    """Serves its last good value as long as the outage lasts, and as if it were fresh."""

    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 3600.0}

    def read_cached(self, path: str, key: str) -> Any:
        return str(super().read_cached(path, key).value)


class ServesTheDeadFromItsCache(Remembers):
    """What is deleted in Vault lives on in its cache."""

    capabilities = frozenset({"read", "outcomes", "cached"})

    def read_cached(self, path: str, key: str) -> str:
        try:
            return self.read(path, key)
        except (DeletedError, MissingError):
            if (path, key) in self._kept:
                return self._kept[path, key]
            raise


MUTANTS: dict[str, Mutant] = {
    "caches-for-ever": Mutant(CachesForEver, "KV-01", "a rotated secret is seen", REFERENCE),
    "serves-stale-for-ever": Mutant(ServesStaleForEver, "KV-02", "no value is served", REFERENCE),
    "hides-that-it-is-stale": Mutant(HidesThatItIsStale, "KV-02", "no value is served", REFERENCE),
    "serves-the-dead-from-its-cache": Mutant(ServesTheDeadFromItsCache, "KV-03", "deleted"),
    "takes-deleted-for-empty": Mutant(TakesDeletedForEmpty, "KV-03", "reported as deleted"),
    "logs-in-at-a-wrong-mount": Mutant(LogsInOnEvery403, "KV-05", "at most 2 logins"),
}
