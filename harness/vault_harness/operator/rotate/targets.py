"""What can be rotated: the targets of a data file, and any ``path:KEY``."""

from __future__ import annotations

import re
import secrets
import string
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vault_harness.errors import SettingsError
from vault_harness.local.blueprint import Blueprint
from vault_harness.urls import ServerKind

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
