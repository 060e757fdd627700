"""Clients to which nothing comes back that was away once: a secret deleted, or not there yet.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resilient_vault_client import SecretNotFound
from tests.mutants.clients import Tweaked
from tests.subjects.lazy_client import LazyClient
from tests.subjects.lazy_wire import DeletedError, Reply


class KeepsADeletionByItsVersion(LazyClient):
    """A version that was deleted stays deleted: what it has of one it does not look at again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._gone: dict[str, int] = {}

    def _fetch(self, path: str, deadline: float) -> Reply:
        reply = super()._fetch(path, deadline)
        inner = reply.body.get("data") or {}
        version = (inner.get("metadata") or {}).get("version")
        if reply.status == 404 and version:
            self._gone[path] = version
        elif version and self._gone.get(path) == version:
            raise DeletedError(f"version {version} of {path} is deleted")
        return reply


class NeverAsksForADeletedSecretAgain(LazyClient):
    """A path whose secret was deleted is dead to it, and it tells no outcomes."""

    capabilities = frozenset({"read", "read_all", "tls", "herd"})

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._dead: set[str] = set()

    def read_all(self, path: str) -> dict[str, str]:
        if path in self._dead:
            raise RuntimeError(f"{path} is deleted")
        try:
            return super().read_all(path)
        except DeletedError:
            self._dead.add(path)
            raise


class RemembersWhatIsMissingInItsCache(Tweaked):
    """Its cache has a place for what is not there, which never gets old."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._missing: dict[tuple[str, str], SecretNotFound] = {}

    def read_cached(self, path: str, key: str) -> Any:
        if (path, key) in self._missing:
            raise SecretNotFound(f"there is no {key} in {path}", path=path)
        try:
            return super().read_cached(path, key)
        except SecretNotFound as error:
            self._missing[path, key] = error
            raise
