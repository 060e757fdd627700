"""Clients that break the promises of POL: what a policy allows."""

from __future__ import annotations

import time
from collections.abc import Mapping

from tests.mutants.clients import (
    LogsInOnEvery403,
    Mutant,
    Remembers,
)
from tests.subjects.lazy_client import LazyClient
from tests.subjects.lazy_wire import (
    DeniedError,
    UnavailableError,
)


class TakesDeniedForUnavailable(LazyClient):
    """Tells operators that Vault is down when a policy is wrong."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeniedError as error:
            raise UnavailableError(str(error)) from None


class RemembersADenialForEver(LazyClient):
    """What was denied once is not asked for again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._never: set[str] = set()

    def read(self, path: str, key: str) -> str:
        if path in self._never:
            raise DeniedError(f"{path} was denied")
        try:
            return super().read(path, key)
        except DeniedError:
            self._never.add(path)
            raise


class TakesADenialForAnOutage(LazyClient):
    """Counts denials as failures of Vault, and spares it for a while."""

    _until = 0.0

    def read(self, path: str, key: str) -> str:
        if time.monotonic() < self._until:
            raise UnavailableError("Vault failed a moment ago")
        try:
            return super().read(path, key)
        except DeniedError:
            self._until = time.monotonic() + 0.5
            raise


class PapersOverADenial(Remembers):
    """While it is denied it hands out what it read before, as if it were fresh."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeniedError:
            if (path, key) in self._kept:
                return self._kept[path, key]
            raise


MUTANTS: dict[str, Mutant] = {
    "logs-in-on-every-403": Mutant(LogsInOnEvery403, "POL-01", "3 logins for"),
    "takes-denied-for-unavailable": Mutant(TakesDeniedForUnavailable, "POL-01", "fails as denied"),
    "takes-a-policy-for-a-dead-token": Mutant(LogsInOnEvery403, "POL-02", "a denial costs"),
    "remembers-a-denial": Mutant(RemembersADenialForEver, "POL-02", "a good read within"),
    "papers-over-a-denial": Mutant(PapersOverADenial, "POL-02", "denied"),
    "remembers-a-denial-after-a-login": Mutant(
        RemembersADenialForEver, "POL-03", "a good read within"
    ),
    "takes-a-denial-for-an-outage": Mutant(TakesADenialForAnOutage, "POL-04", "no read of"),
}
