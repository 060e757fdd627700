"""Clients that read each key rightly, and what they do with a whole secret is another matter.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from resilient_vault_client import PermissionDenied, VaultUnavailable
from tests.mutants import edges_logins
from tests.mutants.byways import NoDenials
from tests.mutants.clients import Tweaked
from tests.subjects.lazy_client import LazyClient, Token, _secret
from tests.subjects.lazy_wire import DeletedError, DeniedError, MissingError, UnavailableError


class _KeyByKeyAsEver(LazyClient):
    """Takes no key from `read_all`, as the client does that it deviates from."""

    def read(self, path: str, key: str) -> str:
        values = LazyClient.read_all(self, path)
        if key not in values:
            raise MissingError(f"there is no {key} in {path}")
        return values[key]


class TakesADeletedWholeForEmpty(_KeyByKeyAsEver):
    """There is nothing in a secret that is deleted, it thinks."""

    def read_all(self, path: str) -> dict[str, str]:
        try:
            return super().read_all(path)
        except (DeletedError, MissingError):
            return {}


class TakesADeniedWholeForEmpty(_KeyByKeyAsEver):
    """There is nothing in a secret that it may not read."""

    def read_all(self, path: str) -> dict[str, str]:
        try:
            return super().read_all(path)
        except DeniedError:
            return {}


class TakesAnOutageForAnEmptyWhole(_KeyByKeyAsEver):
    """There is nothing in a secret while Vault is away."""

    def read_all(self, path: str) -> dict[str, str]:
        try:
            return super().read_all(path)
        except UnavailableError:
            return {}


class _Remembers(_KeyByKeyAsEver):
    """Keeps the last whole secret that it had of each path."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._had: dict[str, dict[str, str]] = {}

    def read_all(self, path: str) -> Any:
        self._had[path] = super().read_all(path)
        return self._had[path]


class KeepsADeletedWhole(_Remembers):
    """Has for ever what was deleted."""

    def read_all(self, path: str) -> Any:
        try:
            return super().read_all(path)
        except (DeletedError, MissingError):
            if path in self._had:
                return self._had[path]
            raise


class KeepsADeniedWhole(_Remembers):
    """Has for ever what it may not read any more."""

    def read_all(self, path: str) -> Any:
        try:
            return super().read_all(path)
        except DeniedError:
            if path in self._had:
                return self._had[path]
            raise


# A second piece of code, with a circuit, a token, a deadline or a memory of its own


class DeniesAWholeWithADeadToken(edges_logins.LogsInAtAThird, _KeyByKeyAsEver):
    """Takes one refusal of a dead token for one of its wholes, and asks anew after ten seconds."""

    keeps = 9.8

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "refresh": 10.0}
        self._denied_until = 0.0

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        dead = super()._was_dead(where, token, deadline)
        if dead:
            self._denied_until = time.monotonic() + self.keeps
        return dead

    def read_all(self, path: str) -> dict[str, str]:
        if time.monotonic() < self._denied_until:
            raise DeniedError(f"the policy denied {path}")
        return super().read_all(path)


class NoWholesAfterAFailure(Tweaked):
    """Whole secrets come by a circuit of their own, which a failure opens for good."""

    _open = False

    def read_all(self, path: str) -> Any:
        if self._open:
            raise VaultUnavailable("the circuit is open")
        try:
            found = super().read_all(path)
        except VaultUnavailable:
            self._open = True
            raise
        self._open = found.stale
        return found


class ReadsWholesWithItsFirstToken(_KeyByKeyAsEver):
    """Whole secrets are read with the token that was there at first; a 403 is a denial."""

    _first: Token | None = None

    def read_all(self, path: str) -> dict[str, str]:
        deadline = time.monotonic() + self._deadline * 0.95
        if self._first is None:
            self._first = self._valid_token(deadline)
        reply = self._ask("GET", f"{self._mount}/data/{path}", deadline, self._first)
        if reply.status == 403:
            raise DeniedError(f"the policy denies {path}")
        return _secret(reply, path)


class ReadsWholesWithoutADeadline(_KeyByKeyAsEver):
    """A read of one key has a deadline; that of a whole secret waits as long as it takes."""

    def read_all(self, path: str) -> dict[str, str]:
        return _secret(self._fetch(path, time.monotonic() + 3600.0), path)


class MarksNoWholeAsOld(Tweaked):
    """Hands out the whole secret that it had last while Vault is away, as if it were fresh."""

    def read_all(self, path: str) -> Any:
        return dict(self.client.read(path).value)


class DeniesWholesForEver(Tweaked):
    """A whole secret that was denied once is not asked for again."""

    keeps = float("inf")

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        # What it wraps would remember each for ten seconds, and the two memories would add up.
        self.client._session()._denials = NoDenials()
        self._denied: dict[str, float] = {}

    def read_all(self, path: str) -> Any:
        asked = time.monotonic()
        if asked - self._denied.get(path, float("-inf")) < self.keeps:
            raise PermissionDenied(f"Vault denies {path}", path=path)
        try:
            return super().read_all(path)
        except PermissionDenied:
            self._denied[path] = asked
            raise


class DeniesWholesForTheRefreshTime(DeniesWholesForEver):
    """Asks anew when a value would be asked for anew."""

    keeps = 4.8
