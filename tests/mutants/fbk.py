"""Clients that break the promises of FBK: the environment instead of Vault."""

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
)
from tests.mutants import byways, loading, loose_ends
from tests.mutants.clients import (
    REFERENCE,
    Mutant,
    Tolerated,
    Tweaked,
)
from tests.subjects.lazy_wire import UnavailableError


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


class _Papers(Tweaked):
    """Has a word for some failures that are none of an outage: the variable's value."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._environ = environ

    def instead(self, key: str, failure: VaultError) -> str:
        """The variable, or the failure if there is none."""
        if key in self._environ:
            return self._environ[key]
        raise failure


class FallsBackAtARefusedLogin(_Papers):
    """Whose access was taken away goes on with the environment variable."""

    def read(self, path: str, key: str) -> Any:
        try:
            return super().read(path, key)
        except AuthenticationFailed as failure:
            return self.instead(key, failure)


class FallsBackAtARefusedLoginInItsCache(_Papers):
    """The same, where its cache has nothing."""

    def read_cached(self, path: str, key: str) -> Any:
        try:
            return super().read_cached(path, key)
        except AuthenticationFailed as failure:
            return self.instead(key, failure)


class FallsBackForADeletedSecret(_Papers):
    """What an operator has deleted is replaced by the environment variable."""

    def read(self, path: str, key: str) -> Any:
        try:
            return super().read(path, key)
        except SecretDeleted as failure:
            return self.instead(key, failure)


class FallsBackForADeletedSecretInItsCache(_Papers):
    """The same, where its cache has nothing any more."""

    def read_cached(self, path: str, key: str) -> Any:
        try:
            return super().read_cached(path, key)
        except SecretDeleted as failure:
            return self.instead(key, failure)


class RestsAfterARefusedLogin(Tweaked):
    """Asks for nothing for some seconds once a login was refused, and looks for no new secret-id.

    It says then that it is not available, and that is no reason to fall back.
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

    keeps = 16.0


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


class _EachWay(Tweaked):
    """Treats both ways of reading alike."""

    def read(self, path: str, key: str) -> Secret:
        return self.answer(super().read, path, key)

    def read_cached(self, path: str, key: str) -> Secret:
        return self.answer(super().read_cached, path, key)

    def answer(self, ask: Callable[[str, str], Secret], path: str, key: str) -> Secret:
        """What is given to a caller."""
        return ask(path, key)


class FallsBackForGoodInALaterOutage(_EachWay):
    """Comes back from the variable at its start; in a later outage it takes that for good."""

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
    """Has one fallback, that of the first key: who has no variable is given that one's value."""

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


class StaysAwayInItsCache(Tweaked):
    """Its cache takes the variable while Vault is away; later on it has nothing for that key."""

    _fallen = False

    def read_cached(self, path: str, key: str) -> Secret:
        if self._fallen:
            raise UnavailableError("it has no value of Vault's")
        secret = super().read_cached(path, key)
        if secret.source == "environment":
            self._fallen = True
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
    "falls-back-at-a-refused-login": Mutant(
        FallsBackAtARefusedLogin, "FBK-02", "read of backend/database (DB_PASSWORD)", REFERENCE
    ),
    "falls-back-at-a-refused-login-in-its-cache": Mutant(
        FallsBackAtARefusedLoginInItsCache,
        "FBK-02",
        "read_cached of backend/database (DB_PASSWORD)",
        REFERENCE,
    ),
    "falls-back-for-a-deleted-secret": Mutant(
        FallsBackForADeletedSecret, "FBK-02", "read of shared/stripe (STRIPE_SECRET_KEY)", REFERENCE
    ),
    "falls-back-for-a-deleted-secret-in-its-cache": Mutant(
        FallsBackForADeletedSecretInItsCache,
        "FBK-02",
        "read_cached of shared/stripe (STRIPE_SECRET_KEY)",
        REFERENCE,
    ),
    "falls-back-for-good-in-a-later-outage": Mutant(
        FallsBackForGoodInALaterOutage, "FBK-01", "still gives the fallback", REFERENCE
    ),
    "falls-back-to-its-first-variable": Mutant(
        FallsBackToItsFirstVariable,
        "FBK-01",
        "of shared/email (EMAIL_HOST_PASSWORD) gave the value fallback",
        REFERENCE,
    ),
    "stays-away-in-its-cache": Mutant(
        StaysAwayInItsCache, "FBK-01", "read_cached still ends", REFERENCE
    ),
    "keeps-its-fallback-in-its-cache": Mutant(
        byways.KeepsItsFallbackInItsCache, "FBK-01", "still gives the fallback", REFERENCE
    ),
    "falls-back-at-refused-connections-alone": Mutant(
        loose_ends.FallsBackAtRefusedConnectionsAlone, "FBK-01", "is the fallback", REFERENCE
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "falls-back-for-a-while": Tolerated(FallsBackForAWhile, "FBK-01", REFERENCE),
    "loads-before-it-falls-back": Tolerated(loading.LoadsInEachWay, "FBK-01", REFERENCE),
    "rests-after-a-refused-login": Tolerated(RestsAfterARefusedLogin, "FBK-02", REFERENCE),
}
