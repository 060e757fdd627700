"""Keys and root token of one cluster, and the file that holds them."""

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
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.errors import KeyringMissing, StackError

FORMAT = 2
"""Of the file. 1, which says no number, is that of ``vault operator init -format=json``."""

_RESTORING = "restoring"
"""After the keyring's own name: a file with those of a backup that is not in place yet."""

KeyKind = Literal["shamir", "recovery"]


@dataclass(frozen=True)
class Keyring:
    """What ``init`` hands out once and never again. Its repr shows no secret.

    Every node of a cluster takes the same keys.

    Attributes:
        keys: Shares, base64 as Vault prints them; empty for a Vault of somebody else.
        threshold: How many of them are needed.
        root_token: Empty once it is revoked.
        kind: What the shares are. ``shamir`` keys unseal; ``recovery`` keys belong to a Vault that
            unseals itself, and only make a root token.
        ca_cert: The certificate authority of the nodes' TLS certificates; None for plain HTTP and
            for certificates that the machine trusts anyway.
    """

    keys: tuple[str, ...] = field(repr=False)
    threshold: int
    root_token: str = field(repr=False)
    kind: KeyKind = "shamir"
    ca_cert: Path | None = None

    @property
    def shares(self) -> int:
        """How many shares there are."""
        return len(self.keys)

    @classmethod
    @without_frames
    def load(cls, path: Path) -> Keyring:
        """Read the file that `save` or ``vault operator init -format=json`` wrote.

        Raises:
            KeyringMissing: There is no such file.
            StackError: It is there but is no keyring, or one of a newer program.
            OSError: It may not be read: that says nothing of what it holds.
        """
        try:
            content: Any = json.loads(path.read_text())
        except FileNotFoundError:
            away = files.leads_nowhere(path)
            where = f"is a link to {path.readlink()}, which is" if away else "is"
            raise KeyringMissing(
                f"the keyring {path.name} {where} not there",
                looked_at=str(path),
                remedy=("mount the disk that has it; else " if away else "")
                + f"put it back from a backup: {named('restore.keys')}; without it nobody can "
                "unseal this Vault again",
            ) from None
        except ValueError:
            content = None
        return cls.from_json(content, source=path)

    @classmethod
    def from_json(cls, content: Any, *, source: Path) -> Keyring:
        """The keyring that the content of a file is; see `to_json`.

        Args:
            content: What the JSON holds.
            source: The file, for errors and for a CA certificate beside it.

        Raises:
            StackError: It is no keyring, or one of a newer program.
        """
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
            # No cause chained: a JSON error quotes what it could not read.
            raise StackError(
                f"{source.name} is not a keyring",
                looked_at=f"{source}: expected unseal_keys_b64, unseal_threshold, root_token",
                remedy=f"put the right one there from a backup: {named('restore.keys')}, which "
                "keeps this file aside",
            )
        return keyring

    @classmethod
    def _of(cls, content: Mapping[str, Any], directory: Path) -> Keyring:
        # The command line tool writes both lists, and the empty one is of the other kind.
        recovery = bool(content.get("recovery_keys_b64"))
        names = _RECOVERY if recovery else _SHAMIR
        ca_cert = content.get("ca_cert")
        return cls(
            keys=tuple(str(key) for key in content[names.keys]),
            threshold=int(content[names.threshold]),
            root_token=str(content.get("root_token") or ""),
            kind="recovery" if recovery else "shamir",
            ca_cert=directory / ca_cert if ca_cert else None,
        )

    def to_json(self, directory: Path | None = None) -> dict[str, Any]:
        """What `save` writes, secrets included, in the words of Vault's own command line.

        Args:
            directory: Where the file will be: a CA certificate below it is named from there, so
                that the whole folder can be moved.
        """
        names = _RECOVERY if self.kind == "recovery" else _SHAMIR
        content: dict[str, Any] = {
            "format": FORMAT,
            names.keys: list(self.keys),
            names.shares: self.shares,
            names.threshold: self.threshold,
            "root_token": self.root_token,
        }
        if self.ca_cert is not None:
            inside = directory is not None and self.ca_cert.is_relative_to(directory)
            ca_cert = self.ca_cert.relative_to(cast("Path", directory)) if inside else self.ca_cert
            content["ca_cert"] = str(ca_cert)
        return content

    def save(self, path: Path) -> None:
        """Write it safely (temporary name, fsync, rename), mode 0600.

        A link stays one: whoever keeps the keys on a disk of their own finds them there.
        """
        files.write_private(
            files.led_to(path), json.dumps(self.to_json(path.parent), indent=2) + "\n"
        )

    def without_root(self) -> Keyring:
        """The same after the root token was revoked."""
        return replace(self, root_token="")


def keyring_on_the_way(keyring_path: Path) -> Path:
    """Where a restore that is not done notes the keys of its backup: beside those that there are.

    Whoever has them on a disk of their own, where a link leads, wants none on the one of the data.
    What an earlier release has noted there stays until it is done.
    """
    places = (keyring_path, files.led_to(keyring_path))
    here, there = (path.with_name(f"{path.name}.{_RESTORING}") for path in places)
    return here if here.exists() else there


def keep_beside(path: Path) -> Path:
    """Give a file that may hold keys a second name, under which it stays when it is replaced.

    Nothing is overwritten: who needs the keys again finds them beside the keyring. Of a link that
    is beside what it leads to: whoever has the keys on a disk of their own, where `Keyring.save`
    puts those that replace them, wants those of before on the disk of the data as little.

    Returns:
        The second name: the first one with the time after it.
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
    """Give a file, which is no link, a second name.

    Raises:
        FileExistsError: There is a file of that name.
    """
    try:
        os.link(path, name)
    except FileExistsError:
        raise
    except OSError:  # its file system has no second names
        if name.exists():
            raise FileExistsError(name) from None
        files.write_private(name, path.read_bytes())


@dataclass(frozen=True)
class _Names:
    keys: str
    shares: str
    threshold: str


_SHAMIR = _Names("unseal_keys_b64", "unseal_shares", "unseal_threshold")
_RECOVERY = _Names("recovery_keys_b64", "recovery_keys_shares", "recovery_keys_threshold")
