"""What a migration would write, and where it would overwrite what somebody else put there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from vault_harness.boundary import without_frames
from vault_harness.errors import SettingsError
from vault_harness.vault.kv import Kv
from vault_harness.vault.migrate._dotenv import DotEnv
from vault_harness.vault.migrate._doubts import Note
from vault_harness.vault.migrate._mapping import Place, VariableMap

Action = Literal["create", "change", "unchanged", "conflict"]

# path, key, value: whether seeding could have put that value there, see `vault.apply`.
Seeded = Callable[[str, str, str], bool]


@dataclass(frozen=True)
class Placement:
    """Where one variable goes.

    Attributes:
        name: The variable.
        target: Its place.
        value: Never shown by ``repr``.
        action: ``create``, ``change``, ``unchanged``, or ``conflict``: Vault has another value
            there, which neither seeding nor an earlier migration wrote.
        why: For a conflict, what was found.
    """

    name: str
    target: Place
    value: str = field(repr=False)
    action: Action
    why: str = ""


@dataclass(frozen=True)
class Plan:
    """What a migration would do.

    Attributes:
        placements: Each variable that has a place.
        versions: By path, the latest version that this plan was made against; 0 for none.
        unknown: Variables that nobody said a place for; they go nowhere.
        outside: Variables that stay in the environment on purpose.
        notes: What is unusual in the file.
    """

    placements: tuple[Placement, ...]
    versions: Mapping[str, int]
    unknown: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def conflicts(self) -> tuple[Placement, ...]:
        """Placements that would overwrite somebody's value."""
        return tuple(each for each in self.placements if each.action == "conflict")

    def of_path(self, path: str) -> tuple[Placement, ...]:
        """Placements of one secret."""
        return tuple(each for each in self.placements if each.target.path == path)


@without_frames
def make_plan(
    kv: Kv,
    dotenv: DotEnv,
    variables: VariableMap,
    *,
    written: Mapping[str, int] | None = None,
    seeded: Seeded = lambda _path, _key, _value: False,
    overwrite: bool = False,
) -> Plan:
    """Compare a dotenv file with what Vault has.

    Args:
        kv: Where it goes.
        dotenv: The file.
        variables: Which variable goes where.
        written: By path, the version that an earlier migration made.
        seeded: Whether a value may have come from seeding; such a value may be replaced.
        overwrite: Replace other values too.

    Raises:
        SettingsError: Two variables claim one place with different values.
        OperatorError: Vault cannot be read.
    """
    placed, unknown, outside = _placed(dotenv, variables)
    placements: list[Placement] = []
    versions: dict[str, int] = {}
    for path in sorted({target.path for target, _ in placed.values()}):
        here = {name: place for name, place in placed.items() if place[0].path == path}
        found, version = _of_path(
            kv, path, here, (written or {}).get(path, 0), seeded=seeded, overwrite=overwrite
        )
        placements += found
        versions[path] = version
    return Plan(tuple(placements), versions, unknown, outside, dotenv.notes)


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
        placed[name] = (target, variable.value)
    return placed, tuple(unknown), tuple(outside)


def _of_path(
    kv: Kv,
    path: str,
    here: Mapping[str, tuple[Place, str]],
    written: int,
    *,
    seeded: Seeded,
    overwrite: bool,
) -> tuple[list[Placement], int]:
    now = kv.read(path)
    ours = kv.read(path, version=written).data if 0 < written <= now.version else {}
    first: Mapping[str, object] | None = None
    placements = []
    for name, (target, value) in here.items():
        key, action, why = target.key, "change", ""
        current = now.data.get(key)
        if key not in now.data:
            action = "create"
        elif current == value:
            action = "unchanged"
        elif not overwrite and not (key in ours and ours[key] == current):
            if first is None:
                first = now.data if now.version == 1 else kv.read(path, version=1).data
            # Only what has stayed as seeding left it is a placeholder.
            if first.get(key) != current or not seeded(path, key, str(current)):
                action, why = "conflict", f"version {now.version} of {path} has another {key}"
        placements.append(Placement(name, target, value, action, why))  # type: ignore[arg-type]  # only the four words are assigned
    return placements, now.version
