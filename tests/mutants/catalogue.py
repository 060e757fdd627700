"""All mutants by name. Each name says the defect."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from tests.mutants.clients import Mutant, Tolerated

ROOT = Path(__file__).parents[2]

GROUPS = frozenset(
    path.stem.removeprefix("test_") for path in (ROOT / "scenarios").glob("test_*.py")
)

MODULES: tuple[ModuleType, ...] = tuple(
    import_module(f"tests.mutants.{path.stem}")
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if path.stem.partition("_")[0] in GROUPS
)
"""``GROUP.py`` and ``GROUP_TOPIC.py``, with ``MUTANTS`` and perhaps ``TOLERATED``."""

CATALOGUE: dict[str, Mutant] = {
    name: mutant for module in MODULES for name, mutant in module.MUTANTS.items()
}
"""The suite must catch each by the scenario that it names."""

TOLERATED: dict[str, Tolerated] = {
    name: client for module in MODULES for name, client in getattr(module, "TOLERATED", {}).items()
}
"""At the edge of what is allowed: the scenario that each names must pass it."""

UNBROKEN: dict[str, str] = {one.scenario: one.base for one in reversed(CATALOGUE.values())}
"""By scenario, the correct client from which its first mutant deviates."""


def group_of(scenario: str) -> str:
    return scenario.partition("-")[0]
