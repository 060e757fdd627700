"""Clients that load what they need while they are first asked, as a virtual machine does."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from resilient_vault_client import Credential, Secret
from tests.mutants.clients import Leasing
from tests.subjects.lazy_client import LazyClient


class _Loading:
    """Takes some time once, for which all wait who ask meanwhile."""

    def __init__(self, takes: float) -> None:
        self._takes = takes
        self._turn = threading.Lock()

    def wait(self) -> None:
        """Wait until all is loaded."""
        with self._turn:
            time.sleep(self._takes)
            self._takes = 0.0


class LoadsWhileItIsFirstAsked(LazyClient):
    """For nearly as long as a call may take, and then it has a call's time for Vault."""

    takes = 1.7

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._loading = _Loading(self.takes)

    def read_all(self, path: str) -> dict[str, str]:
        self._loading.wait()
        return super().read_all(path)


class LoadsForTooLong(LoadsWhileItIsFirstAsked):
    """For longer than a call may take."""

    takes = 3.2


class LoadsInEachWay(Leasing):
    """Whatever it is first asked for, in whichever way, in a little more than a call's time."""

    takes = 2.4

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._loading = _Loading(self.takes)

    def read(self, path: str, key: str) -> Secret:
        self._loading.wait()
        return super().read(path, key)

    def read_cached(self, path: str, key: str) -> Secret:
        self._loading.wait()
        return super().read_cached(path, key)

    def lease(self, path: str, failed: str | None = None) -> Credential:
        self._loading.wait()
        return super().lease(path, failed)
