"""What the documents list is what there is: options, exit codes, defaults, fields, names."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest

from tests.in_ci import ACTION, JUDGE
from vault_harness import errors, fixtures
from vault_harness.cli._guard import INTERRUPTED, MISTAKE
from vault_harness.fixtures import Vault
from vault_harness.plugin._options import _HELP
from vault_harness.report.outcome import Outcome
from vault_harness.scenario import Lab
from vault_harness.scenario.catalogue import Entry, load
from vault_harness.settings import Settings
from vault_harness.subjects._agent_config import AgentConfig
from vault_harness.vault.backup import PASSPHRASE_VARIABLE
from vault_harness.vault.practices import PRACTICES
from vault_harness.vault.rotate import POSTGRESQL_VARIABLE, REDIS_VARIABLE

ROOT = Path(__file__).parents[2]


def text(name: str) -> str:
    """A document."""
    return (ROOT / f"{name}.md").read_text(encoding="utf-8")


def rows(document: str, head: str) -> list[list[str]]:
    """The cells of a table, by the first cell of its head."""
    _, found, rest = document.partition(f"\n| {head} |")
    assert found
    lines = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def words(cell: str) -> list[str]:
    """What stands in it as code."""
    return re.findall(r"`([^`]+)`", cell)


SCENARIOS, OPERATIONS = text("docs/scenarios"), text("docs/operations")
SUBJECTS, FIXTURES = text("docs/subjects"), text("docs/fixtures")
ALL = "\n".join(
    text(path.relative_to(ROOT).with_suffix("").as_posix())
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"))
)


def test_options_of_the_scenarios() -> None:
    """Each has a row, with its twin in the configuration file."""
    said = {words(row[1])[0]: words(row[0])[0] for row in rows(SCENARIOS, "option")}
    assert said == {f"vault_{name}": f"--vault-{name.replace('_', '-')}" for name in _HELP}


def test_options_that_are_named() -> None:
    """In whichever document: each is one."""
    named = set(re.findall(r"--vault-([a-z]+(?:-[a-z]+)*)", ALL))
    assert named <= {name.replace("_", "-") for name in _HELP}


def test_exit_codes_of_tasks() -> None:
    """Of each error that a task ends with; what is said of a client ends tasks that judge."""
    kinds = [one for one in vars(errors).values() if inspect.isclass(one)]
    raised = [one for one in kinds if issubclass(one, errors.HarnessError)]
    of_a_client = (errors.SubjectError, errors.HarnessDefect)
    codes = {one.exit_code for one in raised if not issubclass(one, of_a_client)}
    said = ", ".join(row[0] for row in rows(OPERATIONS, "exit code")).split(", ")
    assert {int(code) for code in said} == {0, *codes, MISTAKE, INTERRUPTED, 128 + 15, 128 + 1}


def test_exit_codes_of_a_run() -> None:
    """Ours, and pytest's own where nothing was chosen."""
    said = ", ".join(row[0] for row in rows(JUDGE, "exit code")).split(", ")
    assert {int(code) for code in said} == {*Outcome, pytest.ExitCode.NO_TESTS_COLLECTED}


@pytest.mark.parametrize("document", ["docs/operations", "docs/containers"])
def test_defaults(document: str) -> None:
    """A default that is a word or a number is the one that the setting has."""
    page = text(document)
    found = rows(page[page.index("| variable | default |") - 1 :], "variable")
    said = {words(row[0])[0].removeprefix("HARNESS_").lower(): row[1].strip("`") for row in found}
    fields = Settings.model_fields
    ours = {name: fields[name].default for name in said if name in fields}
    plain = {name: one for name, one in ours.items() if isinstance(one, str | int | float)}
    assert len(plain) >= 3
    assert {name: said[name] for name in plain} == {
        name: f"{one:g}" if isinstance(one, float) else str(one) for name, one in plain.items()
    }


def test_variables_that_are_named() -> None:
    """Each that begins as ours do is read by somebody."""
    read = {f"HARNESS_{name.upper()}" for name in Settings.model_fields}
    read |= {PASSPHRASE_VARIABLE, POSTGRESQL_VARIABLE, REDIS_VARIABLE}
    assert set(re.findall(r"HARNESS_[A-Z_]+", ALL)) <= read


