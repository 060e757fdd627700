"""A backup on disk: a folder with a manifest, and one encrypted file for each part.

``snapshot.age`` holds the raft snapshot and a digest of each secret, ``keyring.age`` the unseal
keys: two files, so that they can be kept in two places. ``manifest.json`` holds no secret: when, of
what, and the checksums.
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
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.errors import HarnessError, StackError
from vault_harness.vault.backup._contents import Contents
from vault_harness.vault.backup._lock import Opener
from vault_harness.vault.keyring import Keyring

MANIFEST = "manifest.json"
SNAPSHOT = "snapshot.age"
KEYRING = "keyring.age"
FORMAT = 1
UNFINISHED = ".unfinished-"
_NAMED = 5  # of those that are in a folder
_CLOCKS_APART = timedelta(minutes=15)
"""By how much two machines may differ that make backups, and look for them."""


@dataclass(frozen=True)
class Keys:
    """What opens a Vault. Never shown by ``repr``.

    Attributes:
        keyring: Unseal keys, and the root token if there is one.
        operator_token: The operator's, if there is one: without it and without root, OpenBao makes
            no new root token, even for the unseal keys.
        static_key: Of the static seal, base64; empty for a Vault of another seal. What the holder
            of a transit seal has is no part of a backup: it gives its key to nobody.
    """

    keyring: Keyring = field(repr=False)
    operator_token: str = field(default="", repr=False)
    static_key: str = field(default="", repr=False)


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
        vault: The cluster id of the Vault that it is of, empty if that could not be asked.
        number: Its place among the backups of its folder, counted: the clock may have been wrong.
            0 in those of earlier releases.
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
        """Read the manifest of a backup.

        Raises:
            StackError: There is none.
            OSError: It may not be read.
        """
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
        """Whether it has that part, and the part is in its folder."""
        return part in self.checksums and (self.directory / part).is_file()

    @without_frames
    def check_files(self, *, keyring: Path | None = None) -> tuple[str, ...]:
        """See that the files that are here are undamaged; needs no key.

        Args:
            keyring: Where ``keyring.age`` is kept, if not in the backup's folder.

        Returns:
            Parts that are not here: they may be kept in another place, as they should.

        Raises:
            StackError: One was changed, or none is here; or the file that was named is not there,
                or not this backup's.
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
    def open_snapshot(self, opener: Opener) -> tuple[bytes, Contents]:
        """The raft snapshot and the digests, checked against their own checksums too.

        Raises:
            StackError: This backup has none, or a file of it is damaged.
            HarnessError: It does not open with that.
        """
        raw = self._decrypted(SNAPSHOT, opener, None)
        with _whole(str(self.directory / SNAPSHOT)):
            with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
                parts = {member.name: _member(tar, member.name) for member in tar}
            snapshot, contents = parts["vault.snap"], Contents.from_json(parts["contents.json"])
        check_snapshot(snapshot, source=str(self.directory / SNAPSHOT))
        # In backups of before the manifest alone has it.
        return snapshot, contents if contents.vault else replace(contents, vault=self.vault)

    @without_frames
    def open_keys(self, opener: Opener, *, file: Path | None = None) -> Keys:
        """The unseal keys and tokens.

        Args:
            opener: Opens them.
            file: Where ``keyring.age`` is kept, if not in the backup's folder.

        Raises:
            StackError: This backup has none, or the file is damaged or another backup's.
            HarnessError: It does not open with that.
        """
        return _keys(
            self._decrypted(KEYRING, opener, file), source=str(file or self.directory / KEYRING)
        )

    def _decrypted(self, name: str, opener: Opener, file: Path | None) -> bytes:
        path = self.directory / self._listed(name)
        return opener.decrypt(self._checked(name, file or path), source=name)

    def _listed(self, name: str) -> str:
        """The same name of a part, once it is known that the backup was made with it."""
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
    """The unseal keys of a ``keyring.age`` that is kept alone, without the folder it was made in.

    Raises:
        HarnessError: It cannot be read, does not open with that, or holds something else.
    """
    return _keys(opener.decrypt(_read_part(KEYRING, file), source=file.name), source=str(file))


