"""The suite, tested: every client that is broken on purpose is caught, and caught for its fault."""

from __future__ import annotations

import pytest

from tests.mutants.clients import MUTANTS, Mutant
from tests.mutants.conftest import SCENARIOS, Judge
from tests.mutants.more_clients import FURTHER
from vault_harness.scenario.catalogue import load

CATALOGUE = MUTANTS | FURTHER

# A subject's own carelessness is no error of these tests.
pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = {"never-renews", "logs-in-on-every-403", "no-total-deadline"}
"""Run by default; the others are slow in sum."""


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(m, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for name, m in CATALOGUE.items()
    ],
)
def test_mutant_is_caught(mutant: Mutant, judge: Judge) -> None:
    """The scenario that names a mutant's fault fails it, and its text says why."""
    verdict, text = judge(mutant.subject, mutant.scenario)
    assert verdict.word == "fail", text
    seen = " ".join(str(finding) for finding in verdict.findings)
    assert mutant.reason in seen, text


def test_every_scenario_has_a_mutant() -> None:
    """A scenario that no broken client ever failed may be one that cannot be failed."""
    scenarios = set(load(SCENARIOS / "catalogue.toml"))
    assert scenarios - {mutant.scenario for mutant in CATALOGUE.values()} == set()


@pytest.mark.slow
@pytest.mark.parametrize("scenario", sorted({m.scenario for m in CATALOGUE.values()}))
def test_unbroken_client_passes(scenario: str, judge: Judge) -> None:
    """The client that the mutants deviate from passes each of those scenarios."""
    base = next(m.base for m in CATALOGUE.values() if m.scenario == scenario)
    verdict, text = judge(base, scenario)
    assert verdict.word == "pass", text
