"""Deviations from the reference client, for faults that need a cache, a fallback or health."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from resilient_vault_client import Secret, VaultClient
from vault_harness.subjects.reference import ReferenceSubject


class Tweaked(ReferenceSubject):
    """The reference client with other settings than it declares."""

    settings: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        self.client.close()
        self.client = VaultClient(environ=environ, **self.settings)


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


class HasNoFallback(Tweaked):
    """Claims a fallback that it does not have."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        known = {name: value for name, value in environ.items() if "VAULT" in name}
        super().__init__(known)


class FallsBackOnADenial(Tweaked):
    """Papers over a policy with the environment variable."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._environ = environ

    def read(self, path: str, key: str) -> Any:
        try:
            return super().read(path, key)
        except Exception:
            if key in self._environ:
                return self._environ[key]
            raise


class FallsBackForGood(Tweaked):
    """Decides at its first read whether there is a Vault."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._fallen: dict[str, Secret] = {}

    def read(self, path: str, key: str) -> Secret:
        secret = self._fallen.get(key) or super().read(path, key)
        if secret.source == "environment":
            self._fallen[key] = secret
        return secret


class AlwaysSaysWell(Tweaked):
    """Its health is a constant."""

    def health(self) -> bool:
        return True
