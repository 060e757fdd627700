from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.mutants.reading import reached, scenario_of
from vault_harness.judge.catalogue import load
from vault_harness.judge.rehearsal import LONGEST
from vault_harness.judge.subjects import CAPABILITIES, DECLARATIONS
from vault_harness.judge.subjects.protocol import WAYS_IN
from vault_harness.judge.subjects.python_object import describe
from vault_harness.judge.subjects.shape import LEAVES, OUTCOMES

ROOT = Path(__file__).parents[3]
CLAIMS = (ROOT / "docs" / "reference" / "claims.md").read_text(encoding="utf-8")
OBJECT = (ROOT / "docs" / "how-to" / "python-object.md").read_text(encoding="utf-8")
BOUNDS = (ROOT / "scenarios" / "bounds.toml").read_text(encoding="utf-8")

WHOLES = frozenset(
    {"read_all", "ask_for_a_whole", "all_read_verbs", "reading_with_all_verbs"}
    | {"recovers_with_all_verbs", "secrets_by_verb", "wholes_come_back"}
)
"""Names by which a scenario asks for a whole secret."""


def rows(document: str, head: str) -> list[list[str]]:
    """Return the cells of a table that has this first column."""
    _, _, rest = document.partition(f"\n| {head} |")
    table = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table]


@pytest.mark.parametrize(
    ("head", "there_are"),
    [
        ("capability", CAPABILITIES),
        ("in `auth`", WAYS_IN),
        ("in `leaves`", LEAVES),
        ("outcome", OUTCOMES),
        ("time", DECLARATIONS),
    ],
)
def test_words_that_a_client_may_use(head: str, there_are: frozenset[str]) -> None:
    assert {row[0].strip("`") for row in rows(CLAIMS, head)} == there_are


def ids(text: str) -> set[str]:
    """Return the scenarios that a text names, such as ``NET-01, NET-06 to 09``."""
    found: set[str] = set()
    for group, first, last in re.findall(r"\b([A-Z][A-Z0-9]+)-(\d\d)(?: to (\d\d))?", text):
        found |= {f"{group}-{n:02}" for n in range(int(first), int(last or first) + 1)}
    return found


def test_topics_name_all_scenarios() -> None:
    """Notes name only existing ones."""
    data = tomllib.loads(BOUNDS)
    there_are = set(load(ROOT / "scenarios" / "catalogue.toml"))
    assert {name for one in data["topic"] for name in one["scenarios"]} == there_are
    assert {name for one in data["note"] for name in one["scenarios"]} <= there_are


def _words(function: ast.FunctionDef) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def test_each_scenario_that_asks_for_a_whole_secret_is_named() -> None:
    """The row of ``read_all`` names it."""
    asking = set()
    for path in sorted((ROOT / "scenarios").glob("test_*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        functions = {one.name: one for one in module.body if isinstance(one, ast.FunctionDef)}
        for function in functions.values():
            scenario = scenario_of(function)
            reach = reached(function, functions) if scenario else []
            if any(_words(one) & WHOLES for one in reach):
                asking.add(scenario)
    (told,) = (row[2] for row in rows(CLAIMS, "capability") if row[0] == "`read_all`")
    assert ids(told) == asking


def test_the_example_of_a_python_object_is_valid() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", OBJECT, re.DOTALL)
    names: dict[str, Any] = {"MyClient": lambda address: SimpleNamespace(address=address)}
    exec(example, names)  # noqa: S102 - our own text
    client = names["VaultSource"]({"VAULT_ADDR": "http://127.0.0.1:8200"})
    said = describe(client)
    assert said.capabilities == {"read", "cached", "health"}
    assert max(said.declares.values()) <= LONGEST
