"""The keys and root token of one cluster, their file, and a restore that has not finished."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from vault_harness import files
from vault_harness.errors import (
    HarnessError,
    KeyringMissing,
    StackError,
    named,
    without_frames,
)

FORMAT = 2
"""Format 1, without a number, is that of ``vault operator init -format=json``."""

_RESTORING = "restoring"
"""A backup's keys that are not in place yet."""

KeyKind = Literal["shamir", "recovery"]

_FIELDS: Mapping[KeyKind, tuple[str, str, str]] = {
    "shamir": ("unseal_keys_b64", "unseal_shares", "unseal_threshold"),
    "recovery": ("recovery_keys_b64", "recovery_keys_shares", "recovery_keys_threshold"),
}
"""Names of keys, shares and threshold in the file."""


@dataclass(frozen=True)
class Keyring:
    """The keys that ``init`` returns only once, the same for all nodes. Its repr shows no secret.

    Attributes:
        keys: Base64 as Vault prints them. Empty for an external Vault.
        root_token: Empty after it was revoked.
        kind: ``shamir`` keys unseal. ``recovery`` keys belong to a Vault that unseals itself, and
            only make a root token.
        ca_cert: None for plain HTTP and for certificates that the machine trusts.
    """

    keys: tuple[str, ...] = field(repr=False)
    threshold: int
    root_token: str = field(repr=False)
    kind: KeyKind = "shamir"
    ca_cert: Path | None = None

    @property
    def shares(self) -> int:
        return len(self.keys)

    @classmethod
    @without_frames
    def load(cls, path: Path) -> Keyring:
        """Read the file that `save` or ``vault operator init -format=json`` wrote.

        Raises:
            KeyringMissing: There is no such file.
            StackError: The file is no keyring, or a newer program wrote it.
            OSError: It may not be read, so its content is unknown.
        """
        try:
            content: Any = json.loads(path.read_text())
        except FileNotFoundError:
            away = files.leads_nowhere(path)
            where = f"is a link to {path.readlink()}, which is" if away else "is"
            raise KeyringMissing(
                f"the keyring {path.name} {where} not there",
                looked_at=str(path),
                remedy=("mount the disk that has it; otherwise " if away else "")
                + f"restore it from a backup: {named('restore.keys')}; without it nobody can "
                "unseal this Vault again",
            ) from None
        except ValueError:
            content = None
        return cls.from_json(content, source=path)

    @classmethod
    def from_json(cls, content: Any, *, source: Path) -> Keyring:
        """Make a keyring from what `to_json` returned. A CA file is beside `source`."""
        if isinstance(content, Mapping) and content.get("format", 1) not in (1, FORMAT):
            raise StackError(
                f"{source.name} has a format that this program does not know",
                looked_at=f"{source}: format {content['format']!r}, known are 1 to {FORMAT}",
                remedy="use the newer program that wrote it; the file is left as it is",
            )
        try:
            keyring = cls._of(content, source.parent)
        except (ValueError, KeyError, TypeError, AttributeError):
            keyring = cls((), 0, "")
        if not 0 < keyring.threshold <= keyring.shares:
            # Not chained: a JSON error quotes the text, which may be secret.
            raise StackError(
                f"{source.name} is not a keyring",
                looked_at=f"{source}: expected unseal_keys_b64, unseal_threshold, root_token",
                remedy=f"restore the right one from a backup: {named('restore.keys')}, which "
                "keeps a copy of this file",
            )
        return keyring

    @classmethod
    def _of(cls, content: Mapping[str, Any], directory: Path) -> Keyring:
        # The command line tool writes both lists, and leaves that of the other kind empty.
        kind: KeyKind = "recovery" if content.get("recovery_keys_b64") else "shamir"
        keys, _, threshold = _FIELDS[kind]
        ca_cert = content.get("ca_cert")
        return cls(
            keys=tuple(str(key) for key in content[keys]),
            threshold=int(content[threshold]),
            root_token=str(content.get("root_token") or ""),
            kind=kind,
            ca_cert=directory / ca_cert if ca_cert else None,
        )

    def to_json(self, directory: Path | None = None) -> dict[str, Any]:
        """Return what `save` writes, with secrets, in the terms of Vault's own CLI.

        A CA file below `directory` gets a relative path, so that the folder can be moved.
        """
        keys, shares, threshold = _FIELDS[self.kind]
        content: dict[str, Any] = {
            "format": FORMAT,
            keys: list(self.keys),
            shares: self.shares,
            threshold: self.threshold,
            "root_token": self.root_token,
        }
        if self.ca_cert is not None:
            inside = directory is not None and self.ca_cert.is_relative_to(directory)
            ca_cert = self.ca_cert.relative_to(cast("Path", directory)) if inside else self.ca_cert
            content["ca_cert"] = str(ca_cert)
        return content

    def save(self, path: Path) -> None:
        """Write it with mode 0600. A link stays a link, for keys on another disk."""
        files.write_private(
            files.led_to(path), json.dumps(self.to_json(path.parent), indent=2) + "\n"
        )

    def without_root(self) -> Keyring:
        return replace(self, root_token="")


