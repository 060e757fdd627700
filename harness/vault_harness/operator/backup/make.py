"""Make a backup of a running Vault."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import hvac.exceptions
from filelock import FileLock, Timeout

from vault_harness import files
from vault_harness.errors import OperatorError, named, without_frames
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.written_ahead import Checkpoint
from vault_harness.operator.backup.contents import Contents, moving_between, take_contents
from vault_harness.operator.backup.files import (
    FORMAT,
    KEYRING,
    MANIFEST,
    SNAPSHOT,
    UNFINISHED,
    Backup,
    Keys,
    check_snapshot,
    list_backups,
)
from vault_harness.operator.backup.lock import Lock


@without_frames
def write_backup(
    directory: Path,
    name: str,
    lock: Lock,
    *,
    product: str,
    version: str,
    snapshot: tuple[bytes, Contents] | None,
    keys: Keys | None,
    others: Mapping[str, bytes] | None = None,
    vault: str = "",
    checkpoint: Callable[[str], None] = lambda _step: None,
) -> Backup:
    """Write a backup completely, or not at all.

    Args:
        directory: Shared by stacks. A present folder keeps its mode.
        name: Of the new folder, with a number if it is taken.
        vault: Cluster id, empty if it could not be read.
    """
    files.make_private(directory)
    _sweep(directory)
    with _unfinished(directory, name) as unfinished:
        parts: dict[str, bytes] = {}
        if snapshot is not None:
            parts[SNAPSHOT] = lock.encrypt(_tar(snapshot[0], snapshot[1]))
        if keys is not None:
            parts[KEYRING] = lock.encrypt(_keys_bytes(keys))
        for part, content in (others or {}).items():
            parts[part] = lock.encrypt(content)
        for part, data in parts.items():
            files.write_private(unfinished / part, data)
            checkpoint(f"wrote {part}")
        manifest = {
            "format": FORMAT,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "product": product,
            "version": version,
            "vault": vault,
            "number": 1 + max((each.number for each in list_backups(directory)), default=0),
            "locked_with": lock.kind,
            "checksums": {part: hashlib.sha256(data).hexdigest() for part, data in parts.items()},
            "secrets": len(snapshot[1].secrets) if snapshot is not None else 0,
        }
        files.write_private(unfinished / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        checkpoint("wrote the manifest")
        finished = directory / unfinished.name.removeprefix(UNFINISHED)
        unfinished.rename(finished)
    files.sync_directory(directory)
    return Backup.load(finished)


@contextmanager
def _unfinished(directory: Path, name: str) -> Iterator[Path]:
    """Make a folder for a new backup, locked so that other runs do not remove it."""
    number, chosen = 1, name
    while True:
        unfinished = directory / f"{UNFINISHED}{chosen}"
        held = FileLock(_lock_file(unfinished), timeout=0, mode=0o600)
        try:
            with held:
                if not (directory / chosen).exists() and not unfinished.exists():
                    unfinished.mkdir(mode=0o700)
                    try:
                        yield unfinished
                    finally:
                        _lock_file(unfinished).unlink(missing_ok=True)
                    return
                _lock_file(unfinished).unlink(missing_ok=True)
        except Timeout:
            pass  # another run began in the same second
        except PermissionError:
            if not _lock_file(unfinished).exists():
                raise  # may not write here; otherwise another user holds the name
        number += 1
        chosen = f"{name}-{number}"


def _sweep(directory: Path) -> None:
    """Remove the remains of interrupted runs, which hold no lock.

    Folders that may not be locked or removed belong to another user of a shared disk.
    """
    for left in directory.glob(f"{UNFINISHED}*"):
        if not left.is_dir():
            continue
        try:
            with FileLock(_lock_file(left), timeout=0, mode=0o600):
                try:
                    shutil.rmtree(left)
                finally:  # a lock file of ours would stop the owner
                    _lock_file(left).unlink(missing_ok=True)
        except (Timeout, PermissionError, FileNotFoundError):
            continue


def _lock_file(unfinished: Path) -> Path:
    return unfinished.with_name(f"{unfinished.name}.lock")


def _tar(snapshot: bytes, contents: Contents) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in (("vault.snap", snapshot), ("contents.json", contents.to_json())):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _keys_bytes(keys: Keys) -> bytes:
    """Serialise like `Keyring.save`, so that the output of ``age -d`` is a keyring file."""
    content = {"operator_token": keys.operator_token, **keys.keyring.to_json()}
    if keys.static_key:
        content["static_key"] = keys.static_key
    return json.dumps(content, indent=2).encode() + b"\n"


@without_frames
def make_backup(
    op: VaultAdmin,
    keys: Keys | None,
    directory: Path,
    lock: Lock,
    *,
    mounts: Iterable[str],
    name: str = "",
    others: Callable[[], Mapping[str, bytes]] = dict,
    checkpoint: Checkpoint = lambda _step: None,
) -> Backup:
    """Take a raft snapshot and the keyring, and write them encrypted into a new folder.

    Args:
        op: May read every secret of its namespace, and ``sys/storage/raft/snapshot``.
        keys: None leaves them out.
        mounts: KV mounts whose secrets a restore compares.
        others: Returns further files, by name, before the snapshot is taken.
    """
    mounts = tuple(mounts)
    status = op.seal_status()
    vault = cluster_id(op)
    before, beside = take_contents(op, mounts), others()
    snapshot = take_snapshot(op)
    after = take_contents(op, mounts, key=before.key)
    checkpoint("took the snapshot")
    check_snapshot(snapshot, source=f"{op.address}/v1/sys/storage/raft/snapshot")
    return write_backup(
        directory,
        name or backup_name(),
        lock,
        product=status.product,
        version=status.version,
        snapshot=(snapshot, replace(moving_between(before, after), vault=vault)),
        keys=keys,
        others=beside,
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
    """Back up the keys, also while Vault is sealed or away."""
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


def cluster_id(op: VaultAdmin) -> str:
    """Return a Vault's id, which travels with a snapshot. Empty while it is sealed."""
    return str(op.request("GET", "sys/seal-status").get("cluster_id") or "")


def backup_name() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def take_snapshot(op: VaultAdmin) -> bytes:
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
