"""Clients that break OPS: an operator's changes while a client runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping

from tests.mutants.clients import (
    CachesForTheRefreshTime,
    CachesForTooLong,
    Mutant,
    ReadsItsSecretIdOnce,
    Tolerated,
    TriesNowAndThen,
    _KeyByKeyAsEver,
    by_name,
)
from tests.subjects.lazy_client import Credentials, LazyClient
from tests.subjects.lazy_wire import ClientError

# OPS-01


class LocksItsRoleInARotation(TriesNowAndThen):
    """Keeps using its first secret-id, at every call."""

    def usable(self, secret_id: str) -> bool:
        del secret_id
        return True

    def _one(self, name: str) -> str:
        return self._last.get(name) or super()._one(name)


class UsesASecretIdAMomentAfterItReadIt(Credentials):
    """Uses a secret-id that was replaced meanwhile only at its next login."""

    def current(self) -> tuple[str, str]:
        ids = super().current()
        time.sleep(0.3)
        return ids


# OPS-02


class PollsAChangedSecretWithoutAPause(LazyClient):
    """Checks a changed secret for three seconds, in two threads and without a pause."""

    pause = 0.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._over = threading.Event()
        self._had: dict[str, dict[str, str]] = {}

    def read_all(self, path: str) -> dict[str, str]:
        found = super().read_all(path)
        known = self._had.get(path, found)
        self._had[path] = found
        for _ in range(2 if known != found else 0):
            threading.Thread(target=self._make_sure, args=(path,), daemon=True).start()
        return found

    def _make_sure(self, path: str) -> None:
        until = time.monotonic() + 3.0
        while time.monotonic() < until and not self._over.wait(self.pause):
            with contextlib.suppress(ClientError):
                LazyClient.read_all(self, path)

    def close(self) -> None:
        self._over.set()
        super().close()


class ReturnsAnOldWholeSecretBeforeItRefreshes(_KeyByKeyAsEver):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[str, dict[str, str]] = {}

    def read_all(self, path: str) -> dict[str, str]:
        if path not in self._kept:
            self._kept[path] = super().read_all(path)
        else:
            threading.Thread(target=self._look, args=(path,), daemon=True).start()
        return self._kept[path]

    def _look(self, path: str) -> None:
        with contextlib.suppress(ClientError):
            self._kept[path] = LazyClient.read_all(self, path)


MUTANTS = by_name(
    Mutant(ReadsItsSecretIdOnce, "OPS-01", "no read fails").called(
        "uses-its-first-secret-id-after-a-rotation"
    ),
    Mutant(LocksItsRoleInARotation, "OPS-01", "refused login"),
    Mutant(CachesForTooLong, "OPS-02", "the new value of").called("keeps-a-password-for-too-long"),
    Mutant(PollsAChangedSecretWithoutAPause, "OPS-02", "no loop without a pause"),
    Mutant(ReturnsAnOldWholeSecretBeforeItRefreshes, "OPS-02", "read_all of backend/celery gave"),
)


TOLERATED = by_name(
    Tolerated(UsesASecretIdAMomentAfterItReadIt, "OPS-01"),
    Tolerated(PollsAChangedSecretWithoutAPause, "OPS-02").called(
        "polls-a-changed-secret-eight-times-a-second", pause=0.12
    ),
    Tolerated(CachesForTheRefreshTime, "OPS-02").called("keeps-a-password-for-a-while", keeps=4.4),
)
