"""Check that a Vault can be opened again before a task ends or seals it, or starts it sealed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from vault_harness.errors import OperatorError, StackError, without_frames
from vault_harness.local.engine.provider import Endpoints, StackProvider
from vault_harness.local.stack import sealing
from vault_harness.local.stack.members import health_of
from vault_harness.local.stack.opening import Opening
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault.admin import CLOSED
from vault_harness.local.vault.connection import SealStatus

Opener = Literal["keys", "itself"]
"""``keys``: the keyring's. ``itself``: at a restart, if it was sealed by hand."""

_LOOK_SECONDS = 2.0


class Reopening:
    """Tells whether a Vault can be opened again. Changes nothing, and tests no key."""

    def __init__(
        self, data_dir: Path, opening: Opening, provider: Callable[[], StackProvider]
    ) -> None:
        self._data_dir = data_dir
        self._opening = opening
        self._provider = provider

    @without_frames  # it reads the keyring
    def by(self) -> Opener:
        record = StackRecord.load(self._data_dir)
        kind = sealing.seal_here(self._data_dir, record.seal)
        sealing.check_key(kind, self._data_dir)
        status = self._status(record.endpoints)
        try:
            self._opening.check_keys(status.threshold if status else 0)
        except StackError:
            if kind == "shamir":
                raise
            return "itself"
        return "keys"

    @without_frames  # it reads the keyring
    def before(
        self, doing: str, *, node: str | None = None, leave_sealed: bool = False
    ) -> Opener | None:
        """Refuse to close an open Vault that nothing here can open again. Return what opens it.

        `doing` follows "it was not": ``restarted``. `node` is the affected node; all by default.
        """
        try:
            return self.by()
        except StackError as error:
            if leave_sealed or not self._is_open(self._running(node)):
                return None
            raise type(error)(
                f"nobody here could open this Vault again, so it was not {doing}: {error.cause}",
                looked_at=error.looked_at,
                remedy=f"{error.remedy}. If you have its keys elsewhere and want to close it "
                "anyway, add --leave-sealed",
            ) from None

    @without_frames  # it reads the keyring
    def lost_by_ending(self) -> StackError | None:
        """Return why nothing here opens the Vault after its servers end.

        None if something does, if it has no keys yet, or if no server runs.
        """
        try:
            self.by()
        except StackError as error:
            if (running := self._running()) is None:
                return None
            status = self._status(running)
            return error if status is None or status.initialised else None
        return None

    def _running(self, node: str | None = None) -> Endpoints | None:
        endpoints = StackRecord.load(self._data_dir).endpoints
        running = {each.name for each in self._provider().describe() if each.running}
        found = tuple(
            each
            for each in (endpoints.nodes if endpoints else ())
            if each.name in running and node in {None, each.name}
        )
        return replace(endpoints, nodes=found) if endpoints and found else None

    def _status(self, endpoints: Endpoints | None) -> SealStatus | None:
        if endpoints is None:
            return None
        try:
            return self._opening.seal_status(endpoints, timeout=_LOOK_SECONDS)
        except OperatorError:
            return None

    def _is_open(self, endpoints: Endpoints | None) -> bool:
        """Return whether a node may serve. A silent node may be paused and unsealed."""
        return endpoints is not None and not CLOSED.issuperset(health_of(endpoints))
