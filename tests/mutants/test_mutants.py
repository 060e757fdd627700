"""The suite, tested: every client that is broken on purpose is caught, and caught for its fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.clients import MUTANTS, Mutant
from tests.mutants.conftest import SCENARIOS, Judge
from tests.mutants.more_clients import FURTHER
from tests.mutants.subtle_clients import SUBTLE
from vault_harness.scenario.catalogue import load

CATALOGUE = MUTANTS | FURTHER | SUBTLE

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


def _rows() -> dict[str, str]:
    """The rows of the table of which scenario catches which mutant, by the mutant's name."""
    text = Path(__file__).with_name("MATRIX.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "**" in line]
    return {line.split(" | ")[0].removeprefix("| "): line for line in rows}


def test_matrix_shows_each_of_its_mutants_caught() -> None:
    """In each row the scenario that must catch the mutant, which is in bold, fails it."""
    assert [line for line in _rows().values() if "**F**" not in line] == []


def test_matrix_is_whole_for_the_groups_that_it_has() -> None:
    """A mutant that is added needs its row: ``python -m tests.mutants.matrix GROUP``."""
    rows = _rows()
    groups = {CATALOGUE[name].scenario.partition("-")[0] for name in rows}
    wanted = {n for n, m in CATALOGUE.items() if m.scenario.partition("-")[0] in groups}
    assert set(rows) == wanted
