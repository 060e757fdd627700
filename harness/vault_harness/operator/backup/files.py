"""Read a backup: a folder with a manifest and one encrypted file for each part.

``snapshot.age`` has the raft snapshot and a digest of each secret. ``keyring.age`` has the unseal
keys, so that you can keep them in another place. ``manifest.json`` has no secret.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vault_harness import files
from vault_harness.errors import HarnessError, StackError, named, without_frames
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup.contents import Contents
from vault_harness.operator.backup.lock import Opener

MANIFEST = "manifest.json"
SNAPSHOT = "snapshot.age"
KEYRING = "keyring.age"
FORMAT = 1
UNFINISHED = ".unfinished-"
_NAMED = 5  # in a message
_CLOCKS_APART = timedelta(minutes=15)
"""Between the machines that make and read backups."""


@dataclass(frozen=True)
class Keys:
    """The keys and tokens that open a Vault. Never shown by ``repr``.

    Attributes:
        operator_token: With neither this nor a root token, OpenBao makes no new root token, even
            from the unseal keys.
        static_key: Of the static seal, base64. A backup cannot hold the key of a transit seal,
            since the holder never gives it out.
    """

    keyring: Keyring = field(repr=False)
    operator_token: str = field(default="", repr=False)
    static_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Opened:
    """A decrypted backup, without secrets in its ``repr``. `source` is its folder."""

    snapshot: bytes = field(repr=False)
    contents: Contents
    keys: Keys
    source: str = ""


@dataclass(frozen=True)
class Backup:
    """A finished backup.

    Attributes:
        secrets: How many; 0 for a backup of keys alone.
        vault: Cluster id, or "".
        number: Counts a folder's backups, since the clock may be wrong. 0 in backups of earlier
            releases.
    """

    directory: Path
    made: datetime
    product: str
    version: str
    locked_with: str
    checksums: Mapping[str, str]
    secrets: int = 0
    vault: str = ""
    number: int = 0

    @classmethod
    def load(cls, directory: Path) -> Backup:
        try:
            data = json.loads((directory / MANIFEST).read_text())
            if data["format"] != FORMAT:
                raise ValueError
            return cls(
                directory,
                datetime.fromisoformat(data["made"]),
                data["product"],
                data["version"],
                data["locked_with"],
                dict(data["checksums"]),
                int(data["secrets"]),
                str(data.get("vault", "")),
                int(data.get("number", 0)),
            )
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            raise StackError(
                f"{directory} is not a backup",
                looked_at=str(directory / MANIFEST),
                remedy=f"Name the folder of one with --source: {named('backup.list')} shows them.",
            ) from None

    def has(self, part: str) -> bool:
        return part in self.checksums and (self.directory / part).is_file()

    @without_frames
    def check_files(self, *, keyring: Path | None = None) -> tuple[str, ...]:
        """Check that the present files are undamaged; no key is needed.

        Return the missing parts, which may be kept elsewhere. ``keyring`` is the path of a
        ``keyring.age`` elsewhere.
        """
        given = {} if keyring is None else {self._listed(KEYRING): keyring}
        away = tuple(name for name in self.checksums if name not in given and not self.has(name))
        here = [(name, self.directory / name) for name in self.checksums if self.has(name)]
        for name, path in (*here, *given.items()):
            self._checked(name, path)
        if len(away) == len(self.checksums):
            raise StackError(
                "no part of this backup is here",
                looked_at=f"{self.directory}: {', '.join(away)}",
                remedy="Fetch them from where they are kept, or take another backup.",
            )
        return away

    @without_frames
    def open(self, opener: Opener, *, keyring: Path | None = None) -> Opened:
        """Decrypt snapshot and keys. ``keyring`` is the path of a ``keyring.age`` elsewhere."""
        snapshot, contents = self.open_snapshot(opener)
        keys = self.open_keys(opener, file=keyring)
        return Opened(snapshot, contents, keys, str(self.directory.absolute()))

    @without_frames
    def open_snapshot(self, opener: Opener) -> tuple[bytes, Contents]:
        """Decrypt the raft snapshot and the digests, and check their own checksums too."""
        raw = self._decrypted(SNAPSHOT, opener, None)
        with _whole(str(self.directory / SNAPSHOT)):
            with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
                parts = {member.name: _member(tar, member.name) for member in tar}
            snapshot, contents = parts["vault.snap"], Contents.from_json(parts["contents.json"])
        check_snapshot(snapshot, source=str(self.directory / SNAPSHOT))
        # In older backups only the manifest has the cluster id.
        return snapshot, contents if contents.vault else replace(contents, vault=self.vault)

    @without_frames
    def open_keys(self, opener: Opener, *, file: Path | None = None) -> Keys:
        """Decrypt the unseal keys and tokens. ``file`` is another path of ``keyring.age``."""
        return _keys(
            self._decrypted(KEYRING, opener, file), source=str(file or self.directory / KEYRING)
        )

    @without_frames
    def open_part(self, name: str, opener: Opener) -> bytes:
        return self._decrypted(name, opener, None)

    def _decrypted(self, name: str, opener: Opener, file: Path | None) -> bytes:
        path = self.directory / self._listed(name)
        return opener.decrypt(self._checked(name, file or path), source=name)

    def _listed(self, name: str) -> str:
        if name not in self.checksums:
            raise StackError(
                f"this backup has no {name}",
                looked_at=f"{self.directory / MANIFEST}: {', '.join(self.checksums)}",
                remedy=f"Take another one: {named('backup.list')} shows what each has.",
            )
        return name

    def _checked(self, name: str, path: Path) -> bytes:
        data = _read_part(name, path)
        if hashlib.sha256(data).hexdigest() != self.checksums[name]:
            raise StackError(
                f"{name} of this backup is damaged, or another backup's: its checksum is not the "
                "manifest's",
                looked_at=str(path),
                remedy="Take another copy of it, or another backup.",
            )
        return data


@without_frames
def open_keys_file(file: Path, opener: Opener) -> Keys:
    """Decrypt a ``keyring.age`` without the rest of its backup."""
    return _keys(opener.decrypt(_read_part(KEYRING, file), source=file.name), source=str(file))


def newest(directory: Path, part: str | None = None, *, vault: str = "") -> Backup:
    """Return the newest backup in a folder that has ``part``, or any part for None.

    Stacks may share a folder. The backups of ``vault`` count, a cluster id. If there is none of it,
    and some of several Vaults, this raises instead of guessing.
    """
    every = list_backups(directory)
    found = [backup for backup in every if part is None or backup.has(part)]
    own = [backup for backup in found if vault and backup.vault == vault]
    if own:
        return _surely_newest(own)
    vaults = {backup.vault for backup in found}
    # A backup without a cluster id may be of another Vault.
    if len(vaults - {""}) > 1 or (len(vaults) > 1 and not found[0].vault):
        raise StackError(
            "backups of several Vaults are in this folder, and nobody can tell which is meant",
            looked_at=f"{directory}: {', '.join(map(_whose, found[:_NAMED]))}",
            remedy=f"Name the folder of one with --source: {named('backup.list')} shows them, and "
            "of which Vault each is.",
        )
    if found:
        return _surely_newest(found)
    what = f"with {part} " if part is not None and every else ""
    raise StackError(
        f"there is no backup {what}in this folder",
        looked_at=f"{directory}, backups in it: {len(every)}",
        remedy="Name the folder of one with --source"
        + (", or the file with --keyring, if that part is kept elsewhere." if what else "."),
    )


def _surely_newest(found: Sequence[Backup]) -> Backup:
    """Return the newest by time, the first, unless the count contradicts the time.

    The count proves nothing if two backups have the same number: then folders were merged.
    """
    first = _of_the_past(found[0])
    numbers = [backup.number for backup in found if backup.number]
    last = max(found, key=lambda backup: backup.number)
    if not 0 < first.number < last.number or len(numbers) > len(set(numbers)):
        return first
    raise StackError(
        "the newest backup by time is not the newest by count: the clock was wrong when one of "
        "them was made",
        looked_at=f"{first.directory}: {first.made:%Y-%m-%d %H:%M} UTC, number {first.number}; "
        f"{last.directory}: {last.made:%Y-%m-%d %H:%M} UTC, number {last.number}",
        remedy=f"Name the folder of one with --source: {named('backup.list')} shows them. "
        "By count, the second one was made last.",
    )


def _of_the_past(newest: Backup) -> Backup:
    """Raise if its time is in the future, which hides newer ones."""
    now = datetime.now(UTC)
    if newest.made <= now + _CLOCKS_APART:
        return newest
    raise StackError(
        "the newest backup is dated in the future: the clock was wrong when it was made, or is "
        "wrong now, so a newer one may exist",
        looked_at=f"{newest.directory}: {newest.made:%Y-%m-%d %H:%M} UTC; here it is "
        f"{now:%Y-%m-%d %H:%M} UTC",
        remedy="Set the clock if it is wrong here. Else name the folder of one with --source: "
        f"{named('backup.list')} shows them.",
    )


def _whose(backup: Backup) -> str:
    return f"{backup.directory.name} of {backup.vault or 'an unknown Vault'}"


def check_vault(backup: Backup, vault: str) -> None:
    """Check that a backup may be of this Vault, since its keys would not open another one."""
    if vault and backup.vault and backup.vault != vault:
        raise StackError(
            "this backup is of another Vault, and its keys do not open the one here; "
            "nothing was changed",
            looked_at=f"{backup.directory}: of Vault {backup.vault}; here is Vault {vault}",
            remedy=f"Name one of this Vault with --source: {named('backup.list')} shows of which "
            "Vault each is.",
        )


def list_backups(directory: Path) -> list[Backup]:
    """Return every finished and readable backup, newest first."""
    found = []
    for path in directory.glob(f"*/{MANIFEST}"):
        if not path.parent.name.startswith(UNFINISHED):
            with contextlib.suppress(StackError, PermissionError):  # another user's, for example
                found.append(Backup.load(path.parent))
    return sorted(found, key=lambda backup: (backup.made, backup.directory.name), reverse=True)


def check_snapshot(raw: bytes, *, source: str) -> None:
    """Check that a raft snapshot is whole, by its own checksums."""
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


def _read_part(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        option = " and name it with --keyring" if name == KEYRING else ""
        raise StackError(
            f"{name} of this backup cannot be read: {error.strerror}",
            looked_at=files.told(path, "the file that --keyring names"),
            remedy=f"Fetch it from where that part is kept{option}, or take another backup.",
        ) from None


@contextlib.contextmanager
def _whole(source: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, KeyError, ValueError, TypeError, AttributeError):
        # Not chained: a JSON error quotes the text, which may be secret.
        raise HarnessError(
            "this file does not hold what a backup holds there",
            looked_at=source,
            remedy=f"Take another backup: {named('backup.list')} shows them.",
        ) from None


def _keys(raw: bytes, *, source: str) -> Keys:
    with _whole(source):
        data = json.loads(raw)
        return Keys(
            Keyring.from_json(data, source=Path(source)),
            str(data["operator_token"]),
            str(data.get("static_key", "")),
        )


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read()
