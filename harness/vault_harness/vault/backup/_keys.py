"""Putting the unseal keys of a backup back, without losing the ones that are there."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vault_harness import files
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.engine import static_key_path
from vault_harness.errors import HarnessError, KeyringMissing, OperatorError, StackError
from vault_harness.vault.backup._acting import put_operator_token
from vault_harness.vault.backup._files import Keys
from vault_harness.vault.keyring import Keyring, keep_beside
from vault_harness.vault.operator import Operator
from vault_harness.vault.root import alive, operator_token

_UNSEAL_SECONDS = 30.0


@dataclass(frozen=True)
class KeysRestored:
    """What came of putting keys back.

    Attributes:
        proven: Whether Vault itself took them: it was sealed and is open now, or a token of theirs
            lives. False where it could not be asked.
        unsealed: Whether it was sealed, and they opened it.
        kept: Where the keyring that was there before is now, or None if there was none, or it has
            the same keys.
        seal: What became of the seal's key.
        kept_token: Where the operator's token that was there before is now, if it was another one.
    """

    proven: bool
    unsealed: bool
    kept: Path | None
    seal: SealKeyRestored
    kept_token: Path | None = None


@dataclass(frozen=True)
class SealKeyRestored:
    """What became of the key of a static seal.

    Attributes:
        action: ``none`` if the backup has none, ``there`` if it is there already, ``written``, or
            ``left`` if another one is there.
        path: Its file.
        kept: Where the one that was there before is now.
    """

    action: Literal["none", "there", "written", "left"]
    path: Path
    kept: Path | None = None


@without_frames
def restore_seal_key(
    keys: Keys, data_dir: Path, *, overwrite: bool = False, dry_run: bool = False
) -> SealKeyRestored:
    """Put the key of a static seal where Vault finds it when it is started.

    Args:
        keys: From a backup.
        data_dir: Of the stack.
        overwrite: Replace another key that is there; it is kept beside.
        dry_run: Tell what would be done, and do nothing.
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
    files.write_private(path, keys.static_key)
    return SealKeyRestored("written", path, kept)


@without_frames
def restore_keys(
    keys: Keys, keyring_path: Path, *, op: Operator | None = None, overwrite: bool = False
) -> KeysRestored:
    """Put the keyring of a backup back where the tasks look for it.

    The key of a static seal goes back to its place too. Whatever is there is kept beside it. A file
    that is not a keyring is replaced unasked, and so is another keyring if Vault takes these keys.

    Args:
        keys: From a backup.
        keyring_path: Where the tasks look.
        op: At the Vault that they should open; None if it is away. A sealed one is unsealed, which
            is the only proof that there is.
        overwrite: Replace a keyring even if Vault cannot tell whose it is.

    Raises:
        OperatorError: They do not open this Vault. Nothing was changed.
        StackError: Another keyring is there, and nobody can tell which one is right.
    """
    proven, unsealed = (False, False) if op is None else _proof(op, keys)
    present = _present(keyring_path)
    same = present is not None and present.keys == keys.keyring.keys
    if present is not None and not same and not proven and not overwrite:
        raise StackError(
            "another keyring is there, and Vault cannot tell whether the backup's is the right one",
            looked_at=str(keyring_path),
            remedy="Give --overwrite to put the backup's in its place; the one that is there is "
            "kept beside it.",
        )
    files.private_directory(keyring_path.parent)
    seal = restore_seal_key(keys, keyring_path.parent, overwrite=overwrite)
    kept = None
    if not same:
        if keyring_path.exists():
            kept = keep_beside(keyring_path)
        keys.keyring.save(keyring_path)
    elif present is not None and not present.root_token and keys.keyring.root_token:
        replace(present, root_token=keys.keyring.root_token).save(keyring_path)
    kept_token = None
    if keys.operator_token and not _own_token_is_good(op, keyring_path.parent):
        kept_token = put_operator_token(keys.operator_token, keyring_path.parent)
    return KeysRestored(proven, unsealed, kept, seal, kept_token)


def _present(path: Path) -> Keyring | None:
    """The keyring that is there; None for nothing, and for a file that is not one."""
    try:
        return Keyring.load(path)
    except (KeyringMissing, StackError):
        return None


def _proof(op: Operator, keys: Keys) -> tuple[bool, bool]:
    """Whether Vault takes these keys, and whether they unsealed it just now."""
    try:
        status = op.seal_status()
    except OperatorError:
        return False, False  # it is away
    if not status.initialised or keys.keyring.kind != "shamir":
        return False, False
    if not status.sealed:
        tokens = (keys.keyring.root_token, keys.operator_token)
        return any(_lives(op, token) for token in tokens), False
    try:
        op.unseal(keys.keyring, timeout=_UNSEAL_SECONDS)
    except OperatorError as error:
        if "do not unseal" not in error.cause:
            raise
        raise OperatorError(
            "the keys of this backup do not open this Vault: it is another Vault's backup, or of "
            "before its keys were exchanged",
            looked_at=op.address,
            remedy=f"Take another one: {named('backup.list')} shows them, --source names one. "
            "Nothing was changed.",
        ) from None
    return True, True


def _own_token_is_good(op: Operator | None, directory: Path) -> bool:
    """Whether the operator's token that is there lives; it may be newer than the backup."""
    token = operator_token(directory)
    return bool(token) and op is not None and _lives(op, token)


def _lives(op: Operator, token: str) -> bool:
    if not token:
        return False
    with contextlib.closing(op.with_token(token)) as known, contextlib.suppress(HarnessError):
        return alive(known) is not None
    return False
