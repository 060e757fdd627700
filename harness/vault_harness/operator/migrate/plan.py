"""Plan what a migration writes, and find values that somebody else wrote."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vault_harness import urls
from vault_harness.errors import OperatorError, SettingsError, without_frames
from vault_harness.local.blueprint import Blueprint, Value
from vault_harness.local.vault.kv import Kv, SecretVersion, stored_size
from vault_harness.operator.migrate.dotenv import DotEnv
from vault_harness.operator.migrate.doubts import Note
from vault_harness.operator.rotate import known_targets

_GUIDE = Path(__file__).with_name("guide.toml")
_PATH = re.compile(r"[^/:*\s]+(?:/[^/:*\s]+)*\Z")


@dataclass(frozen=True, order=True)
class Place:
    """One key of one secret; its path has no ``data/``: ``backend/django``."""

    path: str
    key: str

    def __str__(self) -> str:
        return f"{self.path}:{self.key}"


@dataclass(frozen=True)
class VariableMap:
    """Where variables belong.

    Attributes:
        prefixes: Start of a name to path. An exact name wins, then the longest prefix.
        outside: Variables that stay in the environment on purpose.
    """

    names: Mapping[str, Place] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    outside: frozenset[str] = frozenset()

    @classmethod
    def guide(cls, *, paths: Iterable[str] | None = None) -> VariableMap:
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
        places: dict[str, list[str]] = {}
        for path, keys in secrets.items():
            for key in keys:
                places.setdefault(key, []).append(path)
        return cls({key: Place(paths[0], key) for key, paths in places.items() if len(paths) == 1})

    def before(self, other: VariableMap) -> VariableMap:
        """Merge both maps; this one wins."""
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
    """Read a map, merged with the default one unless it says ``only = true``."""
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
        raise _wrong(path, f"it has an unknown part: {', '.join(sorted(unknown))}")
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


Action = Literal["create", "change", "unchanged", "conflict"]

_PLACEHOLDER = re.compile(r"\{[^{}]+\}")


@dataclass(frozen=True)
class Placement:
    """Where one variable goes.

    `action` is ``conflict`` if Vault has another value that neither seeding nor an earlier
    migration wrote.
    """

    name: str
    target: Place
    value: str = field(repr=False)
    action: Action
    why: str = ""

    @property
    def writes(self) -> bool:
        return self.action in {"create", "change"}


@dataclass(frozen=True)
class Plan:
    """What a migration would do.

    Attributes:
        versions: By path, the latest one when the plan was made; 0 for none.
        unknown: Variables without a place.
    """

    placements: tuple[Placement, ...]
    versions: Mapping[str, int]
    unknown: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def conflicts(self) -> tuple[Placement, ...]:
        """They would overwrite somebody's value."""
        return tuple(each for each in self.placements if each.action == "conflict")

    def of_path(self, path: str) -> tuple[Placement, ...]:
        return tuple(each for each in self.placements if each.target.path == path)


@without_frames
def make_plan(
    kv: Kv,
    dotenv: DotEnv,
    variables: VariableMap,
    *,
    written: Mapping[str, int] | None = None,
    blueprint: Blueprint | None = None,
    overwrite: bool = False,
) -> Plan:
    """Compare a dotenv file with Vault.

    If a value changes, seeded values that contain it, such as a URL, change too, unless the file
    sets them.

    Args:
        blueprint: What Vault was seeded with. Seeded values may be replaced, but not by empty ones.
    """
    placed, unknown, outside = _placed(dotenv, variables)
    there = _There(kv, written or {}, blueprint, overwrite)
    placements = [
        Placement(name, target, value, *there.action(target, value))
        for name, (target, value) in sorted(placed.items(), key=lambda each: each[1][0].path)
    ]
    placements += there.made_of(placements)
    notes = sorted(
        (*dotenv.notes, *there.contradictions(dotenv, placements)), key=lambda note: note.line
    )
    versions = {each.target.path: there.read(each.target.path).version for each in placements}
    there.check_sizes(placements)
    return Plan(tuple(placements), versions, unknown, outside, tuple(notes))


def _placed(
    dotenv: DotEnv, variables: VariableMap
) -> tuple[dict[str, tuple[Place, str]], tuple[str, ...], tuple[str, ...]]:
    placed: dict[str, tuple[Place, str]] = {}
    unknown: list[str] = []
    outside: list[str] = []
    owner: dict[Place, str] = {}
    for name, variable in dotenv.variables.items():
        target = variables.target(name)
        if target is None:
            (outside if name in variables.outside else unknown).append(name)
            continue
        other = owner.setdefault(target, name)
        if other != name and dotenv.variables[other].value != variable.value:
            raise SettingsError(
                f"{other} and {name} both belong at {target} and have different values",
                looked_at=f"lines {dotenv.variables[other].line} and {variable.line}",
                remedy="Remove one of them, or give one another place with --map.",
            )
        try:
            variable.value.encode()
        except UnicodeEncodeError:  # not chained, since it holds the value
            raise SettingsError(
                f"line {variable.line}: {name} would have bytes that are not text",
                looked_at="the variables of the environment that it names",
                remedy="Give these UTF-8 values, or run it without --interpolate.",
            ) from None
        placed[name] = (target, variable.value)
    return placed, tuple(unknown), tuple(outside)


