"""Each oracle can find fault: at least two mutants are there for it."""

from __future__ import annotations

import inspect

import pytest

from tests.mutants.catalogue import CATALOGUE
from tests.mutants.oracles import ALWAYS, LEAST, SAYS, asked, mutants_of
from vault_harness.scenario import oracles
from vault_harness.scenario.oracles import standing

ASKED = asked()

ALL = {
    name
    for module, names in ((oracles, oracles.__all__), (standing, vars(standing)))
    for name in names
    if not name.startswith("_")
    and inspect.isfunction(factory := getattr(module, name))
    and inspect.signature(factory).return_annotation == "Oracle"
}


def test_no_oracle_is_forgotten() -> None:
    """A new one needs its words, and its mutants."""
    assert set(SAYS) == ALL
    assert ALWAYS <= ALL


@pytest.mark.parametrize("oracle", sorted(SAYS))
def test_each_oracle_has_two_mutants(oracle: str) -> None:
    """One alone may be caught by chance, or for something else that it does."""
    assert len(found := mutants_of(oracle, ASKED)) >= LEAST, f"{oracle} has {found}"


@pytest.mark.parametrize("oracle", sorted(set(SAYS) - ALWAYS))
def test_each_oracle_is_asked(oracle: str) -> None:
    """What no scenario asks could say anything."""
    assert any(oracle in names for names in ASKED.values())


def test_each_scenario_with_a_mutant_is_read() -> None:
    """A scenario whose oracles are not found here would count for none of them."""
    assert {mutant.scenario for mutant in CATALOGUE.values()} <= set(ASKED)
