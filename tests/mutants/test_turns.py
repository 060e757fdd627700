"""No scenario that allows no login lasts until a correct client's turn to log in."""

from __future__ import annotations

import ast
import tomllib

import pytest

from tests.mutants.conftest import SCENARIOS
from tests.mutants.reading import reached, scenario_of
from vault_harness.judge.catalogue import Entry, load

FIRST_TURN = 0.3
"""Share of a token's life after which a client may renew or log in."""

WITHOUT_ONE = frozenset({"same_token", "a_denial_costs_little"})
"""Oracles that allow no login by a timetable."""

ABOUT_RENEWALS = frozenset({"NET-12", "NET-18", "SRV-11", "TOK-16"})
"""Scenarios about a due renewal, where a login does not satisfy `same_token`."""

CATALOGUE = load(SCENARIOS / "catalogue.toml")

WRITTEN = tomllib.loads((SCENARIOS / "catalogue.toml").read_text(encoding="utf-8"))
"""Without measured times: the reference client is often faster than others."""


def _grants_no_turn(call: ast.Call) -> bool:
    """Return whether its oracle allows no login, however late."""
    return ast.unparse(call.func) in WITHOUT_ONE


@pytest.fixture(scope="module")
def without_a_turn() -> list[Entry]:
    found = set()
    for path in sorted(SCENARIOS.glob("test_*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
        for function in functions.values():
            if scenario := scenario_of(function):
                nodes = [node for one in reached(function, functions) for node in ast.walk(one)]
                if any(isinstance(node, ast.Call) and _grants_no_turn(node) for node in nodes):
                    found.add(scenario)
    return [CATALOGUE[one] for one in sorted(found - ABOUT_RENEWALS)]


def test_scenarios_without_a_login_are_found(without_a_turn: list[Entry]) -> None:
    """Also through functions."""
    found = {entry.id for entry in without_a_turn}
    assert {"SRV-05", "SEA-01", "POL-01", "KV-05"} <= found
    assert not {"TOK-01", "TOK-11", "NET-06", "SEA-05"} & found


def test_it_is_over_before_anybodys_turn(without_a_turn: list[Entry]) -> None:
    """They end before a correct client that never renews may log in."""
    late = [
        one.id
        for one in without_a_turn
        if max(one.seconds, float(WRITTEN[one.id]["seconds"])) > FIRST_TURN * one.ttl
    ]
    assert late == []
