"""Migrate the seal of an existing Vault; data, tokens and keys stay.

The key shares stay the same: unseal keys under Shamir's seal, recovery keys under any other. It
must always be known which they are, and whatever opens the data must exist. So:

1. record the migration; make the new seal's key;
2. stop Vault and copy its data. A server that dies may leave data that neither seal opens: OpenBao
   writes a new barrier key before the key that unwraps it. All nodes stop at once: a copy made
   while others served would lack confirmed writes;
3. start the server with a stanza with both seals, and give it the keys;
4. note the kind of the keys in the keyring, and in the record that Vault has migrated;
5. start Vault with only the new seal, which proves that it opens;
6. delete the copy, put the old seal's key aside, and delete the record last.

The next task that finds the record continues. If the servers do not migrate, the copy is put back.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, NoReturn

from vault_harness import files
from vault_harness.errors import HarnessError, OperatorError, StackError, named
from vault_harness.local.engine.provider import NODE_NAME, NODES_DIRECTORY, Endpoints, StackProvider
from vault_harness.local.engine.seal import CLOUD_SEALS, SealKind, seal_stanza
from vault_harness.local.stack import sealing
from vault_harness.local.stack.data_dir import SEAL_MIGRATION_NAME
from vault_harness.local.stack.members import health_of
from vault_harness.local.stack.opening import Opening
from vault_harness.local.stack.record import StackRecord, no_folder
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import SERVING, VaultAdmin
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.written_ahead import Checkpoint, WrittenAhead

_RECORD_NAME = "state.json"
_COPY_NAME = "data"
_FORMAT = 1
_SECONDS = 60.0
_CLUSTER_SECONDS = 120.0
_ATTEMPTS = 2


@dataclass(frozen=True)
class SealMigration:
    """A migration that is under way.

    Attributes:
        taken: Whether Vault has migrated: from then on only the new seal opens its data.
        putting_back: The suffix for data that did not open; set from when the copies are put back
            until a server starts with them.
    """

    source: SealKind
    target: SealKind
    begun: str
    taken: bool = False
    putting_back: str = ""

    def __str__(self) -> str:
        return f"from {self.source} to {self.target}"


@dataclass(frozen=True, kw_only=True)
class SealMigrated:
    """The result of a migration.

    Attributes:
        action: ``finished`` for a migration that had been interrupted.
        source: The former seal; the target if nothing was done.
        key_aside: Where the old seal's key is now; None for Shamir's seal.
    """

    action: Literal["changed", "unchanged", "finished"]
    source: SealKind
    target: SealKind
    key_aside: Path | None = None


class SealMigrations:
    """Begins a seal migration, or continues an interrupted one."""

    def __init__(self, data_dir: Path, opening: Opening) -> None:
        self._data_dir = data_dir
        self._opening = opening
        self._folder = data_dir / SEAL_MIGRATION_NAME
        record = self._folder / _RECORD_NAME
        self._record = WrittenAhead(record, SealMigration, _refused, _FORMAT)
        self._copy = self._folder / _COPY_NAME

    def pending(self) -> SealMigration | None:
        try:
            return self._record.read()
        except NotADirectoryError:
            raise no_folder(self._folder) from None

    def check_settled(self) -> None:
        """Refuse while a migration is pending: the kind of the keys is uncertain."""
        pending = self.pending()
        if pending is not None:
            raise StackError(
                f"a migration of the seal {pending} was ended half-way",
                looked_at=str(self._record.file),
                remedy=f"{named('seal.migrate', pending.target)} completes it, then repeat this",
            )

    def check_possible(self, source: SealKind, target: SealKind, provider: StackProvider) -> None:
        sealing.check_product(target, provider)
        for kind in dict.fromkeys((source, target)):
            if kind in CLOUD_SEALS:
                sealing.check_cloud(kind, provider, self._data_dir)

    def begin(self, source: SealKind, target: SealKind) -> SealMigration:
        begun = datetime.now(UTC).isoformat(timespec="seconds")
        return self._note(SealMigration(source, target, begun))

    def _note(self, migration: SealMigration) -> SealMigration:
        self._record.write(asdict(migration))
        return migration

    def go_on(
        self, provider: StackProvider, checkpoint: Checkpoint = lambda _step: None
    ) -> tuple[SealMigrated, Endpoints]:
        """Complete the pending migration. Vault need not run."""
        migration = self.pending()
        assert migration is not None  # the caller has checked
        if self._opening.keyring() is None:
            raise self._opening.keyring_missing()
        # Afterwards the old key may be put aside and the old holder ended.
        old = {} if migration.taken else self._key(migration.source, provider, new=False)
        new = self._key(migration.target, provider, new=not self._is_begun(migration))
        checkpoint("keys at hand")
        if not migration.taken:
            self._go_over(migration, provider, old, new, checkpoint)
        self._save_kind(migration.target)
        checkpoint("keyring says what its keys are")
        migration = self._note(replace(migration, taken=True, putting_back=""))
        checkpoint("went over")
        sealing.write_stanza(self._data_dir, new)
        provider.end_vault()
        endpoints = provider.start()
        self._opening.unseal(endpoints)
        checkpoint("proved")
        return self._finish(migration, provider, checkpoint), endpoints

    def _is_begun(self, migration: SealMigration) -> bool:
        """Return whether a server may have used the new key, which must then be kept."""
        return migration.taken or migration.target in seal_stanza(self._data_dir)

    def _key(self, kind: SealKind, provider: StackProvider, *, new: bool) -> dict[str, Any]:
        if kind == "shamir":
            return {}
        return {kind: sealing.key_at_hand(kind, provider, self._data_dir, new=new)}

    def _go_over(
        self,
        migration: SealMigration,
        provider: StackProvider,
        old: dict[str, Any],
        new: dict[str, Any],
        checkpoint: Checkpoint,
    ) -> None:
        both = both_seals(old, new)
        provider.end_vault()
        is_copy = self._finish_putting_back(migration, checkpoint)
        checkpoint("ended Vault")
        present = seal_stanza(self._data_dir)
        untouched = is_copy or _seals(present) != _seals(both) or not self._copy.exists()
        if untouched and not is_copy:
            # The data may be newer than an old copy, and data that was started with both seals must
            # not replace a good copy.
            try:
                self._make_copies()
            except OSError as error:
                self._undo(migration, provider, old, self._not_copied(error))
        checkpoint("copied the data")
        sealing.write_stanza(self._data_dir, both)
        checkpoint("wrote the stanza")
        for _ in range(_ATTEMPTS):
            migration = self._note_start(migration)
            try:
                endpoints = provider.start()
            except HarnessError as error:
                if not untouched:
                    raise  # an earlier run may have migrated it, so its data is left as it is
                reason = error
                break
            checkpoint("started Vault with both seals")
            refused = self._give_keys(endpoints, untouched=untouched)
            if refused is None:
                checkpoint("gave the keys")
                return
            reason, untouched = refused, True
            provider.end_vault()
            migration = self._put_back(migration, checkpoint)
            checkpoint("put the copy back")
        self._undo(migration, provider, old, reason)

    def _give_keys(self, endpoints: Endpoints, *, untouched: bool) -> HarnessError | None:
        """Let Vault migrate. Return the error if it did not and its data can be replaced.

        A server reports its new seal as the last step. Without that, it has served nobody since
        this run copied its data. `untouched`: the data was never started with both seals.
        """
        keyring = self._opening.keyring()
        assert keyring is not None  # looked at before
        with cluster.operators(endpoints.addresses, keyring, ca_cert=endpoints.ca_cert) as nodes:
            try:
                if len(nodes) == 1:
                    nodes[0].migrate_seal(keyring, timeout=_SECONDS)
                else:
                    cluster.migrate_seal(nodes, keyring, timeout=_CLUSTER_SECONDS)
            except HarnessError as error:
                # One migrated node is enough: it may have served clients.
                if any(_went_over(node, untouched=untouched) for node in nodes):
                    raise
                return error
        return None

    def _data_and_copies(self) -> list[tuple[Path, Path]]:
        """Return each node's data and copy, the first node last: then all copies are complete."""
        endpoints = StackRecord.load(self._data_dir).endpoints
        others = [node.name for node in endpoints.nodes[1:]] if endpoints is not None else []
        return [
            *((self._data_of(name), self._folder / f"{_COPY_NAME}-of-{name}") for name in others),
            (self._data_of(NODE_NAME), self._copy),
        ]

    def _data_of(self, name: str) -> Path:
        home = self._data_dir if name == NODE_NAME else self._data_dir / NODES_DIRECTORY
        return home / name / "data"

    def _make_copies(self) -> None:
        self._remove_copies()
        for data, copy in self._data_and_copies():
            files.copy_directory(data, copy)

    def _remove_copies(self) -> None:
        for _, copy in reversed(self._data_and_copies()):
            shutil.rmtree(copy, ignore_errors=True)

    def _put_back(self, migration: SealMigration, checkpoint: Checkpoint) -> SealMigration:
        """Put the copies back, and keep the data that did not open.

        The note comes first, so that the next task completes this for all nodes: nodes with data of
        two moments would not agree.
        """
        for data, copy in self._data_and_copies():
            shutil.rmtree(_beside(data), ignore_errors=True)
            files.copy_directory(copy, _beside(data))
        stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{time.monotonic_ns()}"
        migration = self._note(replace(migration, putting_back=stamp))
        checkpoint("about to put the copies back")
        self._finish_putting_back(migration, checkpoint)
        return migration

    def _finish_putting_back(self, migration: SealMigration, checkpoint: Checkpoint) -> bool:
        """Complete an interrupted `_put_back`, so that no server starts with an empty folder.

        Return whether all nodes have the data of their copies.
        """
        begun = bool(migration.putting_back)
        for data, copy in self._data_and_copies():
            if not _beside(data).exists():
                continue  # that node has its copy already
            kept = copy.name.replace(_COPY_NAME, "data-that-did-not-open", 1)
            aside = self._folder / f"{kept}-{migration.putting_back}"
            if begun and data.exists() and not aside.exists():
                data.rename(aside)
            if not data.exists():
                _beside(data).rename(data)
                checkpoint(f"put back the data of {data.parent.name}")
        return begun

    def _note_start(self, migration: SealMigration) -> SealMigration:
        """Note that a server is about to use the data, which then differs from the copies."""
        if not migration.putting_back:
            return migration
        return self._note(replace(migration, putting_back=""))

    def _undo(
        self,
        migration: SealMigration,
        provider: StackProvider,
        old: dict[str, Any],
        reason: HarnessError,
    ) -> NoReturn:
        """Bring Vault back to its old seal, then raise why it did not migrate."""
        sealing.write_stanza(self._data_dir, old)
        self._note_start(migration)
        self._opening.unseal(provider.start())
        if migration.target == "transit":
            provider.end_holder()
        self._forget()
        kept = f"; {self._folder} keeps the data that did not open" if self._folder.exists() else ""
        raise OperatorError(
            f"Vault did not migrate to the seal {migration.target}, and keeps its seal "
            f"{migration.source}: {reason.cause}",
            looked_at=f"{reason.looked_at}{kept}",
            remedy=f"look at its log ({named('logs')}), then "
            f"{named('seal.migrate', migration.target)} again; "
            f"{reason.remedy}",
        )

    def _not_copied(self, error: OSError) -> StackError:
        return StackError(
            f"its data could not be copied: {error.strerror or error}",
            looked_at=str(self._copy),
            remedy="make room there for as much as Vault's data takes",
        )

    def _save_kind(self, target: SealKind) -> None:
        keyring = self._opening.keyring()
        assert keyring is not None  # looked at before
        wanted = with_kind_of(keyring, target)
        if wanted != keyring:
            wanted.save(self._opening.keyring_path)
        record = StackRecord.load(self._data_dir)
        record.seal = target
        record.save(self._data_dir)

    def _finish(
        self, migration: SealMigration, provider: StackProvider, checkpoint: Checkpoint
    ) -> SealMigrated:
        aside = sealing.put_key_aside(migration.source, self._data_dir)
        checkpoint("put the old key aside")
        if migration.source == "transit":
            provider.end_holder()
        self._forget()
        return SealMigrated(
            action="changed",
            source=migration.source,
            target=migration.target,
            key_aside=aside,
        )

    def _forget(self) -> None:
        self._remove_copies()
        for data, _ in self._data_and_copies():  # of a run that ended before it put them back
            shutil.rmtree(_beside(data), ignore_errors=True)
        self._record.remove()
        with contextlib.suppress(OSError):  # data that did not open stays there
            self._folder.rmdir()


