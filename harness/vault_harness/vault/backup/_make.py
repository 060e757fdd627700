"""Taking a backup of a running Vault, and putting one into an empty one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import hvac.exceptions

from vault_harness import dialect, files
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.engine import static_key_path
from vault_harness.errors import OperatorError, StackError, VaultIsSealed
from vault_harness.vault import approle
from vault_harness.vault.backup._contents import (
    Comparison,
    Contents,
    compare,
    moving_between,
    take_contents,
)
from vault_harness.vault.backup._files import Backup, Keys, check_snapshot
from vault_harness.vault.backup._lock import Lock
from vault_harness.vault.backup._write import write_backup
from vault_harness.vault.keyring import Keyring, keep_beside
from vault_harness.vault.operator import Operator
from vault_harness.vault.root import (
    OPERATOR_TOKEN_NAME,
    alive,
    needing_root,
    standing_operator,
)
from vault_harness.waiting import wait_until

Checkpoint = Callable[[str], None]

KEYRING_ON_THE_WAY = "init.json.restoring"
_RESTORE_SECONDS = 60.0
_SETTLE_SECONDS = 3.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Restored:
    """What came of a restore.

    Attributes:
        comparison: Secret by secret, against what the backup says.
        resumed: Whether an earlier run had put the snapshot in already.
        seconds: How long it took.
        secret_ids: How many secret-ids from before are good again, by AppRole: whoever has them,
            on a machine that was lost for example, can log in.
        kept: Where the keyring of the Vault that was overwritten is now, if there was one.
    """

    comparison: Comparison
    resumed: bool
    seconds: float
    secret_ids: Mapping[str, int] = field(default_factory=dict)
    kept: Path | None = None


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
    snapshot = _snapshot(op)
    after = take_contents(op, mounts, key=before.key)
    checkpoint("took the snapshot")
    check_snapshot(snapshot, source=f"{op.address}/v1/sys/storage/raft/snapshot")
    return write_backup(
        directory,
        backup_name(),
        lock,
        product=status.product,
        version=status.version,
        snapshot=(snapshot, moving_between(before, after)),
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


def is_empty(op: Operator, mounts: Iterable[str]) -> bool:
    """Whether nobody has put anything into a Vault: none of the mounts, no AppRole, no namespace.

    Args:
        op: With a root token, in the root namespace.
        mounts: KV mounts that a backup has.
    """
    present = op.request("GET", "sys/mounts").get("data", {})
    auth = op.request("GET", "sys/auth").get("data", {})
    if any(f"{mount}/" in present for mount in mounts) or "approle/" in auth:
        return False
    status = op.seal_status()
    if not dialect.has_namespaces(status.product, status.version):
        return True
    return not op.request("LIST", "sys/namespaces").get("data", {}).get("keys")


@without_frames
def restore(
    op: Operator,
    keyring_path: Path,
    snapshot: bytes,
    contents: Contents,
    keys: Keys,
    *,
    overwrite: bool = False,
    checkpoint: Checkpoint = lambda _step: None,
) -> Restored:
    """Put a backup into an empty, initialised Vault, unseal it with the backup's keys, and compare.

    A run that was ended half-way is finished by the next one with the same backup: whichever keys
    open the Vault tell how far it got.

    Args:
        op: At that Vault; no token is needed.
        keyring_path: The keyring of the empty Vault; that of the backup takes its place, and the
            operator's token its place beside it.
        snapshot: From `Backup.open_snapshot`.
        contents: Likewise.
        keys: From `Backup.open_keys`.
        overwrite: Replace what a Vault that is not empty has. Its keyring is kept beside the new
            one: backups of that Vault open with it.
        checkpoint: Called after each step.

    Raises:
        StackError: The Vault is not empty.
        KeyringMissing: There is no keyring of the empty Vault.
        OperatorError: Vault refused.
    """
    begun = time.monotonic()
    way = keyring_path.with_name(KEYRING_ON_THE_WAY)
    resumed = way.exists() and Keyring.load(way) == keys.keyring and _is_restored(op, keys)
    kept = None
    _check_seal(op, keys, keyring_path.parent)
    if not resumed:
        present = Keyring.load(keyring_path)
        op.unseal(present, timeout=_RESTORE_SECONDS)
        acting = standing_operator(op.address, present, keyring_path.parent, ca_cert=op.ca_cert)
        with contextlib.closing(acting) as root, needing_root(root, named("restore")):
            if not is_empty(root, contents.mounts):
                if not overwrite:
                    raise _not_empty(op, contents)
                if present.keys != keys.keyring.keys:
                    kept = keep_beside(keyring_path)
            keys.keyring.save(way)
            checkpoint("kept the backup's keys")
            with root.asking("restore a raft snapshot") as client:
                client.sys.force_restore_raft_snapshot(snapshot)
        checkpoint("put the snapshot in")
        if present.keys != keys.keyring.keys:
            # It answers first, and seals itself when it finds that its keys are others now; one
            # with auto-unseal goes on with what the snapshot has.
            wait_until(
                lambda: _has_taken(op, keys),
                "Vault to take the snapshot",
                timeout=_RESTORE_SECONDS,
                evidence=lambda: f"{op.address}/v1/sys/seal-status: {op.seal_status()}",
                remedy=f"Look at its log: {named('logs')}.",
            )
    op.unseal(keys.keyring, timeout=_RESTORE_SECONDS)
    checkpoint("unsealed")
    keys.keyring.save(keyring_path)
    if keys.operator_token:
        files.write_private(keyring_path.with_name(OPERATOR_TOKEN_NAME), keys.operator_token)
    checkpoint("keyring in place")
    acting = standing_operator(op.address, keys.keyring, keyring_path.parent, ca_cert=op.ca_cert)
    with contextlib.closing(acting):
        comparison = compare(acting, contents)
        with contextlib.closing(acting.within(contents.namespace)) as inside:
            secret_ids = {role: len(approle.accessors(inside, role)) for role in contents.approles}
    way.unlink(missing_ok=True)  # last: while it is there, a further run goes on instead of anew
    return Restored(
        comparison,
        resumed,
        time.monotonic() - begun,
        {role: count for role, count in secret_ids.items() if count},
        kept,
    )


def _snapshot(op: Operator) -> bytes:
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


def _is_restored(op: Operator, keys: Keys) -> bool:
    """Whether a Vault is the one that these keys belong to already.

    One that has just been given a snapshot goes on unsealed for a moment, before it seals itself.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    while not op.seal_status().sealed:
        try:
            if any(_is_alive(op, t) for t in (keys.keyring.root_token, keys.operator_token)):
                return True
        except VaultIsSealed:
            continue  # it was sealing itself: an answer can take it seconds then
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)  # between two looks, bounded by the deadline
    try:
        op.unseal(keys.keyring, timeout=_RESTORE_SECONDS)
    except OperatorError:
        return False
    return True


