"""Options, exit codes, fields and names in the documents agree with the code."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest

from tests.in_ci import ACTION
from vault_harness import errors, fixtures
from vault_harness.cli.guard import INTERRUPTED, MISTAKE
from vault_harness.fixtures import Vault
from vault_harness.judge.catalogue import Entry, load
from vault_harness.judge.lab import Lab
from vault_harness.judge.plugin import HELP
from vault_harness.judge.report.outcome import Outcome
from vault_harness.judge.subjects.agent_config import AgentConfig
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.stack.example_services import SERVICES
from vault_harness.operator.backup import PASSPHRASE_VARIABLE
from vault_harness.operator.practices import PRACTICES
from vault_harness.operator.rotate import POSTGRESQL_VARIABLE, REDIS_VARIABLE
from vault_harness.settings import Settings

ROOT = Path(__file__).parents[2]


def text(name: str) -> str:
    return (ROOT / f"{name}.md").read_text(encoding="utf-8")


def rows(document: str, head: str) -> list[list[str]]:
    """Return the cells of a table that has this first column."""
    _, found, rest = document.partition(f"\n| {head} |")
    assert found
    lines = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def words(cell: str) -> list[str]:
    """Return what is marked as code in a cell."""
    return re.findall(r"`([^`]+)`", cell)


SCENARIOS, JUDGE = text("docs/scenarios"), text("docs/judge")
FIXTURES = text("docs/how-to/fixtures")
ALL = "\n".join(
    text(path.relative_to(ROOT).with_suffix("").as_posix())
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
)


def test_options_of_the_scenarios() -> None:
    said = {words(row[1])[0]: words(row[0])[0] for row in rows(SCENARIOS, "option")}
    assert said == {f"vault_{name}": f"--vault-{name.replace('_', '-')}" for name in HELP}


def test_options_that_are_named() -> None:
    named = set(re.findall(r"--vault-([a-z]+(?:-[a-z]+)*)", ALL))
    assert named <= {name.replace("_", "-") for name in HELP}


def test_exit_codes_of_tasks() -> None:
    kinds = [one for one in vars(errors).values() if inspect.isclass(one)]
    raised = [one for one in kinds if issubclass(one, errors.HarnessError)]
    of_a_client = (errors.SubjectError, errors.HarnessDefect)
    codes = {one.exit_code for one in raised if not issubclass(one, of_a_client)}
    table = rows(text("docs/reference/exit-codes"), "exit code")
    said = ", ".join(row[0] for row in table).split(", ")
    assert {int(code) for code in said} == {0, *codes, MISTAKE, INTERRUPTED, 128 + 15, 128 + 1}


def test_exit_codes_of_a_run() -> None:
    """The code for no tests is pytest's."""
    said = ", ".join(row[0] for row in rows(JUDGE, "exit code")).split(", ")
    assert {int(code) for code in said} == {*Outcome, pytest.ExitCode.NO_TESTS_COLLECTED}


def test_variables_that_are_named() -> None:
    read = {f"HARNESS_{name.upper()}" for name in Settings.model_fields}
    read |= {PASSPHRASE_VARIABLE, POSTGRESQL_VARIABLE, REDIS_VARIABLE}
    assert set(re.findall(r"HARNESS_[A-Z_]+", ALL)) <= read


def test_fields_of_an_entry() -> None:
    example = re.findall(r"^([a-z_]+) = ", SCENARIOS, re.MULTILINE)
    table = [word for row in rows(SCENARIOS, "field") for cell in row for word in words(cell)]
    said = {word.partition(" ")[0] for word in (*example, *table, "incidents")}
    assert said >= set(Entry.model_fields) - {"id"}


def test_fields_of_an_agent() -> None:
    cells = " ".join(row[0] for row in rows(text("docs/how-to/agent"), "field"))
    assert set(re.findall(r"[a-z]+", " ".join(words(cells)))) == set(AgentConfig.model_fields)


def test_services_of_the_guide() -> None:
    said: dict[str, tuple[object, ...]] = {}
    for names, ports, role in rows(text("docs/how-to/containers"), "service"):
        first, *others = [int(port) for port in re.findall(r"\d+", ports)]
        many = range(first, others[0] + 1) if " to " in ports else (first, *others)
        pairs = zip(words(names), many, strict=True)
        said |= {name: (port, *words(role)) for name, port in pairs}
    roles = Blueprint.default().services
    assert said == {name: (port, roles[name]) for name, (port, _) in SERVICES.items()}


def test_alerts() -> None:
    rules = (ROOT / "compose" / "monitoring" / "rules.yml").read_text(encoding="utf-8")
    said = [words(row[0])[0] for row in rows(text("docs/how-to/monitoring"), "alert")]
    assert said == re.findall(r"- alert: (\w+)", rules)


def test_practices() -> None:
    assert [row[0] for row in rows(text("docs/how-to/production"), "practice")] == list(PRACTICES)


def test_inputs_of_the_action() -> None:
    part = text("docs/how-to/ci-github")
    for name in re.findall(r"^  (\w+):\n    description", ACTION, re.MULTILINE):
        assert re.search(rf"`{name}`|^ +{name}:", part, re.MULTILINE), name


def test_how_many_come_first() -> None:
    entries = load(ROOT / "scenarios" / "catalogue.toml").values()
    assert sum(one.first for one in entries) == 4
    assert "the four scenarios that tell most first" in JUDGE


def test_floors() -> None:
    """`./dev lint` knows the layers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    drawing = text("CONTRIBUTING").split("```")[1]
    rooms = {room.strip() for layer in layers for room in layer.split("|")} - {"__main__"}
    assert {room for room in rooms if not re.search(rf"\b{room}\b", drawing)} == set()


def test_factories_of_fixtures() -> None:
    for row in rows(FIXTURES, "factory"):
        ((name, given),) = re.findall(r"fixtures\.(\w+)\((.*)\)", row[0])
        taken = str(inspect.signature(getattr(fixtures, name)))
        for argument in re.findall(r"(\w+)=", given):
            assert re.search(rf"\b{argument}: [^=]+ = ", taken), f"{name}: {argument}"


def test_what_a_test_can_do_with_its_vault() -> None:
    part = FIXTURES.partition("## What a test can do")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)\(", part)) - {"vault_server"}
    assert len(named) > 8
    assert {name for name in named if not hasattr(Vault, name)} == set()


def test_examples_of_scenarios() -> None:
    blocks = re.findall(r"```python\n(.*?)```", SCENARIOS, re.DOTALL)
    nodes = [node for block in blocks for node in ast.walk(ast.parse(block))]
    imported = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    assert len(imported) >= 3
    for node in imported:
        module = importlib.import_module(str(node.module))
        assert {one.name for one in node.names if not hasattr(module, one.name)} == set()
    asked = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "lab"
    }
    source = "".join(inspect.getsource(one) for one in Lab.__mro__ if one is not object)
    there = {*dir(Lab), *re.findall(r"\bself\.(\w+)(?:: [^=\n]+)? = ", source)}
    assert len(asked) > 8
    assert asked <= there
