"""All mutants by name, and every name says the fault. One module a group of scenarios."""

from __future__ import annotations

from types import ModuleType

from tests.mutants import (
    agt,
    fbk,
    h2,
    ha,
    iso,
    jwt,
    kv,
    lease,
    net,
    nsp,
    ops,
    pol,
    prc,
    rst,
    sea,
    sid,
    srv,
    tkf,
    tls,
    tok,
    usl,
)
from tests.mutants.clients import Mutant, Tolerated

MODULES: tuple[ModuleType, ...] = (
    agt,
    fbk,
    h2,
    ha,
    iso,
    jwt,
    kv,
    lease,
    net,
    nsp,
    ops,
    pol,
    prc,
    rst,
    sea,
    sid,
    srv,
    tkf,
    tls,
    tok,
    usl,
)
"""Each has ``MUTANTS``, and ``TOLERATED`` if it likes, of the group that it is named after."""

CATALOGUE: dict[str, Mutant] = {
    name: mutant for module in MODULES for name, mutant in module.MUTANTS.items()
}
"""Clients that the suite must catch, each by the scenario that it names."""

TOLERATED: dict[str, Tolerated] = {
    name: client for module in MODULES for name, client in getattr(module, "TOLERATED", {}).items()
}
"""Clients at the very edge of what is allowed; the scenario that they name must pass them."""

UNBROKEN: dict[str, str] = {one.scenario: one.base for one in reversed(CATALOGUE.values())}
"""By scenario the correct client, as a subject, from which the first of its mutants deviates."""


def group_of(scenario: str) -> str:
    """The group of a scenario's id."""
    return scenario.partition("-")[0]