def _refused(record: Path) -> StackError:
    return StackError(
        "the record of a seal migration is invalid, or a newer program wrote it",
        looked_at=str(record),
        remedy=f"use the program that wrote it; else put the original file back, and "
        f"run {named('up')}, which continues",
    )


def _went_over(node: VaultAdmin, *, untouched: bool) -> bool:
    """Return whether a node reports its new seal.

    If its data was started with both seals before, a node that reports none may have served, and
    raises.
    """
    try:
        status = node.seal_status_between_seals()
    except OperatorError:
        answered = node.see_that_it_answers()
        if answered != HTTPStatus.INTERNAL_SERVER_ERROR or not untouched:
            raise
        return False
    return status.initialised and not status.migrating


def _beside(data: Path) -> Path:
    return data.with_name(f"{data.name}-of-the-copy")


def check_all_serve(endpoints: Endpoints) -> None:
    """Check that every node serves and so can learn of its new seal."""
    if len(endpoints.nodes) == 1:
        return
    away = [
        node.name
        for node, status in zip(endpoints.nodes, health_of(endpoints), strict=True)
        if status not in SERVING
    ]
    if away:
        raise StackError(
            f"not every node serves; a node that does not learn of its new seal could never be "
            f"opened again: {', '.join(away)}",
            looked_at=", ".join(endpoints.addresses),
            remedy=f"{named('node.start', away[0])}, or {named('node.remove', away[0])}; "
            f"{named('status')} shows them",
        )


def both_seals(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stanza to migrate between seals; empty means Shamir's seal."""
    return {kind: {**stanza, "disabled": "true"} for kind, stanza in old.items()} | dict(new)


def _seals(stanza: Mapping[str, Any]) -> dict[str, bool]:
    return {kind: not body.get("disabled") for kind, body in stanza.items()}


def with_kind_of(keyring: Keyring, seal: SealKind) -> Keyring:
    return replace(keyring, kind="shamir" if seal == "shamir" else "recovery")
