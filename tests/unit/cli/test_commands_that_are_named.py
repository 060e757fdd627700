"""Whatever a message or the documentation tells a person to type exists."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault_harness.cli._tasks import by_name

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "harness" / "vault_harness"
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "scenarios").glob("*.py")])
TYPED = re.compile(r"(?:\binvoke|\./dev|\bvault-harness) ([a-z][a-z-]*(?:\.[a-z][a-z-]*)?)")
# Words that follow "invoke" in a sentence about it, not in a command.
PROSE = {"passes", "tasks", "wants", "has", "is", "command", "itself", "lets"}


@pytest.fixture(scope="module")
def tasks() -> set[str]:
    """Names of all tasks, with their short forms."""
    spec = importlib.util.spec_from_file_location("tasks_of_the_project", ROOT / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = module.namespace.task_names
    return {*names, *(alias for aliases in names.values() for alias in aliases)}


def typed_in(text: str) -> set[str]:
    """Tasks that a text tells to run."""
    return set(TYPED.findall(text)) - PROSE


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Strings of a module that are no docstrings, with their lines."""
    tree = ast.parse(path.read_text())
    alone = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.lineno, node.value


def named_in(path: Path) -> Iterator[tuple[int, str]]:
    """Tasks that a module names with `commands.named`, with their lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name == "named" and node.args and isinstance(node.args[0], ast.Constant):
            task = str(node.args[0].value)
            if not task.startswith("--"):  # the program's own --list and --help
                yield node.lineno, task


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_remedy_names_a_task_that_exists(path: Path, tasks: set[str]) -> None:
    """`named("x")` in a message, `invoke x` in a docstring: x is a task."""
    quoted = " ".join(re.findall(r"`+[^`]+`", path.read_text()))
    found = {name for _, name in named_in(path)} | typed_in(quoted)
    assert found - tasks == set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_message_writes_a_command_by_hand(path: Path) -> None:
    """A command in a message is made with `vault_harness.commands.named`, in its reader's words."""
    by_hand = [f"{path}:{line}: {text}" for line, text in literals(path) if typed_in(text)]
    assert by_hand == []


def test_the_documentation_names_tasks_that_exist(tasks: set[str]) -> None:
    """docs/operations.md, the map from the guide's commands to ours, leads nowhere wrong."""
    text = (ROOT / "docs" / "operations.md").read_text()
    found = typed_in(text)
    assert found - tasks == set()
    assert found >= {"migrate", "rotate.secret-id", "restore", "drill", "root.revoke", "doctor"}


def test_the_documentation_says_which_tasks_have_a_dry_run() -> None:
    """Each that has one is named where it is promised, and no other."""
    text = (ROOT / "docs" / "operations.md").read_text()
    promise = text.partition("`--dry-run` by ")[2].partition(";")[0]
    tasks = set(by_name().values())
    assert set(re.findall(r"`([^`]+)`", promise)) == {
        task.shortest for task in tasks if "dry_run" in task.parameters
    }


@pytest.mark.parametrize(
    "command",
    [
        *("init-vault.sh", "migrate-secrets.sh", "unseal-vault.sh", "rotate-secrets.sh"),
        *("sys/health", "seal-status", "audit.log", "backup.tar.gz", "init.json", "recovery"),
        *("sealed", "authentication failed", "secret not found", "token expired", "refused"),
    ],
)
def test_each_command_of_the_guide_has_ours(command: str) -> None:
    """The table has a line for everything that the guide has an operator type."""
    lines = (ROOT / "docs" / "operations.md").read_text().splitlines()
    # A | inside a cell is written \|.
    cells = [re.split(r"(?<!\\)\|", line) for line in lines if line.startswith("| ")]
    ours = [row[2] for row in cells if command in row[1]]
    assert ours
    assert all("invoke" in cell or "not needed" in cell for cell in ours)
