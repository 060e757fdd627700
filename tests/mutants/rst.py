"""Clients that break the promises of RST: a Vault that was put back to an earlier state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.mutants import always, blind_spots, byways, wholes
from tests.mutants.clients import REFERENCE, LogsInTwice, Mutant
from tests.subjects.lazy_client import LazyClient
from tests.subjects.lazy_wire import Reply


class TrustsRisingVersions(LazyClient):
    """Keeps what it has as long as Vault has no higher version."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._newest: dict[str, tuple[int, Reply]] = {}

    def _fetch(self, path: str, deadline: float) -> Reply:
        reply = super()._fetch(path, deadline)
        metadata = (reply.body.get("data") or {}).get("metadata") or {}
        version = int(metadata.get("version") or 0)
        known, kept = self._newest.get(path, (0, reply))
        if version < known:
            return kept
        self._newest[path] = version, reply
        return reply


class BelievesItsOwnClock(LazyClient):
    """A token that has time left cannot be dead, so a denial is the policy's."""

    def _was_dead(self, *_: Any, **__: Any) -> bool:
        return False


MUTANTS: dict[str, Mutant] = {
    "trusts-rising-versions": Mutant(TrustsRisingVersions, "RST-01", "gave the value v2"),
    "believes-its-own-clock": Mutant(BelievesItsOwnClock, "RST-01", "a good read within"),
    "logs-in-twice-after-a-restore": Mutant(LogsInTwice, "RST-01", "at most 1 login"),
    "looks-after-a-token-that-was-never-made": Mutant(
        always.LooksAfterItsOldToken, "RST-01", "known to be dead"
    ),
    "trusts-rising-versions-in-its-wholes": Mutant(
        blind_spots.TrustsRisingVersionsInItsWholes,
        "RST-01",
        "read_all of backend/django gave the value v2",
    ),
    "keeps-its-wholes-from-its-second-token-on": Mutant(
        blind_spots.KeepsItsWholesFromItsSecondTokenOn, "RST-01", "read_all still gives v1"
    ),
    "has-deleted-wholes-from-its-second-token-on": Mutant(
        blind_spots.HasDeletedWholesFromItsSecondTokenOn, "RST-01", "a deleted secret is gone"
    ),
    "reads-wholes-with-its-first-token-after-a-restore": Mutant(
        wholes.ReadsWholesWithItsFirstToken, "RST-01", "go on: 6 in a row"
    ),
    "looks-at-its-second-token-without-a-pause": Mutant(
        blind_spots.LooksAtItsSecondTokenWithoutAPause, "RST-01", "no loop without a pause"
    ),
    "trusts-rising-versions-in-its-cache": Mutant(
        byways.TrustsRisingVersionsInItsCache, "RST-01", "gave the value v2", REFERENCE
    ),
}