def newest(directory: Path, part: str | None = None, *, vault: str = "") -> Backup:
    """The newest backup in a folder that has a part, here and not elsewhere.

    Stacks may share a folder: of several Vaults it is the one that is asked for, and where that
    has none, nobody guesses.

    Args:
        directory: Where backups are.
        part: ``snapshot.age`` or ``keyring.age``; None takes whichever is the newest.
        vault: The cluster id of the Vault that it should be of; empty if nobody can tell.

    Raises:
        StackError: There is none, or it could be one of several Vaults'; or the clock was wrong
            when one was made, or is now, and another one may be newer.
    """
    every = list_backups(directory)
    found = [backup for backup in every if part is None or backup.has(part)]
    own = [backup for backup in found if vault and backup.vault == vault]
    if own:
        return _surely_newest(own)
    vaults = {backup.vault for backup in found}
    # One that says nothing of its Vault may be another one's than those that do.
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
    """The first of these, which is the newest by its time, if nothing speaks against that.

    Numbers say nothing where two have the same: backups of several folders were brought together.

    Raises:
        StackError: It is of the future, or another one was made after it by a clock that was slow.
    """
    first = _of_the_past(found[0])
    numbers = [backup.number for backup in found if backup.number]
    last = max(found, key=lambda backup: backup.number)
    if not 0 < first.number < last.number or len(numbers) > len(set(numbers)):
        return first
    raise StackError(
        "by their times another backup is the newest than by their count: the clock was wrong when "
        "one of them was made, and nobody can tell which",
        looked_at=f"{first.directory}: {first.made:%Y-%m-%d %H:%M} UTC, number {first.number}; "
        f"{last.directory}: {last.made:%Y-%m-%d %H:%M} UTC, number {last.number}",
        remedy=f"Name the folder of one with --source: {named('backup.list')} shows them. The "
        "latter was made last, by its count.",
    )


def _of_the_past(newest: Backup) -> Backup:
    """The same, unless by its time it would be taken for the newest whatever was made since.

    Raises:
        StackError: It is of the future.
    """
    now = datetime.now(UTC)
    if newest.made <= now + _CLOCKS_APART:
        return newest
    raise StackError(
        "the newest backup is of the future: the clock was wrong when it was made, or is now, and "
        "nobody can tell whether one was made since",
        looked_at=f"{newest.directory}: {newest.made:%Y-%m-%d %H:%M} UTC; here it is "
        f"{now:%Y-%m-%d %H:%M} UTC",
        remedy="Set the clock if it is wrong here. Else name the folder of one with --source: "
        f"{named('backup.list')} shows them.",
    )


def _whose(backup: Backup) -> str:
    return f"{backup.directory.name} of {backup.vault or 'an unknown Vault'}"


def check_vault(backup: Backup, vault: str) -> None:
    """See that a backup can be a Vault's own: its keys would open no other one.

    Args:
        backup: Of which Vault it says that it is, or nothing of that.
        vault: The cluster id of the Vault that is here; empty if nobody can tell.

    Raises:
        StackError: It is another Vault's.
    """
    if vault and backup.vault and backup.vault != vault:
        raise StackError(
            "this backup is of another Vault than the one here, which its keys do not open; "
            "nothing was changed",
            looked_at=f"{backup.directory}: of Vault {backup.vault}; here is Vault {vault}",
            remedy=f"Name one of this Vault with --source: {named('backup.list')} shows of which "
            "Vault each is.",
        )


def list_backups(directory: Path) -> list[Backup]:
    """Every finished backup in a folder that may be read, newest first."""
    found = []
    for path in directory.glob(f"*/{MANIFEST}"):
        if not path.parent.name.startswith(UNFINISHED):
            with contextlib.suppress(StackError, PermissionError):  # another user's, on one disk
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
        # Not chained: a JSON error quotes what it could not read.
        raise HarnessError(
            "what it holds is not what a backup has there",
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
