"""At least two mutants show that each oracle can find fault."""

from __future__ import annotations

import inspect

import pytest

from tests.mutants.catalogue import CATALOGUE
from tests.mutants.oracles import ALWAYS, LEAST, SAYS, asked, mutants_of
from vault_harness.judge import oracles
from vault_harness.judge.oracles import standing

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
    """A new oracle needs its words and its mutants."""
    assert set(SAYS) == ALL
    assert ALWAYS <= ALL


@pytest.mark.parametrize("oracle", sorted(SAYS))
def test_each_oracle_has_two_mutants(oracle: str) -> None:
    """A single mutant may be caught by chance, or for another fault."""
    assert len(found := mutants_of(oracle, ASKED)) >= LEAST, f"{oracle} has {found}"


@pytest.mark.parametrize("oracle", sorted(set(SAYS) - ALWAYS))
def test_each_oracle_is_asked(oracle: str) -> None:
    """Each oracle is asked by a scenario."""
    assert any(oracle in names for names in ASKED.values())


def test_each_scenario_with_a_mutant_is_read() -> None:
    """The oracles of each scenario with a mutant are found."""
    assert {mutant.scenario for mutant in CATALOGUE.values()} <= set(ASKED)
