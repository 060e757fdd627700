"""All mutants by name. Each name says the defect, and each group of scenarios has its modules."""

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
"""The modules ``GROUP.py`` and ``GROUP_TOPIC.py``, with ``MUTANTS`` and perhaps ``TOLERATED``."""

CATALOGUE: dict[str, Mutant] = {
    name: mutant for module in MODULES for name, mutant in module.MUTANTS.items()
}
"""Clients that the suite must catch, each by the scenario that it names."""

TOLERATED: dict[str, Tolerated] = {
    name: client for module in MODULES for name, client in getattr(module, "TOLERATED", {}).items()
}
"""Clients at the edge of what is allowed. The scenario that each names must pass it."""

UNBROKEN: dict[str, str] = {one.scenario: one.base for one in reversed(CATALOGUE.values())}
"""By scenario, the correct client from which the first of its mutants deviates."""


def group_of(scenario: str) -> str:
    """Return the group of a scenario's id."""
    return scenario.partition("-")[0]
