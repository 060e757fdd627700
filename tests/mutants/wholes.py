"""Clients that read each key rightly, and what they do with a whole secret is another matter.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.subjects.lazy_client import LazyClient
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
