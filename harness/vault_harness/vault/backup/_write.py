"""Writing a backup so that it is there complete, or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from vault_harness import files
from vault_harness.boundary import without_frames
from vault_harness.vault.backup._contents import Contents
from vault_harness.vault.backup._files import (
    FORMAT,
    KEYRING,
    MANIFEST,
    SNAPSHOT,
    UNFINISHED,
    Backup,
    Keys,
    list_backups,
)
from vault_harness.vault.backup._lock import Lock


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
    vault: str = "",
    checkpoint: Callable[[str], None] = lambda _step: None,
) -> Backup:
    """Write a backup so that it is there complete, or not at all.

    Args:
        directory: Where backups are, of other stacks too; a new folder is made in it, and one that
            is there keeps its mode.
        name: Of the folder; with a number behind it if there is one of that name.
        lock: Who can open it.
        product: Of the server.
        version: Of the server.
        snapshot: The raft snapshot and the digests.
        keys: The unseal keys and tokens.
        vault: The cluster id of the Vault, empty if it could not be asked.
        checkpoint: Called after each step.
    """
    files.make_private(directory)
    _sweep(directory)
    with _unfinished(directory, name) as unfinished:
        parts: dict[str, bytes] = {}
        if snapshot is not None:
            parts[SNAPSHOT] = lock.encrypt(_tar(snapshot[0], snapshot[1]))
        if keys is not None:
            parts[KEYRING] = lock.encrypt(_keys_bytes(keys))
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
    """A new folder for a backup that is being written, held against the sweep of another run."""
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
            pass  # somebody began one of this name in the same second
        except PermissionError:
            if not _lock_file(unfinished).exists():
                raise  # this user may not write here; else another user did, in the same second
        number += 1
        chosen = f"{name}-{number}"


def _sweep(directory: Path) -> None:
    """Remove what runs left that were ended half-way; whoever still writes holds a lock.

    What may not be locked or removed is another user's, on a disk that several share, and stays.
    """
    for left in directory.glob(f"{UNFINISHED}*"):
        if not left.is_dir():
            continue
        try:
            with FileLock(_lock_file(left), timeout=0, mode=0o600):
                try:
                    shutil.rmtree(left)
                finally:  # one of ours would keep its owner from it
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
    """As `Keyring.save` writes it, so that what ``age -d`` gives back can be used as it is."""
    content = {"operator_token": keys.operator_token, **keys.keyring.to_json()}
    if keys.static_key:
        content["static_key"] = keys.static_key
    return json.dumps(content, indent=2).encode() + b"\n"
