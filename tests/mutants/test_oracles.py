"""At least two mutants show that each oracle can find fault."""

from __future__ import annotations

import inspect

import pytest

from tests.mutants.catalogue import CATALOGUE
from tests.mutants.oracles import ALWAYS, LEAST, SAYS, asked, mutants_of
from vault_harness.judge import oracles
from vault_harness.judge.oracles import standing

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


@pytest.fixture(scope="module")
def by_scenario() -> dict[str, set[str]]:
    return asked()


def test_each_oracle_has_two_mutants(by_scenario: dict[str, set[str]]) -> None:
    """One may be caught by chance, or for another fault."""
    found = {oracle: mutants_of(oracle, by_scenario) for oracle in SAYS}
    assert {oracle: names for oracle, names in found.items() if len(names) < LEAST} == {}


def test_each_oracle_is_asked(by_scenario: dict[str, set[str]]) -> None:
    assert set(SAYS) - ALWAYS <= set().union(*by_scenario.values())


def test_each_scenario_with_a_mutant_is_read(by_scenario: dict[str, set[str]]) -> None:
    assert {mutant.scenario for mutant in CATALOGUE.values()} <= set(by_scenario)
