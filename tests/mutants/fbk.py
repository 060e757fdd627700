"""Clients that break the promises of FBK: the environment instead of Vault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resilient_vault_client import Secret
from tests.mutants.clients import (
    REFERENCE,
    Mutant,
    Tweaked,
)


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


MUTANTS: dict[str, Mutant] = {
    "has-no-fallback": Mutant(HasNoFallback, "FBK-01", "is the fallback", REFERENCE),
    "falls-back-for-good": Mutant(FallsBackForGood, "FBK-01", "still give the fallback", REFERENCE),
    "falls-back-on-a-denial": Mutant(FallsBackOnADenial, "FBK-02", "fails as denied", REFERENCE),
}
