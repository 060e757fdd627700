"""The suite catches every broken client, and names its fault."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import TypeVar

import pytest

from tests.mutants.catalogue import CATALOGUE, MODULES, TOLERATED, UNBROKEN, group_of
from tests.mutants.clients import LAZY, Mutant, Tolerated
from tests.mutants.conftest import SCENARIOS, Judge
from vault_harness.judge.catalogue import load
from vault_harness.judge.report import explain

# A careless subject must not cause an error of these tests.
pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = {"logs-in-on-every-403", "no-total-deadline"}
"""Run by default; together the others are slow."""

CROWDED = {"SEA-10"}
"""Two hundred clients in one process each, which need all cores."""


Client = TypeVar("Client")


def spread(clients: Mapping[str, Client]) -> Iterable[tuple[str, Client]]:
    """Mix the scenarios: restores of RST-01 side by side are slow, and excuse more requests."""
    return sorted(clients.items(), key=lambda named: zlib.crc32(named[0].encode()))


def marks(scenario: str, *more: pytest.MarkDecorator) -> list[pytest.MarkDecorator]:
    return [*more, *([pytest.mark.crowd] if scenario in CROWDED else [])]


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(
            m, id=name, marks=marks(m.scenario, *([] if name in QUICK else [pytest.mark.slow]))
        )
        for name, m in spread(CATALOGUE)
    ],
)
def test_mutant_is_caught(mutant: Mutant, caught: Judge) -> None:
    result = caught(mutant.subject, mutant.scenario)
    text = explain(result.record)
    assert result.word == "fail", text
    verdict = result.verdict
    assert verdict is not None
    seen = " ".join(str(finding) for finding in (*verdict.findings, *verdict.set_aside))
    assert mutant.reason in seen, text


@pytest.mark.slow
@pytest.mark.parametrize(
    "client",
    [
        pytest.param(client, id=name, marks=marks(client.scenario))
        for name, client in spread(TOLERATED)
    ],
)
def test_tolerated_client_passes(client: Tolerated, judge: Judge) -> None:
    result = judge(client.subject, client.scenario)
    assert result.word == "pass", explain(result.record)


def test_every_scenario_has_a_mutant() -> None:
    """Without one, perhaps no client can fail a scenario."""
    scenarios = set(load(SCENARIOS / "catalogue.toml"))
    assert scenarios - {mutant.scenario for mutant in CATALOGUE.values()} == set()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_mutants_stand_in_a_module_of_their_group(module: ModuleType) -> None:
    """Mutants of TOK are in ``tok.py`` or a module ``tok_...``."""
    stem = module.__name__.rpartition(".")[2]
    listed = {**vars(module)["MUTANTS"], **vars(module).get("TOLERATED", {})}
    assert {group_of(one.scenario).lower() for one in listed.values()} == {stem.partition("_")[0]}


def test_no_two_mutants_share_a_name() -> None:
    assert len(CATALOGUE) == sum(len(module.MUTANTS) for module in MODULES)
    assert not set(CATALOGUE) & set(TOLERATED)


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario",
    [
        # A run of the whole suite covers `LAZY`: tests/subjects/test_correct_clients.py.
        pytest.param(scenario, marks=marks(scenario))
        for scenario, base in sorted(UNBROKEN.items())
        if base != LAZY
    ],
)
def test_unbroken_client_passes(scenario: str, judge: Judge) -> None:
    result = judge(UNBROKEN[scenario], scenario)
    assert result.word == "pass", explain(result.record)
