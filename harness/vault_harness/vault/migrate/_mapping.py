"""Which variable of a dotenv file belongs to which secret: data, read from TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vault_harness.boundary import without_frames
from vault_harness.errors import SettingsError

_GUIDE = Path(__file__).with_name("guide.toml")
_PATH = re.compile(r"[^/:*\s]+(?:/[^/:*\s]+)*\Z")


@dataclass(frozen=True, order=True)
class Place:
    """One key of one secret.

    Attributes:
        path: Under the mount, without ``data/``, e.g. ``backend/django``.
        key: The name inside the secret.
    """

    path: str
    key: str

    def __str__(self) -> str:
        return f"{self.path}:{self.key}"


@dataclass(frozen=True)
class VariableMap:
    """Names and prefixes of variables, and where they belong.

    Attributes:
        names: Variable to target.
        prefixes: Start of a name to path; the longest that fits counts, and an exact name comes
            before it.
        outside: Variables that stay in the environment on purpose.
    """

    names: Mapping[str, Place] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    outside: frozenset[str] = frozenset()

    @classmethod
    def guide(cls, *, paths: Iterable[str] | None = None) -> VariableMap:
        """The map of the integration guide, cut down to ``paths`` where a blueprint has others."""
        whole, _ = _load(_GUIDE)
        if paths is None:
            return whole
        known = set(paths)
        return VariableMap(
            {name: target for name, target in whole.names.items() if target.path in known},
            {prefix: path for prefix, path in whole.prefixes.items() if path in known},
            whole.outside,
        )

    @classmethod
    def of_secrets(cls, secrets: Mapping[str, Iterable[str]]) -> VariableMap:
        """A map of every key that exactly one of these secrets (path to its keys) has."""
        places: dict[str, list[str]] = {}
        for path, keys in secrets.items():
            for key in keys:
                places.setdefault(key, []).append(path)
        return cls({key: Place(paths[0], key) for key, paths in places.items() if len(paths) == 1})

    def before(self, other: VariableMap) -> VariableMap:
        """Both, with this one's names and prefixes before the other's."""
        names = {
            name: target
            for name, target in other.names.items()
            if name not in self.outside and self._prefix(name) is None
        }
        return VariableMap(
            {**names, **self.names},
            {**other.prefixes, **self.prefixes},
            (other.outside - set(self.names)) | self.outside,
        )

    def target(self, name: str) -> Place | None:
        """Where a variable belongs, or None if nobody said."""
        if name in self.outside:
            return None
        if name in self.names:
            return self.names[name]
        path = self._prefix(name)
        return None if path is None else Place(path, name)

    def _prefix(self, name: str) -> str | None:
        fitting = [prefix for prefix in self.prefixes if name.startswith(prefix)]
        return self.prefixes[max(fitting, key=len)] if fitting else None


@without_frames
def load_map(path: Path, *, default: VariableMap) -> VariableMap:
    """A map from a file, before the default one unless the file says ``only = true``.

    Raises:
        SettingsError: It cannot be read, or a line makes no sense; the message names it.
    """
    own, only = _load(path)
    return own if only else own.before(default)


def _load(path: Path) -> tuple[VariableMap, bool]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"the map {path} cannot be read: {error.strerror}", remedy="Check --map."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(path, str(error)) from error
    unknown = set(data) - {"variables", "outside", "only"}
    if unknown:
        raise _wrong(path, f"it has a part that nobody reads: {', '.join(sorted(unknown))}")
    names: dict[str, Place] = {}
    prefixes: dict[str, str] = {}
    for name, where in _table(data, "variables", path).items():
        target_path, _, key = where.partition(":") if isinstance(where, str) else ("", "", "")
        prefix = name.endswith("*")
        if (
            not _PATH.match(target_path)
            or (prefix and key)
            or "*" in name.removesuffix("*")
            or not name.strip("*")
        ):
            raise _wrong(
                path, f'{name}: a path such as "backend/django", or "backend/django:KEY", is wanted'
            )
        if prefix:
            prefixes[name.removesuffix("*")] = target_path
        else:
            names[name] = Place(target_path, key or name)
    outside = _table(data, "outside", path).get("names", [])
    if not isinstance(outside, list) or not all(isinstance(name, str) for name in outside):
        raise _wrong(path, "outside.names: a list of names is wanted")
    return VariableMap(names, prefixes, frozenset(outside)), data.get("only") is True


def _table(data: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise _wrong(path, f"{name} must be a table: [{name}]")
    return table


def _wrong(path: Path, what: str) -> SettingsError:
    return SettingsError(
        f"the map {path} makes no sense: {what}",
        looked_at=str(path),
        remedy='Write lines such as DB_PASSWORD = "backend/database" under [variables].',
    )
