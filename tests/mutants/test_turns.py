"""No scenario that grants no login lasts until a correct client may log in by its own timetable."""

from __future__ import annotations

import ast
import tomllib

import pytest

from tests.mutants.conftest import SCENARIOS
from tests.mutants.reading import reached, scenario_of
from vault_harness.scenario.catalogue import Entry, load

FIRST_TURN = 0.3
"""Of a token's life: from here on a client may renew, or log in anew instead (docs/judging.md)."""

WITHOUT_ONE = frozenset({"same_token", "a_denial_costs_little"})
"""Oracles that leave no room for a login in its turn."""

ABOUT_RENEWALS = frozenset({"NET-12", "SRV-11", "TOK-16"})
"""Who logs in instead of renewing is not asked there: the scenario finds out before."""

CATALOGUE = load(SCENARIOS / "catalogue.toml")

WRITTEN = tomllib.loads((SCENARIOS / "catalogue.toml").read_text(encoding="utf-8"))
"""The same without what was measured: the reference client is often quicker than others may be."""


def _grants_no_turn(call: ast.Call) -> bool:
    """Whether it is an oracle that finds fault with a login in its turn, however late."""
    name = ast.unparse(call.func)
    if name in WITHOUT_ONE:
        return True
    given = {keyword.arg for keyword in call.keywords}
    if name != "logins_at_most" or "due" in given or not call.args:
        return False
    count = call.args[0]
    from_the_start = "since" not in given and "until" not in given
    few = 2 if from_the_start else 0
    return isinstance(count, ast.Constant) and isinstance(count.value, int) and count.value <= few


def _without_a_turn() -> list[Entry]:
    """The scenarios that have such an oracle."""
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


def test_scenarios_without_a_login_are_found() -> None:
    """By each of the oracles, and through functions; a login in its turn is granted by `due`."""
    found = {entry.id for entry in _without_a_turn()}
    assert {"SRV-05", "SEA-01", "POL-01", "TOK-21", "KV-05"} <= found
    assert not {"TOK-01", "TOK-11", "NET-06", "SEA-05"} & found


@pytest.mark.parametrize("entry", _without_a_turn(), ids=lambda entry: entry.id)
def test_it_is_over_before_anybodys_turn(entry: Entry) -> None:
    """With less a correct client that never renews would be failed for a login in its time."""
    takes = max(entry.seconds, float(WRITTEN[entry.id]["seconds"]))
    assert takes <= FIRST_TURN * entry.ttl
