"""What docs/subjects.md and docs/judging.md list is what there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.mutants.reading import reached, scenario_of
from vault_harness.scenario.catalogue import load
from vault_harness.scenario.rehearsal import LONGEST
from vault_harness.subjects import CAPABILITIES, DECLARATIONS
from vault_harness.subjects._claims import WAYS_IN
from vault_harness.subjects._python_object import describe
from vault_harness.subjects._shape import OUTCOMES

ROOT = Path(__file__).parents[3]
SUBJECTS = (ROOT / "docs" / "subjects.md").read_text(encoding="utf-8")
JUDGING = (ROOT / "docs" / "judging.md").read_text(encoding="utf-8")

WHOLES = frozenset(
    {"read_all", "ask_for_a_whole", "every_way", "reading_in_every_way"}
    | {"recovers_in_each_way", "wholes_come_back"}
)
"""By these a scenario asks for a whole secret, of who claims to give any."""


def rows(document: str, head: str) -> list[list[str]]:
    """The cells of a table, by the first cell of its head."""
    _, _, rest = document.partition(f"\n| {head} |")
    table = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table]


@pytest.mark.parametrize(
    ("head", "there_are"),
    [
        ("capability", CAPABILITIES),
        ("in `auth`", WAYS_IN),
        ("outcome", OUTCOMES),
        ("time", DECLARATIONS),
    ],
)
def test_words_that_a_client_may_use(head: str, there_are: frozenset[str]) -> None:
    """Each has a row, and no row is of a word that is refused."""
    assert {row[0].strip("`") for row in rows(SUBJECTS, head)} == there_are


def ids(text: str) -> set[str]:
    """The scenarios that a text names: ``NET-01, NET-06 to 09``."""
    found: set[str] = set()
    for group, first, last in re.findall(r"\b([A-Z][A-Z0-9]+)-(\d\d)(?: to (\d\d))?", text):
        found |= {f"{group}-{n:02}" for n in range(int(first), int(last or first) + 1)}
    return found


def test_each_scenario_is_asked_of_who_builds_something() -> None:
    """The index at the head of docs/judging.md names all of them, and none that there is not."""
    table = rows(JUDGING, "you build")
    there_are = set(load(ROOT / "scenarios" / "catalogue.toml"))
    assert ids(" ".join(row[1] for row in table)) == there_are


def _words(function: ast.FunctionDef) -> set[str]:
    """The names and the words in a function's code."""
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
    """Who claims `read_all` is told where; the closing act has words of its own."""
    asking = set()
    for path in sorted((ROOT / "scenarios").glob("test_*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        functions = {one.name: one for one in module.body if isinstance(one, ast.FunctionDef)}
        for function in functions.values():
            scenario = scenario_of(function)
            reach = reached(function, functions) if scenario else []
            if any(_words(one) & WHOLES for one in reach):
                asking.add(scenario)
    (told,) = (row[2] for row in rows(SUBJECTS, "capability") if row[0] == "`read_all`")
    assert ids(told) == asking


def test_the_python_object_is_taken_as_it_stands() -> None:
    """Its claims are known, and its times are none for which scenarios are skipped."""
    (example,) = re.findall(r"```python\n(.*?)```", SUBJECTS, re.DOTALL)
    names: dict[str, Any] = {"MyClient": lambda address: SimpleNamespace(address=address)}
    exec(example, names)  # noqa: S102 - it is our own
    client = names["VaultSource"]({"VAULT_ADDR": "http://127.0.0.1:8200"})
    said = describe(client)
    assert said.capabilities == {"read", "cached", "health"}
    assert max(said.declares.values()) <= LONGEST