def _has_taken(op: Operator, keys: Keys) -> bool:
    if op.seal_status().sealed:
        return True
    if keys.keyring.kind == "shamir":
        return False
    with contextlib.suppress(OperatorError):  # it is busy with it
        return any(_is_alive(op, t) for t in (keys.keyring.root_token, keys.operator_token))
    return False


def _is_alive(op: Operator, token: str) -> bool:
    if not token:
        return False
    with contextlib.closing(op.with_token(token)) as known:
        return alive(known) is not None


def _check_seal(op: Operator, keys: Keys, data_dir: Path) -> None:
    """A snapshot is opened by the seal that it was taken from, with its key, and by no other."""
    status = op.seal_status()
    if status.kind != keys.keyring.kind:
        theirs = {"shamir": "is unsealed with keys", "recovery": "unseals itself"}
        raise StackError(
            f"the backup is of a Vault that {theirs[keys.keyring.kind]}, and this one "
            f"{theirs[status.kind]}; nothing was changed",
            looked_at=f"{op.address}: seal {status.seal}",
            remedy=f"restore into a stack of the same seal: {named('up', '--seal', 'KIND')} in a "
            "folder of its own, with the seal's key (seal/ or holder/ of the data directory)",
        )
    path = static_key_path(data_dir)
    if keys.static_key and path.exists() and path.read_text().strip() != keys.static_key:
        raise StackError(
            "the key of this Vault's static seal is not the backup's, which alone opens it; "
            "nothing was changed",
            looked_at=str(path),
            remedy=f"HARNESS_DATA_DIR=FOLDER for {named('restore.keys', '--seal-key')}, which puts "
            f"the backup's there, {named('up', '--seal', 'static')}, and this",
        )


def _not_empty(op: Operator, contents: Contents) -> StackError:
    return StackError(
        "this Vault is not empty, a restore would replace what it has; nothing was changed",
        looked_at=f"{op.address}: mounts {', '.join(contents.mounts)}, AppRole, namespaces",
        remedy="Restore into a stack of its own: HARNESS_DATA_DIR=FOLDER for both "
        f"`{named('up')}` and this. Or back up first what is here ({named('backup')}), and give "
        "--overwrite.",
    )