class _There:
    """The content of Vault, and who wrote it; see `make_plan`."""

    def __init__(
        self, kv: Kv, written: Mapping[str, int], blueprint: Blueprint | None, overwrite: bool
    ) -> None:
        self._kv = kv
        self._written = written
        self._secrets = blueprint.secrets.get(kv.mount, {}) if blueprint else {}
        self._overwrite = overwrite
        self._known: dict[tuple[str, int | None], SecretVersion] = {}

    def read(self, path: str, version: int | None = None) -> SecretVersion:
        if (path, version) not in self._known:
            self._known[path, version] = self._kv.read(path, version=version)
        return self._known[path, version]

    def action(self, target: Place, value: str) -> tuple[Action, str]:
        now = self.read(target.path)
        if target.key not in now.data:
            return "create", ""
        current = now.data[target.key]
        if current == value:
            return "unchanged", ""
        if self._overwrite or self._is_ours(target, current):
            return "change", ""
        # A placeholder is unchanged since seeding.
        if self.read(target.path, 1).data.get(target.key) != current or not self.seeded(
            target, str(current)
        ):
            return "conflict", f"version {now.version} of {target.path} has another {target.key}"
        if not value:
            return "conflict", f"it is empty, and {target.path} has the blueprint's value"
        return "change", ""

    def _is_ours(self, target: Place, current: object) -> bool:
        written = self._written.get(target.path, 0)
        if not 0 < written <= self.read(target.path).version:
            return False
        return self.read(target.path, written).data.get(target.key) == current

    def seeded(self, target: Place, value: str) -> bool:
        """Return whether seeding may have written a value.

        Literal text must be equal. A generated value must have the right prefix, length and
        alphabet, a template its fixed parts. A value from an environment variable counts as written
        by somebody.
        """
        spec = self._secrets.get(target.path, {}).get(target.key)
        return spec is not None and re.fullmatch(_pattern(spec), value, re.DOTALL) is not None

    def made_of(self, placements: Iterable[Placement]) -> Iterator[Placement]:
        """Find unchanged seeded values that contain a value of the plan."""
        planned = {each.target: each for each in placements}
        for path, secret in self._secrets.items():
            for key, spec in secret.items():
                target, references = Place(path, key), spec.references(path)
                parts = [planned.get(Place(*each)) for each in references]
                if target in planned or not any(part and part.writes for part in parts):
                    continue
                known = {
                    place: self.read(place[0]).data.get(place[1], "")
                    if part is None or part.action == "conflict"
                    else part.value
                    for place, part in zip(references, parts, strict=True)
                }
                current = str(self.read(path).data.get(key, ""))
                made = spec.fill(path, known)
                if current != made and self.seeded(target, current):
                    why = f"made of {', '.join(name for _, name in references)}"
                    yield Placement(key, target, made, "change", why)

    def contradictions(self, dotenv: DotEnv, placements: Iterable[Placement]) -> Iterator[Note]:
        """Find URLs in the file with another password than the secret has."""
        new = {each.target: each.value for each in placements if each.action != "conflict"}
        for account in known_targets().values():
            if account.server is None:
                continue
            data = self.read(account.path).data
            password, own = (
                str(new.get(Place(account.path, key), data.get(key, "")))
                for key in (account.key, account.user_key)
            )
            for name, variable in dotenv.variables.items():
                for url in urls.each(variable.value):
                    user, found = urls.read_login(url)
                    if urls.server_of(url) != account.server or urls.is_of_another(
                        url, user, own=own, kind=account.server
                    ):
                        continue
                    if password and found != password:
                        yield Note(
                            variable.line,
                            name,
                            f"clients read another password in it than {account.key} has; in a URL "
                            "special characters are percent-encoded (%2F for /); taken as written",
                        )

    def check_sizes(self, placements: Iterable[Placement]) -> None:
        """Refuse a secret that is too large, before anything is written."""
        writing: dict[str, list[Placement]] = {}
        for each in placements:
            if each.writes:
                writing.setdefault(each.target.path, []).append(each)
        limit, why = self._kv.limit()
        for path, ours in writing.items():
            new = {each.target.key: each.value for each in ours}
            size = stored_size({**self.read(path).data, **new})
            if size > limit:
                largest = max(ours, key=lambda each: len(each.value))
                own = len(largest.value.encode())
                raise OperatorError(
                    f"{largest.name} is too large: it has {own} bytes, {self._kv.mount}/{path} "
                    f"would have {size} with all of its keys, and this Vault takes {limit}",
                    looked_at=why,
                    remedy="Split it over several paths with --map, or keep the file elsewhere, "
                    "encrypted, and its key in Vault. Nothing was changed.",
                )


def _pattern(spec: Value) -> str:
    if spec.value is not None:
        return re.escape(str(spec.value))
    if spec.template is not None:
        return ".*".join(re.escape(part) for part in _PLACEHOLDER.split(spec.template))
    alternatives = [] if spec.default is None else [re.escape(str(spec.default))]
    if spec.generate is not None:
        alphabet = "".join(re.escape(character) for character in spec.characters)
        alternatives.append(f"{re.escape(spec.prefix)}[{alphabet}]{{{spec.generate}}}")
    return "|".join(f"(?:{each})" for each in alternatives) or r"(?!)"
