"""Clients that break the promises of OPS: what operators change while a client runs."""

from __future__ import annotations

from collections.abc import Mapping

from tests.mutants import blind_spots, byways, other_styles
from tests.mutants.clients import (
    CachesForTheRefreshTime,
    CachesForTooLong,
    Mutant,
    ReadsItsSecretIdOnce,
    Tolerated,
    TriesNowAndThen,
)
from tests.subjects.lazy_client import LazyClient


class ReadsEachSecretOnce(LazyClient):
    """Keeps every value that it has read, and never asks for it again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], str] = {}

    def read(self, path: str, key: str) -> str:
        if (path, key) not in self._kept:
            self._kept[path, key] = super().read(path, key)
        return self._kept[path, key]


class _NeverAsksTheFileAgain(TriesNowAndThen):
    def usable(self, secret_id: str) -> bool:
        del secret_id
        return True

    def _one(self, name: str) -> str:
        return self._last.get(name) or super()._one(name)


class LocksItsRoleInARotation(LazyClient):
    """Goes on with the secret-id that it read first, at every call."""

    credentials_type = _NeverAsksTheFileAgain


class KeepsAPasswordForAWhile(CachesForTheRefreshTime):
    """Hands out what it has read for a second less than R, since callers come now and then."""

    keeps = 4.4


MUTANTS: dict[str, Mutant] = {
    "outlives-its-secret-id": Mutant(ReadsItsSecretIdOnce, "OPS-01", "no read fails"),
    "locks-its-role-in-a-rotation": Mutant(LocksItsRoleInARotation, "OPS-01", "refused login"),
    "outlives-a-password": Mutant(ReadsEachSecretOnce, "OPS-02", "the new value of"),
    "keeps-a-password-for-too-long": Mutant(CachesForTooLong, "OPS-02", "the new value of"),
    "looks-at-a-new-version-without-a-pause": Mutant(
        blind_spots.LooksAtANewVersionWithoutAPause, "OPS-02", "no loop without a pause"
    ),
    "answers-wholes-first-and-looks-later": Mutant(
        blind_spots.AnswersWholesFirstAndLooksLater, "OPS-02", "read_all of backend/celery gave"
    ),
    "answers-first-and-looks-later": Mutant(
        byways.AnswersFirstAndLooksLater, "OPS-02", "no wrong value"
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "logs-in-a-moment-after-it-has-read": Tolerated(
        other_styles.LogsInAMomentAfterItHasRead, "OPS-01"
    ),
    "looks-at-a-new-version-eight-times-a-second": Tolerated(
        blind_spots.LooksAtANewVersionEightTimesASecond, "OPS-02"
    ),
    "keeps-a-password-for-a-while": Tolerated(KeepsAPasswordForAWhile, "OPS-02"),
}
