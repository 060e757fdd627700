"""Exchanging the seal of a Vault that is there: its data and its tokens stay, its keys too.

The shares of the keyring are the same on both sides: they unseal under Shamir's seal, and are
recovery keys under any other. What must be right at every moment is which of the two they are, and
that whatever opens the data is still there. So the order is:

1. a record of what is under way, in a folder of its own; the new seal's key exists;
2. Vault is ended, and its data copied: a server that dies while it goes over may leave data that
   neither seal opens (OpenBao writes a new barrier key, and only then what unwraps it). All nodes
   of a cluster are, at once: what their leader leaves is on all of them a moment later, and a copy
   that was made while others served would lack what they confirmed;
3. the stanza names both seals, the server starts with it, is given the keys, and goes over;
4. the keyring says what its keys are now, and the record that Vault went over;
5. Vault is started with the new seal alone, which proves that it opens;
6. the copy goes, the old seal's key is put aside, and the record goes last.

Whoever finds the record goes on from there. If the servers do not go over, the copy is put back.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, NoReturn

from vault_harness import files
from vault_harness.commands import named
from vault_harness.engine import (
    CLOUD_SEALS,
    NODE_NAME,
    NODES_DIRECTORY,
    Endpoints,
    SealingProvider,
    SealKind,
    StackProvider,
    seal_stanza,
)
from vault_harness.errors import CapabilityMissing, HarnessError, OperatorError, StackError
from vault_harness.stack import _sealing
from vault_harness.stack._data_dir import SEAL_MIGRATION_NAME
from vault_harness.stack._opening import Opening
from vault_harness.stack.record import StackRecord, no_folder
from vault_harness.vault import Keyring, Operator, cluster

Checkpoint = Callable[[str], None]

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
        source: The seal that Vault had.
        target: The one that it shall have.
        begun: When, UTC.
        taken: Whether Vault went over: from then on only the new seal opens its data.
        putting_back: From when the copies take the place of data that did not open until a server
            is started with them: what is put behind the name of each that is moved aside.
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
    """What came of it.

    Attributes:
        action: ``changed``, ``unchanged``, or ``finished`` for one that had been ended half-way.
        source: The seal before; the same as the target if nothing was done.
        target: The seal that Vault has.
        key_aside: Where the old seal's key is kept now; None for Shamir's.
    """

    action: Literal["changed", "unchanged", "finished"]
    source: SealKind
    target: SealKind
    key_aside: Path | None = None


class SealMigrations:
    """Begins a migration of the seal, and goes on with one that was ended half-way.

    Args:
        data_dir: Of the stack.
        opening: Of the same.
    """

    def __init__(self, data_dir: Path, opening: Opening) -> None:
        self._data_dir = data_dir
        self._opening = opening
        self._folder = data_dir / SEAL_MIGRATION_NAME
        self._record = self._folder / _RECORD_NAME
        self._copy = self._folder / _COPY_NAME

    def pending(self) -> SealMigration | None:
        """The one that is under way, or was ended half-way.

        Raises:
            StackError: Its record is none, or one of a newer program.
            SettingsError: The data directory is a file.
            OSError: It may not be read: that says nothing of what it holds.
        """
        try:
            content: Any = json.loads(self._record.read_text())
            if content.pop("format") == _FORMAT:
                return SealMigration(**content)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise no_folder(self._folder) from None
        except (ValueError, TypeError, KeyError, AttributeError):
            pass
        raise StackError(
            "the record of a migration of the seal is not one, or a newer program wrote it",
            looked_at=str(self._record),
            remedy=f"use the program that wrote it; else put the file back from where it was, and "
            f"run {named('up')}, which goes on",
        )

    def check_settled(self) -> None:
        """See that none is under way: what a backup says of its keys would not be true.

        Raises:
            StackError: One was ended half-way.
        """
        pending = self.pending()
        if pending is not None:
            raise StackError(
                f"a migration of the seal {pending} was ended half-way",
                looked_at=str(self._record),
                remedy=f"{named('seal.migrate', pending.target)} goes on with it, then this again",
            )

    def check_possible(self, source: SealKind, target: SealKind, provider: StackProvider) -> None:
        """See that this stack's seal can be exchanged, for which Vault must start with both.

        Raises:
            CapabilityMissing: Not by this engine, or its server does not have that seal.
            SettingsError: A cloud has a seal's key, and settings do not say which one it is.
            EngineError: That key cannot be used.
        """
        check_engine(provider)
        _sealing.check_product(target, provider)
        for kind in dict.fromkeys((source, target)):
            if kind in CLOUD_SEALS:
                _sealing.check_cloud(kind, provider, self._data_dir)

    def check_all_serve(self, endpoints: Endpoints) -> None:
        """See that every node of a cluster can be told of its new seal.

        Raises:
            StackError: One does not serve.
        """
        if len(endpoints.nodes) > 1:
            _check_all_serve(endpoints)

    def begin(self, source: SealKind, target: SealKind) -> SealMigration:
        """Note a new one; nothing else is changed."""
        begun = datetime.now(UTC).isoformat(timespec="seconds")
        return self._note(SealMigration(source, target, begun))

    def _note(self, migration: SealMigration) -> SealMigration:
        files.private_directory(self._folder)
        content = {"format": _FORMAT, **asdict(migration)}
        files.write_private(self._record, json.dumps(content, indent=2) + "\n")
        return migration

    def go_on(
        self, provider: StackProvider, checkpoint: Checkpoint = lambda _step: None
    ) -> tuple[SealMigrated, Endpoints]:
        """Carry out the one that is under way, from wherever it is. Vault need not run.

        Raises:
            CapabilityMissing: Another engine must do it.
            StackError: A seal's key is not there, or Vault did not go over and is as it was.
            HarnessError: What engine and Vault say.
        """
        migration = self.pending()
        assert migration is not None  # whoever calls this has looked
        check_engine(provider)
        assert isinstance(provider, SealingProvider)  # checked a line above
        if self._opening.keyring() is None:
            raise self._opening.keyring_missing()
        # Once Vault went over, the old key may have been put aside, and the old holder ended.
        old = {} if migration.taken else self._key(migration.source, provider, new=False)
        new = self._key(migration.target, provider, new=not self._is_begun(migration))
        checkpoint("keys at hand")
        if not migration.taken:
            self._go_over(migration, provider, old, new, checkpoint)
        self._save_kind(migration.target)
        checkpoint("keyring says what its keys are")
        migration = self._note(replace(migration, taken=True, putting_back=""))
        checkpoint("went over")
        _sealing.write_stanza(self._data_dir, new)
        provider.end_vault()
        endpoints = provider.start()
        self._opening.unseal(endpoints)
        checkpoint("proved")
        return self._finish(migration, provider, checkpoint), endpoints

    def _is_begun(self, migration: SealMigration) -> bool:
        """Whether a server may have used the new seal already: its key is never made anew then."""
        return migration.taken or migration.target in seal_stanza(self._data_dir)

    def _key(self, kind: SealKind, provider: SealingProvider, *, new: bool) -> dict[str, Any]:
        if kind == "shamir":
            return {}
        return {kind: _sealing.key_at_hand(kind, provider, self._data_dir, new=new)}

    def _go_over(
        self,
        migration: SealMigration,
        provider: SealingProvider,
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
            # A server that was started without it meanwhile may have taken what the copy lacks; one
            # that was started with it may have left what must not take the copy's place.
            try:
                self._make_copies()
            except OSError as error:
                self._undo(migration, provider, old, self._not_copied(error))
        checkpoint("copied the data")
        _sealing.write_stanza(self._data_dir, both)
        checkpoint("wrote the stanza")
        for _ in range(_ATTEMPTS):
            migration = self._note_start(migration)
            try:
                endpoints = provider.start()
            except HarnessError as error:
                if not untouched:
                    raise  # an earlier run may have brought it over: its data is left as it is
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
        """Let Vault go over; gives the error if it did not, and its data serves nobody as it is.

        To say which seal it has is the last that a server does of this. So one that does not say so
        has served nobody since its data was copied, if that was in this run.

        Args:
            endpoints: Where it is, started with both seals.
            untouched: Whether its data had not been started with both before.

        Raises:
            HarnessError: It went over, or a node does not answer, and it does not serve.
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
                # One that went over is enough: it has served, or may have.
                if any(_went_over(node, untouched=untouched) for node in nodes):
                    raise
                return error
        return None

    def _data_and_copies(self) -> list[tuple[Path, Path]]:
        """The data of each node and its copy, the first node's last: with it the copy is whole."""
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
        """All nodes are ended: their data is of one moment.

        Raises:
            OSError: There is no room, or the like.
        """
        self._remove_copies()
        for data, copy in self._data_and_copies():
            files.copy_directory(data, copy)

    def _remove_copies(self) -> None:
        for _, copy in reversed(self._data_and_copies()):
            shutil.rmtree(copy, ignore_errors=True)

    def _put_back(self, migration: SealMigration, checkpoint: Checkpoint) -> SealMigration:
        """The copies in the place of data that did not open, which is kept for whoever wants it.

        From its note on it is gone on with by whoever comes next, until all nodes have theirs: with
        the data of two moments they would not agree on what they have.
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
        """Put back what a run that was ended half-way has not: no server may find an empty place.

        Returns:
            Whether the data of all nodes is that of their copies, and no server has used it since.
        """
        begun = bool(migration.putting_back)
        for data, copy in self._data_and_copies():
            if not _beside(data).exists():
                continue  # that node has its copy
            kept = copy.name.replace(_COPY_NAME, "data-that-did-not-open", 1)
            aside = self._folder / f"{kept}-{migration.putting_back}"
            if begun and data.exists() and not aside.exists():
                data.rename(aside)
            if not data.exists():
                _beside(data).rename(data)
                checkpoint(f"put back the data of {data.parent.name}")
        return begun

    def _note_start(self, migration: SealMigration) -> SealMigration:
        """Note that a server is about to use the data, which is not that of the copies then."""
        if not migration.putting_back:
            return migration
        return self._note(replace(migration, putting_back=""))

    def _undo(
        self,
        migration: SealMigration,
        provider: SealingProvider,
        old: dict[str, Any],
        reason: HarnessError,
    ) -> NoReturn:
        """Vault as it was, open; raises what kept it from going over."""
        _sealing.write_stanza(self._data_dir, old)
        self._note_start(migration)
        self._opening.unseal(provider.start())
        if migration.target == "transit":
            provider.end_holder()
        self._forget()
        kept = f"; {self._folder} keeps the data that did not open" if self._folder.exists() else ""
        raise OperatorError(
            f"Vault did not go over to the seal {migration.target}, and has its seal "
            f"{migration.source} as before: {reason.cause}",
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
        self, migration: SealMigration, provider: SealingProvider, checkpoint: Checkpoint
    ) -> SealMigrated:
        aside = _sealing.put_key_aside(migration.source, self._data_dir)
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
        for data, _ in self._data_and_copies():  # of a run that had not come to put it back
            shutil.rmtree(_beside(data), ignore_errors=True)
        self._record.unlink()
        with contextlib.suppress(OSError):  # what did not open is kept there
            self._folder.rmdir()


def _went_over(node: Operator, *, untouched: bool) -> bool:
    """Whether it says that it has its new seal; one that never says which it has does not.

    Args:
        node: The server.
        untouched: Whether its data had not been started with both seals before this start. It may
            have served then, whatever it says now.

    Raises:
        OperatorError: It does not answer, or did not for a while, or never says which seal it has
            and may have served before: nobody knows what it did then.
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


