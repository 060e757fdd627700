"""The suite, tested: every client that is broken on purpose is caught, and caught for its fault."""

from __future__ import annotations

import pytest

from tests.mutants.catalogue import CATALOGUE, MODULES, TOLERATED, UNBROKEN, group_of
from tests.mutants.clients import LAZY, Mutant, Tolerated
from tests.mutants.conftest import SCENARIOS, Judge
from vault_harness.scenario.catalogue import load

# A subject's own carelessness is no error of these tests.
pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = {"logs-in-on-every-403", "no-total-deadline"}
"""Run by default; the others are slow in sum."""

CROWDED = {"SEA-10"}
"""Two hundred clients in one process each: others beside them would take the cores they need."""


def marks(scenario: str, *more: pytest.MarkDecorator) -> list[pytest.MarkDecorator]:
    """The marks of one client in a scenario."""
    return [*more, *([pytest.mark.crowd] if scenario in CROWDED else [])]


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(
            m, id=name, marks=marks(m.scenario, *([] if name in QUICK else [pytest.mark.slow]))
        )
        for name, m in CATALOGUE.items()
    ],
)
def test_mutant_is_caught(mutant: Mutant, judge: Judge) -> None:
    """The scenario that names a mutant's fault fails it, and its text says why."""
    verdict, text = judge(mutant.subject, mutant.scenario)
    assert verdict.word == "fail", text
    # It fails by what counts; what a machine that stood still excuses was seen all the same.
    seen = " ".join(str(finding) for finding in (*verdict.findings, *verdict.set_aside))
    assert mutant.reason in seen, text


@pytest.mark.slow
@pytest.mark.parametrize(
    "client",
    [
        pytest.param(client, id=name, marks=marks(client.scenario))
        for name, client in TOLERATED.items()
    ],
)
def test_tolerated_client_passes(client: Tolerated, judge: Judge) -> None:
    """A client that goes to the edge of what a scenario allows, and no further, passes it."""
    verdict, text = judge(client.subject, client.scenario)
    assert verdict.word == "pass", text


def test_every_scenario_has_a_mutant() -> None:
    """A scenario that no broken client ever failed may be one that cannot be failed."""
    scenarios = set(load(SCENARIOS / "catalogue.toml"))
    assert scenarios - {mutant.scenario for mutant in CATALOGUE.values()} == set()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_mutants_stand_in_the_module_of_their_group(module: object) -> None:
    """Whoever looks for the mutants of TOK finds all of them in ``tok.py``."""
    stem = str(module.__name__).rpartition(".")[2]  # type: ignore[attr-defined]  # a module
    listed = {**vars(module)["MUTANTS"], **vars(module).get("TOLERATED", {})}
    assert {group_of(one.scenario).lower() for one in listed.values()} == {stem}


def test_no_two_mutants_share_a_name() -> None:
    """A name that is used twice would hide one of the two."""
    assert len(CATALOGUE) == sum(len(module.MUTANTS) for module in MODULES)
    assert not set(CATALOGUE) & set(TOLERATED)


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario",
    [
        # Of `LAZY` a run of the whole suite tells: tests/subjects/test_correct_clients.py.
        pytest.param(scenario, marks=marks(scenario))
        for scenario, base in sorted(UNBROKEN.items())
        if base != LAZY
    ],
)
def test_unbroken_client_passes(scenario: str, judge: Judge) -> None:
    """The client that the mutants deviate from passes each of those scenarios."""
    verdict, text = judge(UNBROKEN[scenario], scenario)
    assert verdict.word == "pass", text
