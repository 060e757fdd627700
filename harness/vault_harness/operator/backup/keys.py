"""Restore a backup's unseal keys without losing the present ones."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vault_harness import files
from vault_harness.errors import (
    DeadlineExceeded,
    HarnessError,
    KeyringMissing,
    OperatorError,
    StackError,
    named,
    without_frames,
)
from vault_harness.local.engine.seal import static_key_path
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import VaultAdmin, alive
from vault_harness.local.vault.connection import SealStatus
from vault_harness.local.vault.keyring import Keyring, keep_beside
from vault_harness.local.vault.tokens import operator_token
from vault_harness.operator.backup.files import Keys
from vault_harness.operator.backup.progress import put_operator_token

_UNSEAL_SECONDS = 30.0


@dataclass(frozen=True)
class KeysRestored:
    """The result of restoring keys.

    Attributes:
        proven: Vault accepted them: they unsealed it, or one of their tokens is valid. False if it
            was away.
        unsealed: They opened it just now, and it serves.
        kept: Path of the earlier keyring. None if there was none, or it had the same keys.
    """

    proven: bool
    unsealed: bool
    kept: Path | None
    seal: SealKeyRestored
    kept_token: Path | None = None


@dataclass(frozen=True)
class SealKeyRestored:
    """What happened to the key of a static seal.

    Attributes:
        action: ``none`` if the backup has none, ``there`` if it is in place already, or ``left`` if
            another key is.
    """

    action: Literal["none", "there", "written", "left"]
    path: Path
    kept: Path | None = None


@without_frames
def restore_seal_key(
    keys: Keys, data_dir: Path, *, overwrite: bool = False, dry_run: bool = False
) -> SealKeyRestored:
    """Put the key of a static seal where Vault finds it at its start.

    ``overwrite`` keeps a different key beside it.
    """
    path = static_key_path(data_dir)
    if not keys.static_key:
        return SealKeyRestored("none", path)
    kept = None
    if path.exists():
        if path.read_text().strip() == keys.static_key:
            return SealKeyRestored("there", path)
        if not overwrite:
            return SealKeyRestored("left", path)
        kept = None if dry_run else keep_beside(path)
    if dry_run:
        return SealKeyRestored("written", path)
    files.private_directory(data_dir)
    files.private_directory(path.parent)
    files.write_private(files.led_to(path), keys.static_key)
    return SealKeyRestored("written", path, kept)


@without_frames
def restore_keys(
    keys: Keys,
    keyring_path: Path,
    *,
    op: VaultAdmin | None = None,
    nodes: Sequence[VaultAdmin] = (),
    overwrite: bool = False,
) -> KeysRestored:
    """Put the keyring of a backup where the tasks look for it, and the key of a static seal.

    Existing files are kept beside the new ones. A file that is no keyring is replaced without
    asking. So is another keyring if Vault accepts the backup's keys. A Vault that answers tells
    whether they are unseal or recovery keys: its seal may have changed since.

    Args:
        op: At the Vault that the keys should open; None if it is away. A sealed Vault is unsealed,
            since nothing else proves the keys.
        nodes: Each node of a cluster. A single node of a sealed one has no quorum.
        overwrite: Replace a keyring even if Vault cannot tell which one is right.

    Raises:
        OperatorError: The keys do not open this Vault.
    """
    nodes = tuple(nodes) or (() if op is None else (op,))
    found = _initialised(nodes)
    keys = replace(keys, keyring=_of_its_kind(keys.keyring, found))
    proven, unsealed = _proof(found, keys)
    present = _present(keyring_path)
    same = present is not None and present.keys == keys.keyring.keys
    if present is not None and not same and not proven and not overwrite:
        raise StackError(
            "another keyring is there, and Vault cannot tell whether the backup's is the right one",
            looked_at=str(keyring_path),
            remedy="Give --overwrite to put the backup's in its place; the present one is "
            "kept beside it.",
        )
    files.private_directory(keyring_path.parent)
    seal = restore_seal_key(keys, keyring_path.parent, overwrite=overwrite)
    kept = None
    if not same:
        if keyring_path.exists():
            kept = keep_beside(keyring_path)
        keys.keyring.save(keyring_path)
    elif present is not None:
        token = present.root_token or keys.keyring.root_token
        kind = keys.keyring.kind if found else present.kind
        if (wanted := replace(present, root_token=token, kind=kind)) != present:
            wanted.save(keyring_path)
    kept_token = None
    if keys.operator_token and not _own_token_is_good(nodes, keyring_path.parent):
        kept_token = put_operator_token(keys.operator_token, keyring_path.parent)
    return KeysRestored(proven, unsealed, kept, seal, kept_token)


def _present(path: Path) -> Keyring | None:
    try:
        return Keyring.load(path)
    except (KeyringMissing, StackError):
        return None


def _initialised(nodes: Sequence[VaultAdmin]) -> dict[VaultAdmin, SealStatus]:
    found = {}
    for node in nodes:
        with contextlib.suppress(OperatorError):  # away
            status = node.seal_status()
            if status.initialised:
                found[node] = status
    return found


def _of_its_kind(keyring: Keyring, found: Mapping[VaultAdmin, SealStatus]) -> Keyring:
    kinds = {status.kind for status in found.values() if not status.migrating}
    return replace(keyring, kind=kinds.pop()) if len(kinds) == 1 else keyring


def _proof(found: Mapping[VaultAdmin, SealStatus], keys: Keys) -> tuple[bool, bool]:
    """Return whether Vault accepts these keys, and whether they unsealed it just now."""
    if not any(status.sealed for status in found.values()):
        tokens = (keys.keyring.root_token, keys.operator_token)
        return any(_lives(node, token) for node in found for token in tokens), False
    if keys.keyring.kind != "shamir":
        return False, False  # recovery keys would not open it
    try:
        cluster.unseal_all(list(found), keys.keyring, timeout=_UNSEAL_SECONDS)
    except DeadlineExceeded:
        return True, False  # each node accepted them; `doctor` reports the rest
    except OperatorError as error:
        if "do not unseal" not in error.cause:
            raise
        raise OperatorError(
            "the keys of this backup do not open this Vault: it is another Vault's backup, or its "
            "keys were exchanged since",
            looked_at=error.looked_at,
            remedy=f"Take another one: {named('backup.list')} shows them, --source names one. "
            "Nothing was changed.",
        ) from None
    return True, True


def _own_token_is_good(nodes: Sequence[VaultAdmin], directory: Path) -> bool:
    """Return whether the token in place is valid; it may be newer than the backup."""
    token = operator_token(directory)
    return bool(token) and any(_lives(node, token) for node in nodes)


def _lives(op: VaultAdmin, token: str) -> bool:
    if not token:
        return False
    with contextlib.closing(op.with_token(token)) as known, contextlib.suppress(HarnessError):
        return alive(known) is not None
    return False