def unfinished_keyring(keyring_path: Path) -> Path:
    """Return the file in which an unfinished restore notes the keys of its backup.

    It is beside the keyring's target, so that no keys lie on the disk of the data. An earlier
    release left it beside a link.
    """
    places = (keyring_path, files.led_to(keyring_path))
    here, there = (path.with_name(f"{path.name}.{_RESTORING}") for path in places)
    return here if here.exists() else there


def keep_beside(path: Path) -> Path:
    """Give a file that may hold keys a second name with the time, and return that.

    For a link, the second name is beside the target: keys on another disk must not go to the disk
    of the data.
    """
    place = files.led_to(path)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in itertools.count():
        kept = place.with_name(f"{place.name}.{stamp}" + (f".{number}" if number else ""))
        with contextlib.suppress(FileExistsError):
            _give_name(place, kept)
            return kept
    raise AssertionError  # there is always another number


def _give_name(path: Path, name: Path) -> None:
    try:
        os.link(path, name)
    except FileExistsError:
        raise
    except OSError:  # its file system has no hard links
        if name.exists():
            raise FileExistsError(name) from None
        files.write_private(name, path.read_bytes())


SOURCE = "source"
"""Field of the note: the folder of the backup."""


@dataclass(frozen=True)
class UnfinishedRestore:
    """A restore that was interrupted or still runs. The files do not tell which.

    Attributes:
        source: Empty if an earlier release noted none.
        keys_here: Whether the keyring has the backup's keys. Else perhaps no present key opens
            Vault.
    """

    note: Path
    source: str
    keys_here: bool

    def is_of(self, keyring: Keyring) -> bool:
        try:
            return Keyring.load(self.note).keys == keyring.keys
        except HarnessError:
            return False

    @property
    def command(self) -> str:
        """The command that continues it, without options that were not noted."""
        return named("restore", *(("--source", self.source) if self.source else ()))

    @property
    def remedy(self) -> str:
        """Advice to continue. It replaces nothing in a Vault that is not empty."""
        again = f"{self.command} again, with the same other options as before: it continues"
        return again if self.keys_here else f"{again} from there; then {named('up')}"

    @property
    def otherwise(self) -> str:
        return (
            f"To drop it: {named('down')}, then {named('up')}, which says whether the backup is "
            "in, and changes nothing if it is not"
        )


def unfinished_restore(keyring_path: Path) -> UnfinishedRestore | None:
    note = unfinished_keyring(keyring_path)
    try:
        content: Any = json.loads(note.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        content = None  # notes are written atomically, so this file is not one
    source = content.get(SOURCE) if isinstance(content, Mapping) else None
    return UnfinishedRestore(note, str(source or ""), _same_keys(note, keyring_path))


def _same_keys(note: Path, keyring_path: Path) -> bool:
    try:
        return Keyring.load(note).keys == Keyring.load(keyring_path).keys
    except HarnessError:
        return False  # an invalid keyring opens nothing
