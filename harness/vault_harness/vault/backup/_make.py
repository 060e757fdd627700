"""Taking a backup of a running Vault."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import hvac.exceptions

from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.errors import OperatorError
from vault_harness.vault.backup._contents import (
    moving_between,
    take_contents,
)
from vault_harness.vault.backup._files import Backup, Keys, check_snapshot
from vault_harness.vault.backup._lock import Lock
from vault_harness.vault.backup._write import write_backup
from vault_harness.vault.operator import Operator

Checkpoint = Callable[[str], None]


@without_frames
def make_backup(
    op: Operator,
    keys: Keys | None,
    directory: Path,
    lock: Lock,
    *,
    mounts: Iterable[str],
    checkpoint: Checkpoint = lambda _step: None,
) -> Backup:
    """Take a raft snapshot and the keyring, encrypted, into a folder of their own.

    Args:
        op: May read every secret of its namespace, and ``sys/storage/raft/snapshot``.
        keys: None leaves them out.
        directory: Where backups are.
        lock: Who can open it.
        mounts: KV mounts whose secrets a restore shall be compared with.
        checkpoint: Called after each step.

    Raises:
        OperatorError: Vault refused, or its storage is not raft.
    """
    mounts = tuple(mounts)
    status = op.seal_status()
    vault = cluster_id(op)
    before = take_contents(op, mounts)
    snapshot = take_snapshot(op)
    after = take_contents(op, mounts, key=before.key)
    checkpoint("took the snapshot")
    check_snapshot(snapshot, source=f"{op.address}/v1/sys/storage/raft/snapshot")
    return write_backup(
        directory,
        backup_name(),
        lock,
        product=status.product,
        version=status.version,
        snapshot=(snapshot, replace(moving_between(before, after), vault=vault)),
        keys=keys,
        vault=vault,
        checkpoint=checkpoint,
    )


@without_frames
def backup_keys(
    keys: Keys,
    directory: Path,
    lock: Lock,
    *,
    vault: str = "",
    checkpoint: Checkpoint = lambda _step: None,
) -> Backup:
    """Only the unseal keys, encrypted; works while Vault is sealed or away.

    Args:
        keys: What opens the Vault.
        directory: Where backups are.
        lock: Who can open it.
        vault: Its cluster id, if it could be asked.
        checkpoint: Called after each step.
    """
    return write_backup(
        directory,
        f"{backup_name()}-keys",
        lock,
        product="",
        version="",
        snapshot=None,
        keys=keys,
        vault=vault,
        checkpoint=checkpoint,
    )


def cluster_id(op: Operator) -> str:
    """What tells a Vault from every other; it travels with a snapshot. Empty while it is sealed."""
    return str(op.request("GET", "sys/seal-status").get("cluster_id") or "")


def backup_name() -> str:
    """Now, in UTC, as a folder's name."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def take_snapshot(op: Operator) -> bytes:
    """A raft snapshot, which the keys that Vault has now open.

    Raises:
        OperatorError: Vault refused, or its storage is not raft.
    """
    with op.asking("take a raft snapshot") as client:
        try:
            return bytes(client.sys.take_raft_snapshot().content)
        except hvac.exceptions.InvalidPath:
            pass
    raise OperatorError(
        "this Vault's storage is not raft, and only raft makes snapshots",
        looked_at=f"{op.address}/v1/sys/storage/raft/snapshot",
        remedy=f"Back up the stack of `{named('up')}`, or give this server raft storage.",
    )