def test_fields_of_an_entry() -> None:
    """All that a catalogue may say of a scenario, in the example or in the table."""
    example = re.findall(r"^([a-z_]+) = ", SCENARIOS, re.MULTILINE)
    table = [word for row in rows(SCENARIOS, "field") for cell in row for word in words(cell)]
    said = {word.partition(" ")[0] for word in (*example, *table, "incidents")}
    assert said >= set(Entry.model_fields) - {"id"}


def test_fields_of_an_agent() -> None:
    """All that its configuration may have."""
    cells = " ".join(row[0] for row in rows(SUBJECTS, "field"))
    assert set(re.findall(r"[a-z]+", " ".join(words(cells)))) == set(AgentConfig.model_fields)


def test_alerts() -> None:
    """Those of the rules for Prometheus."""
    rules = (ROOT / "compose" / "monitoring" / "rules.yml").read_text(encoding="utf-8")
    said = [words(row[0])[0] for row in rows(OPERATIONS, "alert")]
    assert said == re.findall(r"- alert: (\w+)", rules)


def test_practices() -> None:
    """In the order in which they are told."""
    assert [row[0] for row in rows(OPERATIONS, "practice")] == list(PRACTICES)


def test_inputs_of_the_action() -> None:
    """Each that a job may give is named."""
    part = JUDGE.partition("On GitHub")[2].partition("On GitLab")[0]
    for name in re.findall(r"^  (\w+):\n    description", ACTION, re.MULTILINE):
        assert re.search(rf"`{name}`|^ +{name}:", part, re.MULTILINE), name


def test_short_lives() -> None:
    """Of the tokens of each scenario, as the catalogue gives them; none of so short a one lacks."""
    entries = load(ROOT / "scenarios" / "catalogue.toml").values()
    said: dict[float, set[str]] = {}
    for life, names in rows(text("docs/judging"), "TTL"):
        if found := re.match(r"(8|9|10|12) s", life):
            said.setdefault(float(found[1]), set()).update(_ids(names))
    assert len(said) == 4
    assert said == {life: {one.id for one in entries if one.ttl == life} for life in said}


def test_deadlines() -> None:
    """Of the scenarios that have another one than the others."""
    entries = load(ROOT / "scenarios" / "catalogue.toml").values()
    ((_, said, _),) = (row for row in rows(text("docs/judging"), "time") if "`deadline`" in row[0])
    usual, *others = re.findall(r"(.*?)(?:^|[ :])(\d) s(?:, in|$)", said)
    assert float(usual[1]) == Entry.model_fields["deadline"].default
    assert {float(seconds): _ids(names) for names, seconds in others} == {
        one.deadline: {each.id for each in entries if each.deadline == one.deadline}
        for one in entries
        if one.deadline != float(usual[1])
    }


def test_how_many_come_first() -> None:
    """As the first lines about judging say."""
    entries = load(ROOT / "scenarios" / "catalogue.toml").values()
    assert sum(one.first for one in entries) == 4
    assert "the four scenarios that tell most first" in JUDGE


def _ids(names: str) -> set[str]:
    """The scenarios that a text names: ``TOK-02, 04, 14 to 16``."""
    found: set[str] = set()
    group = ""
    listed = re.sub(r"\d+\.\d+", "", names)
    for own, first, last in re.findall(r"\b([A-Z][A-Z0-9]+-)?(\d\d)\b(?: to (\d\d))?", listed):
        group = own or group
        found |= {f"{group}{number:02}" for number in range(int(first), int(last or first) + 1)}
    return found


def test_floors() -> None:
    """Each that `./dev lint` knows is in the drawing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    drawing = text("CONTRIBUTING").split("```")[1]
    rooms = {room.strip() for layer in layers for room in layer.split("|")} - {"__main__"}
    assert {room for room in rooms if not re.search(rf"\b{room}\b", drawing)} == set()


def test_factories_of_fixtures() -> None:
    """With the arguments that they take."""
    for row in rows(FIXTURES, "factory"):
        ((name, given),) = re.findall(r"fixtures\.(\w+)\((.*)\)", row[0])
        taken = str(inspect.signature(getattr(fixtures, name)))
        for argument in re.findall(r"(\w+)=", given):
            assert re.search(rf"\b{argument}: [^=]+ = ", taken), f"{name}: {argument}"


def test_what_a_test_can_do_with_its_vault() -> None:
    """Each method that is named is one."""
    part = FIXTURES.partition("## What a test can do")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)\(", part)) - {"vault_server"}
    assert len(named) > 8
    assert {name for name in named if not hasattr(Vault, name)} == set()


def test_examples_of_scenarios() -> None:
    """What they import and what they ask of the lab is there."""
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
