"""A backup on disk: a folder with a manifest, and one encrypted file for each part.

``snapshot.age`` holds the raft snapshot and a digest of each secret, ``keyring.age`` the unseal
keys: two files,
so that they can be kept in two places. ``manifest.json`` holds no secret: when, of what, and the
checksums.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vault_harness import files
from vault_harness.commands import named
from vault_harness.errors import HarnessError, StackError
from vault_harness.vault.backup._contents import Contents
from vault_harness.vault.backup._lock import Lock, Opener
from vault_harness.vault.keyring import Keyring

MANIFEST = "manifest.json"
SNAPSHOT = "snapshot.age"
KEYRING = "keyring.age"
_FORMAT = 1
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class Keys:
    """What opens a Vault. Never shown by ``repr``.

    Attributes:
        keyring: Unseal keys, and the root token if there is one.
        operator_token: The operator's, if there is one: without it and without root, OpenBao makes
            no new root
            token, even for the unseal keys.
    """

    keyring: Keyring = field(repr=False)
    operator_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Backup:
    """A finished backup.

    Attributes:
        directory: Its folder.
        made: When, UTC.
        product: ``openbao`` or ``vault``.
        version: The server's.
        locked_with: In words: a passphrase, or how many public keys.
        checksums: SHA-256 of each encrypted file, by name.
        secrets: How many secrets it holds; 0 for keys alone.
    """

    directory: Path
    made: datetime
    product: str
    version: str
    locked_with: str
    checksums: Mapping[str, str]
    secrets: int = 0

    @classmethod
    def load(cls, directory: Path) -> Backup:
        """Read the manifest of a backup.

        Raises:
            StackError: There is none, or it cannot be read.
        """
        try:
            data = json.loads((directory / MANIFEST).read_text())
            if data["format"] != _FORMAT:
                raise ValueError
            return cls(
                directory,
                datetime.fromisoformat(data["made"]),
                data["product"],
                data["version"],
                data["locked_with"],
                dict(data["checksums"]),
                int(data["secrets"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            raise StackError(
                f"{directory} is no backup",
                looked_at=str(directory / MANIFEST),
                remedy=f"Name the folder of one with --source: {named('backup.list')} shows them.",
            ) from None

    def check_files(self) -> None:
        """See that every file is there and undamaged; needs no key.

        Raises:
            StackError: One is missing or was changed.
        """
        for name, wanted in self.checksums.items():
            path = self.directory / name
            try:
                found = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                raise StackError(
                    f"{name} of this backup cannot be read: {error.strerror}",
                    looked_at=str(path),
                    remedy="Fetch it from where that part is kept, or take another backup.",
                ) from None
            if found != wanted:
                raise StackError(
                    f"{name} of this backup is damaged: its checksum is not the manifest's",
                    looked_at=str(path),
                    remedy="Take another copy of it, or another backup.",
                )

    def open_snapshot(self, opener: Opener) -> tuple[bytes, Contents]:
        """The raft snapshot and the digests, checked against their own checksums too.

        Raises:
            StackError: This backup has none, or a file of it is damaged.
            HarnessError: It does not open with that.
        """
        raw = self._decrypted(SNAPSHOT, opener)
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            parts = {member.name: _member(tar, member.name) for member in tar}
        check_snapshot(parts["vault.snap"], source=str(self.directory / SNAPSHOT))
        return parts["vault.snap"], Contents.from_json(parts["contents.json"])

    def open_keys(self, opener: Opener) -> Keys:
        """The unseal keys and tokens.

        Raises:
            StackError: This backup has none, or the file is damaged.
            HarnessError: It does not open with that.
        """
        data = json.loads(self._decrypted(KEYRING, opener))
        keyring = Keyring.from_json(data, source=self.directory / KEYRING)
        return Keys(keyring, str(data["operator_token"]))

    def _decrypted(self, name: str, opener: Opener) -> bytes:
        if name not in self.checksums:
            raise StackError(
                f"this backup has no {name}",
                looked_at=f"{self.directory / MANIFEST}: {', '.join(self.checksums)}",
                remedy="Take another one, or the folder where that part is kept.",
            )
        self.check_files()
        return opener.decrypt((self.directory / name).read_bytes(), source=name)


def write_backup(
    directory: Path,
    name: str,
    lock: Lock,
    *,
    product: str,
    version: str,
    snapshot: tuple[bytes, Contents] | None,
    keys: Keys | None,
    checkpoint: Callable[[str], None] = lambda _step: None,
) -> Backup:
    """Write a backup so that it is there complete, or not at all.

    Args:
        directory: Where backups are; a new folder is made in it.
        name: Of the folder.
        lock: Who can open it.
        product: Of the server.
        version: Of the server.
        snapshot: The raft snapshot and the digests.
        keys: The unseal keys and tokens.
        checkpoint: Called after each step.
    """
    files.private_directory(directory)
    for left in directory.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left)  # of a run that was ended half-way
    unfinished = files.private_directory(directory / f"{_UNFINISHED}{name}")
    parts: dict[str, bytes] = {}
    if snapshot is not None:
        parts[SNAPSHOT] = lock.encrypt(_tar(snapshot[0], snapshot[1]))
    if keys is not None:
        parts[KEYRING] = lock.encrypt(_keys_bytes(keys))
    for part, data in parts.items():
        files.write_private(unfinished / part, data)
        checkpoint(f"wrote {part}")
    manifest = {
        "format": _FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "product": product,
        "version": version,
        "locked_with": lock.kind,
        "checksums": {part: hashlib.sha256(data).hexdigest() for part, data in parts.items()},
        "secrets": len(snapshot[1].secrets) if snapshot is not None else 0,
    }
    files.write_private(unfinished / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    checkpoint("wrote the manifest")
    finished = directory / name
    unfinished.rename(finished)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Backup.load(finished)


def list_backups(directory: Path) -> list[Backup]:
    """Every finished backup in a folder, newest first."""
    found = []
    for path in directory.glob(f"*/{MANIFEST}"):
        if not path.parent.name.startswith(_UNFINISHED):
            with contextlib.suppress(StackError):
                found.append(Backup.load(path.parent))
    return sorted(found, key=lambda backup: (backup.made, backup.directory.name), reverse=True)


def check_snapshot(raw: bytes, *, source: str) -> None:
    """See that a raft snapshot is whole: its archive lists the checksums of its parts.

    Raises:
        HarnessError: It is not.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:gz") as tar:
            sums = _member(tar, "SHA256SUMS").decode().splitlines()
            wrong = [
                name
                for wanted, name in (line.split() for line in sums)
                if hashlib.sha256(_member(tar, name)).hexdigest() != wanted
            ]
        if not wrong and sums:
            return
        reason = f"{', '.join(wrong)} is damaged" if wrong else "it lists no checksums"
    except (tarfile.TarError, KeyError, ValueError, OSError, EOFError) as error:
        reason = str(error)
    raise HarnessError(
        f"the raft snapshot is not whole: {reason}",
        looked_at=source,
        remedy="Make the backup again, or take another one.",
    )


def _tar(snapshot: bytes, contents: Contents) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in (("vault.snap", snapshot), ("contents.json", contents.to_json())):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read()


def _keys_bytes(keys: Keys) -> bytes:
    """As `Keyring.save` writes it, so that what ``age -d`` gives back can be used as it is."""
    content = {"operator_token": keys.operator_token, **keys.keyring.to_json()}
    return json.dumps(content, indent=2).encode() + b"\n"
