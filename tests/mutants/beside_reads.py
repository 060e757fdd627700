"""Clients that read well, and are broken in what stands beside reads: writes, changes, health.

Each deviates from a correct client, and is listed in the module of the group whose scenario it
meets.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from resilient_vault_client import SecretNotFound
from tests.mutants.clients import Tweaked
from tests.subjects.lazy_client import LazyClient
from tests.subjects.lazy_wire import UnavailableError

# What is written


class MergesWhatItWrites(Tweaked):
    """Takes a write for a change of some keys: a key that is to go lives on."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        until = time.monotonic() + self.client.config.timeout
        try:
            kept = self.client.read(path).value
        except SecretNotFound:
            kept = {}
        left = max(0.0, until - time.monotonic())
        self.client.put_secret(path, {**kept, **data}, timeout=left)


class StripsWhatItWrites(Tweaked):
    """Takes blanks and line ends off what it writes: a key file loses its last line's end."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        super().write(path, {key: value.strip() for key, value in data.items()})


class StripsWhatItChanges(Tweaked):
    """Does so to what it changes alone."""

    def update(self, path: str, data: Mapping[str, str]) -> None:
        super().update(path, {key: value.strip() for key, value in data.items()})


# How long that takes


class ChangesWithTimeForEachStep(Tweaked):
    """Has a call's whole time for the read of a change, and once more for its write."""

    seconds = 0.0

    def update(self, path: str, data: Mapping[str, str]) -> None:
        seconds = self.seconds or self.client.config.timeout
        read = self.client.read(path, timeout=seconds)
        changed = {**read.value, **data}
        self.client.put_secret(path, changed, cas=read.version, timeout=seconds)


class ChangesWithoutADeadline(ChangesWithTimeForEachStep):
    """Reads and writes have a deadline; a change, a second piece of code, waits for a minute."""

    seconds = 60.0


class AsksForHealthWithoutADeadline(LazyClient):
    """Asks Vault how it is in a call of its own, which waits for a minute."""

    capabilities = LazyClient.capabilities | {"health"}
    patience = 60.0

    def health(self) -> bool:
        until = time.monotonic() + self.patience
        try:
            return self._wire.send("GET", "sys/health", deadline=until).status == 200
        except UnavailableError:
            return False


# What others have to do with it


class ClosesItsPoolAtATimeout(LazyClient):
    """A read that ends at its deadline closes all connections: under those who wait for others."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._gone: Future[None] = Future()
        self._at_work = ThreadPoolExecutor(32)

    def read(self, path: str, key: str) -> str:
        until, gone = time.monotonic() + 0.9 * self._deadline, self._gone
        mine = self._at_work.submit(super().read, path, key)
        either: list[Future[Any]] = [mine, gone]
        wait(either, return_when=FIRST_COMPLETED)
        if not mine.done():
            raise UnavailableError("its connection was closed")
        try:
            return mine.result()
        except UnavailableError:
            if time.monotonic() > until and not gone.done():
                self._gone = Future()
                gone.set_result(None)
            raise

    def close(self) -> None:
        super().close()
        self._at_work.shutdown(wait=False)
