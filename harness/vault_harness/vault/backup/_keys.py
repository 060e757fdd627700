"""Putting the unseal keys of a backup back, without losing the ones that are there."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vault_harness import files
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.engine import static_key_path
from vault_harness.errors import (
    DeadlineExceeded,
    HarnessError,
    KeyringMissing,
    OperatorError,
    StackError,
)
from vault_harness.vault import SealStatus, cluster
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
        proven: Whether Vault itself took them, serving or not: they unsealed it, or a token of
            theirs lives. False where it could not be asked.
        unsealed: Whether it was sealed, and they opened it: it serves.
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
    files.write_private(files.led_to(path), keys.static_key)
    return SealKeyRestored("written", path, kept)


@without_frames
def restore_keys(
    keys: Keys,
    keyring_path: Path,
    *,
    op: Operator | None = None,
    nodes: Sequence[Operator] = (),
    overwrite: bool = False,
) -> KeysRestored:
    """Put the keyring of a backup back where the tasks look for it.

    The key of a static seal goes back to its place too. Whatever is there is kept beside it. A file
    that is not a keyring is replaced unasked, and so is another keyring if Vault takes these keys.
    What the keys are, unseal or recovery keys, is what they are for the Vault that there is now, if
    it says so: its seal may have been exchanged since the backup.

    Args:
        keys: From a backup.
        keyring_path: Where the tasks look.
        op: At the Vault that they should open; None if it is away. A sealed one is unsealed, which
            is the only proof that there is.
        nodes: At each node of it, if it has several: one alone, of all that are sealed, would have
            no quorum.
        overwrite: Replace a keyring even if Vault cannot tell whose it is.

    Raises:
        OperatorError: They do not open this Vault. Nothing was changed.
        StackError: Another keyring is there, and nobody can tell which one is right.
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
    """The keyring that is there; None for nothing, and for a file that is not one."""
    try:
        return Keyring.load(path)
    except (KeyringMissing, StackError):
        return None


def _initialised(nodes: Sequence[Operator]) -> dict[Operator, SealStatus]:
    """Those nodes that answer and have keys at all, and what they say of their seal."""
    found = {}
    for node in nodes:
        with contextlib.suppress(OperatorError):  # it is away
            status = node.seal_status()
            if status.initialised:
                found[node] = status
    return found


def _of_its_kind(keyring: Keyring, found: Mapping[Operator, SealStatus]) -> Keyring:
    """The keys as what they are for the Vault that there is; as they were if it does not say."""
    kinds = {status.kind for status in found.values() if not status.migrating}
    return replace(keyring, kind=kinds.pop()) if len(kinds) == 1 else keyring


def _proof(found: Mapping[Operator, SealStatus], keys: Keys) -> tuple[bool, bool]:
    """Whether Vault takes these keys, and whether they unsealed it just now, and it serves."""
    if not any(status.sealed for status in found.values()):
        tokens = (keys.keyring.root_token, keys.operator_token)
        return any(_lives(node, token) for node in found for token in tokens), False
    if keys.keyring.kind != "shamir":
        return False, False  # it unseals itself: recovery keys may not be what it lacks
    try:
        cluster.unseal_all(list(found), keys.keyring, timeout=_UNSEAL_SECONDS)
    except DeadlineExceeded:
        return True, False  # each has taken them, and the rest is for `doctor` to say
    except OperatorError as error:
        if "do not unseal" not in error.cause:
            raise
        raise OperatorError(
            "the keys of this backup do not open this Vault: it is another Vault's backup, or of "
            "before its keys were exchanged",
            looked_at=error.looked_at,
            remedy=f"Take another one: {named('backup.list')} shows them, --source names one. "
            "Nothing was changed.",
        ) from None
    return True, True


def _own_token_is_good(nodes: Sequence[Operator], directory: Path) -> bool:
    """Whether the operator's token that is there lives; it may be newer than the backup."""
    token = operator_token(directory)
    return bool(token) and any(_lives(node, token) for node in nodes)


def _lives(op: Operator, token: str) -> bool:
    if not token:
        return False
    with contextlib.closing(op.with_token(token)) as known, contextlib.suppress(HarnessError):
        return alive(known) is not None
    return False
