"""Whatever a message or the documentation tells a person to type exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = sorted(
    path
    for folder in ("vault", "stack", "operations", "engine")
    for path in (ROOT / "harness" / "vault_harness" / folder).rglob("*.py")
)
NAMED = re.compile(r"\binvoke ([a-z][a-z-]*(?:\.[a-z][a-z-]*)?)(?![\w-]*=)")
# Words that follow "invoke" in a sentence about it, not in a command.
PROSE = {"passes", "tasks", "wants", "has", "is", "command", "itself"}


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


def named_in(text: str) -> set[str]:
    """Tasks that a text tells to invoke."""
    return set(NAMED.findall(text)) - PROSE


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_remedy_names_a_task_that_exists(path: Path, tasks: set[str]) -> None:
    """`invoke X` in a message: X is a task."""
    assert named_in(path.read_text()) - tasks == set()


def test_the_documentation_names_tasks_that_exist(tasks: set[str]) -> None:
    """docs/operations.md, the map from the guide's commands to ours, leads nowhere wrong."""
    text = (ROOT / "docs" / "operations.md").read_text()
    found = named_in(text)
    assert found - tasks == set()
    assert found >= {"migrate", "rotate.secret-id", "restore", "drill", "root.revoke", "doctor"}


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
