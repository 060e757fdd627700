"""What a rotation leaves on disk, so that a later run can finish it or take it back.

There are no values in it: KV has them. A record holds for one mount of one Vault, and for the value
that the rotation wrote: it says nothing of a value that somebody put there since.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vault_harness import files
from vault_harness.errors import StackError
from vault_harness.vault.kv import Kv, SecretVersion
from vault_harness.vault.rotate._targets import Target

DIRECTORY = "rotations"

# RFC 7914's parameters for interactive use: some 50 ms. A value that a rollback returned to may be
# one that a person thought of, so a plain hash of it would give it away.
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}


@dataclass
class RotationRecord:
    """A rotation of one value.

    Attributes:
        mount: Where the secret is.
        mount_uuid: Tells this Vault's mount from one of the same name in another Vault.
        path: The secret.
        key: The key inside it.
        before: The version with the value that is replaced.
        before_created: When that version was written: numbers come again.
        salt: Of the digest, hexadecimal.
        digest: Of the new value.
        ends_as: What its state will be: ``done`` for a rotation, ``rolled back`` for taking one
            back.
        state: ``running``, ``done`` or ``rolled back``.
        previous: The finished record that this one replaces; it counts again if this one comes to
            nothing.
    """

    mount: str
    mount_uuid: str
    path: str
    key: str
    before: int
    before_created: str
    salt: str
    digest: str = field(repr=False)
    ends_as: str = "done"
    state: str = "running"
    previous: dict[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def begin(
        cls,
        kv: Kv,
        target: Target,
        now: SecretVersion,
        new: object,
        *,
        ends_as: str,
        previous: RotationRecord | None,
    ) -> RotationRecord:
        """The record of a rotation that replaces a version's value by ``new``."""
        salt = secrets.token_hex(16)
        return cls(
            mount=kv.mount,
            mount_uuid=kv.uuid(),
            path=target.path,
            key=target.key,
            before=now.version,
            before_created=now.created,
            salt=salt,
            digest=_digest(new, salt),
            ends_as=ends_as,
            previous=None if previous is None else {**asdict(previous), "previous": None},
        )

    def wrote(self, value: object) -> bool:
        """Whether a value is the one that this rotation wrote."""
        return value is not None and hmac.compare_digest(self.digest, _digest(value, self.salt))

    def earlier(self, kv: Kv) -> object | None:
        """The value that was replaced, as it was: a number is one.

        None if that version is gone or is another one now.
        """
        before = kv.read(self.path, version=self.before)
        return before.data.get(self.key) if before.created == self.before_created else None

    @property
    def settled(self) -> RotationRecord | None:
        """The newest rotation that came to an end: this one, or the one before it."""
        if self.state != "running":
            return self
        return None if self.previous is None else RotationRecord(**self.previous)

    def come_to_nothing(self, file: Path) -> None:
        """Put back what was there before this record."""
        if self.previous is None:
            file.unlink(missing_ok=True)
        else:
            RotationRecord(**self.previous).save(file)

    def save(self, file: Path) -> None:
        """Write it so that a crash leaves the state before or the state after."""
        files.private_directory(file.parent)
        files.write_private(file, json.dumps(asdict(self)) + "\n")


def record_file(directory: Path, kv: Kv, target: Target) -> Path:
    """Where the record of a value is: of another Vault's mount it is another file."""
    place = quote(f"{kv.mount}/{target.path}:{target.key}", safe=":")
    return directory / DIRECTORY / f"{kv.uuid()}-{place}.json"


def load(file: Path) -> RotationRecord | None:
    """The newest rotation of a value, or None.

    Raises:
        StackError: The file is not a record.
    """
    try:
        return RotationRecord(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise StackError(
            f"{file.name} is not a record of a rotation",
            looked_at=str(file),
            remedy=f"Move the file away: mv '{file}' '{file}.broken'. That rotation can then not "
            "be taken back.",
        ) from None


def _digest(value: object, salt: str) -> str:
    # A text is digested as it is; what is none cannot be taken for a text that looks like it.
    text = value if isinstance(value, str) else f"\0{json.dumps(value, sort_keys=True)}"
    return hashlib.scrypt(text.encode(), salt=bytes.fromhex(salt), **_SCRYPT).hex()
