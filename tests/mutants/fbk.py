"""Clients that break the promises of FBK: the environment instead of Vault."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from resilient_vault_client import Secret
from tests.mutants import byways
from tests.mutants.clients import (
    REFERENCE,
    Mutant,
    Tolerated,
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


class FallsBackForAWhile(Tweaked):
    """Hands out what it fell back to for some seconds more, whether Vault is there or not."""

    keeps = 3.5

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._fallen: dict[str, tuple[float, Secret]] = {}

    def read(self, path: str, key: str) -> Secret:
        at, secret = self._fallen.get(key, (0.0, None))
        if secret is not None and time.monotonic() - at < self.keeps:
            return secret
        secret = super().read(path, key)
        if secret.source == "environment":
            self._fallen[key] = time.monotonic(), secret
        return secret


class FallsBackForTooLong(FallsBackForAWhile):
    """For longer than its recovery may take, and what it reads may be old."""

    keeps = 12.0


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
    "falls-back-for-good": Mutant(
        FallsBackForGood, "FBK-01", "still gives the fallback", REFERENCE
    ),
    "falls-back-for-too-long": Mutant(
        FallsBackForTooLong, "FBK-01", "still gives the fallback", REFERENCE
    ),
    "falls-back-on-a-denial": Mutant(FallsBackOnADenial, "FBK-02", "fails as denied", REFERENCE),
    "falls-back-on-a-denial-in-its-cache": Mutant(
        byways.FallsBackOnADenialInItsCache, "FBK-02", "fails as denied", REFERENCE
    ),
    "keeps-its-fallback-in-its-cache": Mutant(
        byways.KeepsItsFallbackInItsCache, "FBK-01", "still gives the fallback", REFERENCE
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "falls-back-for-a-while": Tolerated(FallsBackForAWhile, "FBK-01", REFERENCE),
}