def _check_all_serve(endpoints: Endpoints) -> None:
    with cluster.operators(endpoints.addresses, ca_cert=endpoints.ca_cert) as nodes:
        health = cluster.health_of_all(nodes)
    away = [
        node.name
        for node, status in zip(endpoints.nodes, health, strict=True)
        if status not in {200, 429}
    ]
    if away:
        raise StackError(
            f"not every node serves, and one that is not told of its new seal could never be "
            f"opened again: {', '.join(away)}",
            looked_at=", ".join(endpoints.addresses),
            remedy=f"{named('node.start', away[0])}, or {named('node.remove', away[0])}; "
            f"{named('status')} shows them",
        )


def both_seals(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The stanza by which a server goes over from one seal to another; empty ones are Shamir's."""
    return {kind: {**stanza, "disabled": "true"} for kind, stanza in old.items()} | dict(new)


def _seals(stanza: Mapping[str, Any]) -> dict[str, bool]:
    """Which seals a stanza has, and whether each is in force; addresses and paths may change."""
    return {kind: not body.get("disabled") for kind, body in stanza.items()}


def with_kind_of(keyring: Keyring, seal: SealKind) -> Keyring:
    """The same keys as what they are under a seal."""
    return replace(keyring, kind="shamir" if seal == "shamir" else "recovery")


def check_engine(provider: StackProvider) -> None:
    """See that an engine can exchange a seal.

    Raises:
        CapabilityMissing: It cannot.
    """
    if not isinstance(provider, SealingProvider):
        raise CapabilityMissing(
            f"the {provider.name} engine cannot exchange a Vault's seal",
            looked_at="HARNESS_ENGINE",
            remedy=f"{named('down')}, then HARNESS_ENGINE=process for {named('up')} and this: its "
            "data stays",
        )
