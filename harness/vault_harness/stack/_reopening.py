"""What opens a Vault again that is about to be ended or sealed: asked first, or it is too late.

Every task that ends a server, seals one, or starts one that then wants keys asks here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from vault_harness.boundary import without_frames
from vault_harness.engine import Endpoints, StackProvider
from vault_harness.errors import OperatorError, StackError
from vault_harness.stack import _sealing
from vault_harness.stack._opening import Opening
from vault_harness.stack.record import StackRecord
from vault_harness.vault import SealStatus, cluster

Opener = Literal["keys", "itself"]
"""``keys``: those of the keyring, whichever way it was closed. ``itself``: it unseals itself when
it is started, and must be started again after it was sealed by hand."""

_LOOK_SECONDS = 2.0


class Reopening:
    """Says of the Vault of a data directory whether it can be opened again. Changes nothing.

    Whether the keys of a keyring are this Vault's own is not tried, only whether they can be.

    Args:
        data_dir: Where keyring, seal and record are.
        opening: Of that directory.
        provider: Who runs it.
    """

    def __init__(
        self, data_dir: Path, opening: Opening, provider: Callable[[], StackProvider]
    ) -> None:
        self._data_dir = data_dir
        self._opening = opening
        self._provider = provider

    @without_frames  # the keyring is looked at
    def by(self) -> Opener:
        """What opens it.

        Raises:
            KeyringMissing: Nothing that is here does: there are no keys, or too few.
            StackError: The keyring is broken; or it unseals itself, and the key for that is not
                here.
        """
        record = StackRecord.load(self._data_dir)
        kind = _sealing.seal_here(self._data_dir, record.seal)
        _sealing.check_key(kind, self._data_dir)
        status = self._status(record.endpoints)
        try:
            self._opening.check_keys(status.threshold if status else 0)
        except StackError:
            if kind == "shamir":
                raise
            return "itself"
        return "keys"

    @without_frames  # the keyring is looked at
    def before(
        self, doing: str, *, node: str | None = None, leave_sealed: bool = False
    ) -> Opener | None:
        """See that it may be closed: something here opens it again, or nothing of it is open.

        Args:
            doing: What is about to be done to it, to follow "it was not": ``restarted``.
            node: The one node that it is done to; all of them without.
            leave_sealed: It is wanted all the same.

        Returns:
            What opens it again; None if nothing here does.

        Raises:
            KeyringMissing, StackError: As `by` says. Nothing was done.
        """
        try:
            return self.by()
        except StackError as error:
            if leave_sealed or not self._is_open(self._running(node)):
                return None
            raise type(error)(
                f"nobody here could open this Vault again, so it was not {doing}: {error.cause}",
                looked_at=error.looked_at,
                remedy=f"{error.remedy}. Who has its keys elsewhere and wants it closed all the "
                "same gives --leave-sealed",
            ) from None

    @without_frames  # the keyring is looked at
    def lost_by_ending(self) -> StackError | None:
        """Why nobody here opens it again once its servers have ended.

        Returns:
            None if something here does, if it has no keys yet, or if no server runs.
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
        """Where those nodes are that run, or the one of them that is named; None if none does."""
        endpoints = StackRecord.load(self._data_dir).endpoints
        running = {each.name for each in self._provider().describe() if each.running}
        found = tuple(
            each
            for each in (endpoints.nodes if endpoints else ())
            if each.name in running and node in {None, each.name}
        )
        return replace(endpoints, nodes=found) if endpoints and found else None

    def _status(self, endpoints: Endpoints | None) -> SealStatus | None:
        """What it says of its seal; None if it says nothing."""
        if endpoints is None:
            return None
        try:
            return self._opening.seal_status(endpoints, timeout=_LOOK_SECONDS)
        except OperatorError:
            return None

    def _is_open(self, endpoints: Endpoints | None) -> bool:
        """Whether a node may serve: one that does not answer may be paused, and open."""
        if endpoints is None:
            return False
        with cluster.operators(endpoints.addresses, ca_cert=endpoints.ca_cert) as nodes:
            return not {501, 503}.issuperset(cluster.health_of_all(nodes))
