"""Clients that break FBK."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from resilient_vault_client import (
    AuthenticationFailed,
    Secret,
    SecretDeleted,
    VaultError,
    VaultUnavailable,
    VaultUnreachable,
)
from tests.mutants.clients import Mutant, Tolerated, by_name
from tests.mutants.reference_clients import LoadsInEachWay, Tweaked
from tests.subjects.lazy_wire import UnavailableError

# FBK-01


class HasNoFallback(Tweaked):
    def __init__(self, environ: Mapping[str, str]) -> None:
        known = {name: value for name, value in environ.items() if "VAULT" in name}
        super().__init__(known)


class FallsBackForAWhile(Tweaked):
    """Returns its fallback for some seconds after Vault is back."""

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


class _EachWay(Tweaked):
    def read(self, path: str, key: str) -> Secret:
        return self.answer(super().read, path, key)

    def read_cached(self, path: str, key: str) -> Secret:
        return self.answer(super().read_cached, path, key)

    def answer(self, ask: Callable[[str, str], Secret], path: str, key: str) -> Secret:
        return ask(path, key)


class FallsBackForGoodInItsSecondOutage(_EachWay):
    _served = False

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._fallen: dict[tuple[str, str], Secret] = {}

    def answer(self, ask: Callable[[str, str], Secret], path: str, key: str) -> Secret:
        if (path, key) in self._fallen:
            return self._fallen[path, key]
        secret = ask(path, key)
        if secret.source != "environment":
            self._served = True
        elif self._served:
            self._fallen[path, key] = secret
        return secret


class FallsBackToItsFirstVariable(_EachWay):
    """Uses the first key's variable for all keys."""

    _first: Secret | None = None

    def answer(self, ask: Callable[[str, str], Secret], path: str, key: str) -> Secret:
        try:
            secret = ask(path, key)
        except VaultUnavailable:
            if self._first is None:
                raise
            return self._first
        if secret.source == "environment":
            self._first = self._first or secret
        return secret


class HasNoCachedValueAfterAFallback(Tweaked):
    """Its cache uses the variable while Vault is away, and later has nothing for that key."""

    _fallen = False

    def read_cached(self, path: str, key: str) -> Secret:
        if self._fallen:
            raise UnavailableError("it has no value of Vault's")
        secret = super().read_cached(path, key)
        if secret.source == "environment":
            self._fallen = True
        return secret


class KeepsItsFallbackInItsCache(Tweaked):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._fallen: dict[str, Secret] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        secret = self._fallen.get(path) or super().read_cached(path, key)
        if secret.source == "environment":
            self._fallen[path] = secret
        return secret


class CachesItsFallbackUntilAPlainRead(KeepsItsFallbackInItsCache):
    def read(self, path: str, key: str) -> Secret:
        secret = super().read(path, key)
        if secret.source != "environment":
            self._fallen.pop(path, None)
        return secret


class FallsBackOnlyIfConnectionsAreRefused(Tweaked):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__({name: value for name, value in environ.items() if "VAULT" in name})
        self._variables = environ

    def read(self, path: str, key: str) -> Any:
        try:
            return super().read(path, key)
        except VaultUnreachable:
            return self._variable(key)

    def read_cached(self, path: str, key: str) -> Any:
        try:
            return super().read_cached(path, key)
        except VaultUnreachable:
            return self._variable(key)

    def _variable(self, key: str) -> str:
        if key in self._variables:
            return self._variables[key]
        raise UnavailableError(f"Vault is away, and {key} is not set")


# FBK-02


class FallsBackInADeniedCachedReadWithoutAPlainReadBefore(Tweaked):
    """Uses the variable in a cached read if no plain read has failed before."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._environ = environ
        self._refused: set[str] = set()

    def read(self, path: str, key: str) -> Secret:
        try:
            return super().read(path, key)
        except VaultError:
            self._refused.add(path)
            raise

    def read_cached(self, path: str, key: str) -> Any:
        try:
            return super().read_cached(path, key)
        except VaultError:
            if path in self._refused or key not in self._environ:
                raise
            return self._environ[key]


class FallsBackOnADenial(Tweaked):
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


class _AnswersADenialFromItsCache(Tweaked):
    """Returns the environment variable for failures that are no outage."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._environ = environ

    def instead(self, key: str, failure: VaultError) -> str:
        if key in self._environ:
            return self._environ[key]
        raise failure


class FallsBackAtARefusedLogin(_AnswersADenialFromItsCache):
    """Returns the environment variable although its access was taken away."""

    def read(self, path: str, key: str) -> Any:
        try:
            return super().read(path, key)
        except AuthenticationFailed as failure:
            return self.instead(key, failure)


class FallsBackForADeletedSecret(_AnswersADenialFromItsCache):
    def read(self, path: str, key: str) -> Any:
        try:
            return super().read(path, key)
        except SecretDeleted as failure:
            return self.instead(key, failure)


class PausesAfterARefusedLogin(Tweaked):
    """Pauses for some seconds after a refused login, and ignores a new secret-id.

    It reports Vault as unavailable then, which is no reason to fall back.
    """

    rests = 8.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._until = 0.0

    def read(self, path: str, key: str) -> Secret:
        return self._asked(super().read, path, key)

    def read_cached(self, path: str, key: str) -> Secret:
        return self._asked(super().read_cached, path, key)

    def _asked(self, ask: Callable[[str, str], Secret], path: str, key: str) -> Secret:
        if time.monotonic() < self._until:
            raise UnavailableError("it rests, since its login was refused")
        try:
            return ask(path, key)
        except AuthenticationFailed:
            self._until = time.monotonic() + self.rests
            raise UnavailableError("its login was refused") from None


MUTANTS = by_name(
    Mutant(HasNoFallback, "FBK-01", "is the fallback"),
    Mutant(FallsBackForAWhile, "FBK-01", "still gives the fallback").called(
        "falls-back-for-too-long", keeps=16.0
    ),
    Mutant(FallsBackForGoodInItsSecondOutage, "FBK-01", "still gives the fallback"),
    Mutant(
        FallsBackToItsFirstVariable,
        "FBK-01",
        "of shared/email (EMAIL_HOST_PASSWORD) gave the value fallback",
    ),
    Mutant(HasNoCachedValueAfterAFallback, "FBK-01", "read_cached still ends"),
    Mutant(CachesItsFallbackUntilAPlainRead, "FBK-01", "still gives the fallback"),
    Mutant(FallsBackOnlyIfConnectionsAreRefused, "FBK-01", "is the fallback"),
    Mutant(FallsBackInADeniedCachedReadWithoutAPlainReadBefore, "FBK-02", "fails as denied"),
    Mutant(FallsBackOnADenial, "FBK-02", "fails as denied"),
    Mutant(FallsBackAtARefusedLogin, "FBK-02", "read of backend/database (DB_PASSWORD)"),
    Mutant(FallsBackForADeletedSecret, "FBK-02", "read of backend/deleted (STRIPE_SECRET_KEY)"),
)


TOLERATED = by_name(
    Tolerated(FallsBackForAWhile, "FBK-01"),
    Tolerated(LoadsInEachWay, "FBK-01").called("loads-code-before-it-falls-back"),
    Tolerated(PausesAfterARefusedLogin, "FBK-02"),
)
