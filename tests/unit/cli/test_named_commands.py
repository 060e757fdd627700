from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault_harness.cli.tasks import by_name

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "harness" / "vault_harness"
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "scenarios").glob("*.py")])
TYPED = re.compile(r"(?:\binvoke|\./dev|\bvault-harness) ([a-z][a-z-]*(?:\.[a-z][a-z-]*)?)")
# Words that follow "invoke" in prose, not in a command.
PROSE = {"passes", "tasks", "wants", "has", "is", "command", "itself", "lets"}


@pytest.fixture(scope="module")
def tasks() -> set[str]:
    spec = importlib.util.spec_from_file_location("tasks_of_the_project", ROOT / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = module.namespace.task_names
    return {*names, *(alias for aliases in names.values() for alias in aliases)}


def typed_in(text: str) -> set[str]:
    return set(TYPED.findall(text)) - PROSE


def parsed(path: Path, *words: str) -> ast.Module:
    """Return the tree of a file that has one of these words; that of others is empty."""
    text = path.read_text()
    return ast.parse(text if any(word in text for word in words) else "")


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the strings that are not docstrings, with their lines."""
    tree = parsed(path, "invoke", "./dev", "vault-harness")
    alone = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.lineno, node.value


def named_in(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the tasks that `errors.named` is called with, with their lines."""
    for node in ast.walk(parsed(path, "named(")):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name == "named" and node.args and isinstance(node.args[0], ast.Constant):
            task = str(node.args[0].value)
            if not task.startswith("--"):  # the program's own --list and --help
                yield node.lineno, task


def test_every_remedy_names_a_task_that_exists(tasks: set[str]) -> None:
    """`named("x")` in a message, `invoke x` in a docstring: x is a task."""
    wrong = {}
    for path in SOURCES:
        quoted = " ".join(re.findall(r"`+[^`]+`", path.read_text()))
        if unknown := ({name for _, name in named_in(path)} | typed_in(quoted)) - tasks:
            wrong[path] = unknown
    assert wrong == {}


def test_no_message_writes_a_command_by_hand() -> None:
    """`errors.named` builds commands as readers type them."""
    texts = [(path, line, text) for path in SOURCES for line, text in literals(path)]
    assert [f"{path}:{line}: {text}" for path, line, text in texts if typed_in(text)] == []


def test_the_documentation_says_which_tasks_have_a_dry_run() -> None:
    text = (ROOT / "docs" / "explanation" / "tasks.md").read_text()
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
    lines = (ROOT / "docs" / "guide.md").read_text().splitlines()
    # A | inside a cell is written \|.
    cells = [re.split(r"(?<!\\)\|", line) for line in lines if line.startswith("| ")]
    ours = [row[2] for row in cells if command in row[1]]
    assert ours
    assert all("./dev" in cell or "not needed" in cell for cell in ours)
