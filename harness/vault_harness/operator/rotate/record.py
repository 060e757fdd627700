"""What can be rotated, and the record of a rotation, with which a later run can finish it.

A target stands in a data file, or is any ``path:KEY``. A record holds no values: KV has them. It is
valid for one mount of one Vault and only for the value that the rotation wrote.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import string
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vault_harness.errors import SettingsError, StackError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.vault.kv import Kv, SecretVersion
from vault_harness.local.written_ahead import WrittenAhead
from vault_harness.urls import ServerKind

DIRECTORY = "rotations"

# RFC 7914's parameters for interactive use, about 50 ms. A rollback may return to a value that a
# person chose, which a plain hash would reveal.
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}


@dataclass
class RotationRecord:
    """A rotation of one value.

    Attributes:
        mount_uuid: Distinguishes mounts of the same name in different Vaults.
        before_created: When it was written, since numbers may occur again.
        previous: The finished record that this one replaces, and that a failure restores.
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
    ) -> RotationRecord:
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
        )

    def follow(self, earlier: RotationRecord | None) -> None:
        if earlier is not None:
            self.previous = {**asdict(earlier), "previous": None}

    def wrote(self, value: object) -> bool:
        return value is not None and hmac.compare_digest(self.digest, _digest(value, self.salt))

    def earlier(self, kv: Kv) -> object | None:
        """Return the replaced value; None if that version is gone, or its number is another's."""
        before = kv.read(self.path, version=self.before)
        return before.data.get(self.key) if before.created == self.before_created else None

    @property
    def settled(self) -> RotationRecord | None:
        """The newest finished rotation: this one, or the previous."""
        if self.state != "running":
            return self
        return None if self.previous is None else RotationRecord(**self.previous)

    def come_to_nothing(self, file: Path) -> None:
        if self.previous is None:
            _written_ahead(file).remove()
        else:
            RotationRecord(**self.previous).save(file)

    def save(self, file: Path) -> None:
        _written_ahead(file).write(asdict(self))


def record_file(directory: Path, kv: Kv, target: Target) -> Path:
    """Return a value's file, which is another for another Vault."""
    place = quote(f"{kv.mount}/{target.path}:{target.key}", safe=":")
    return directory / DIRECTORY / f"{kv.uuid()}-{place}.json"


def load(file: Path) -> RotationRecord | None:
    return _written_ahead(file).read()


def _written_ahead(file: Path) -> WrittenAhead[RotationRecord]:
    return WrittenAhead(file, RotationRecord, _refused)


def _refused(file: Path) -> StackError:
    return StackError(
        f"{file.name} is not a record of a rotation",
        looked_at=str(file),
        remedy=f"Move the file away: mv '{file}' '{file}.broken'. Then nobody can take that "
        "rotation back.",
    )


def _digest(value: object, salt: str) -> str:
    # The NUL keeps the number 1 apart from the text "1".
    text = value if isinstance(value, str) else f"\0{json.dumps(value, sort_keys=True)}"
    return hashlib.scrypt(text.encode(), salt=bytes.fromhex(salt), **_SCRYPT).hex()


# They need no quoting in URLs, connection strings and configuration files.
_ALPHABET = string.ascii_letters + string.digits
_DEFAULT_LENGTH = 32


@dataclass(frozen=True)
class Target:
    """One value to rotate.

    Attributes:
        user_key: The key of the same secret with the user's name.
        length: In characters, if the blueprint does not say.
    """

    name: str
    path: str
    key: str
    server: ServerKind | None = None
    user_key: str = ""
    length: int = _DEFAULT_LENGTH

    def new_value(self, blueprint: Blueprint | None, mount: str) -> str:
        if blueprint is not None:
            value = blueprint.secrets.get(mount, {}).get(self.path, {}).get(self.key)
            if value is not None and value.generated:
                return value.new()
        return "".join(secrets.choice(_ALPHABET) for _ in range(self.length))


def known_targets() -> dict[str, Target]:
    data: dict[str, dict[str, Any]] = tomllib.loads(
        Path(__file__).with_name("targets.toml").read_text(encoding="utf-8")
    )
    return {name: Target(name, **fields) for name, fields in data.items()}


def find_targets(wanted: str) -> list[Target]:
    """Return the targets for a name, ``all``, or ``path:KEY``."""
    known = known_targets()
    if wanted == "all":
        return list(known.values())
    if wanted in known:
        return [known[wanted]]
    found = re.fullmatch(r"([^/:\s]+(?:/[^/:\s]+)*):([^:\s]+)", wanted)
    if found:
        same = [t for t in known.values() if (t.path, t.key) == found.groups()]
        return same or [Target(wanted, found[1], found[2])]
    raise SettingsError(
        f"there is no secret to rotate called {wanted}",
        looked_at=f"known names: {', '.join(known)}, all",
        remedy="Give one of these, or a secret's key such as backend/django:SECRET_KEY.",
    )
