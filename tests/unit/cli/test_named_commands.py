"""Commands and documents that texts name, and the texts of documents."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from tests.unit.cli.conftest import Program
from vault_harness.cli.command import Command
from vault_harness.cli.program import normalised
from vault_harness.cli.tasks import by_name
from vault_harness.errors import RUNNER_VARIABLE, named, runner
from vault_harness.recorder.fault import RequestKind
from vault_harness.settings import checkout, documents

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


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/usr/bin/invoke", "invoke"),
        ("/usr/bin/inv", "invoke"),
        ("/lib/python3/site-packages/invoke/__main__.py", "invoke"),
        ("/lib/python3/site-packages/vault_harness/__main__.py", "python -m vault_harness"),
        ("/usr/bin/pytest", "vault-harness"),
        ("", "vault-harness"),
    ],
)
def test_the_runner_is_the_one_that_was_typed(
    program: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUNNER_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", [program])
    assert expected == runner()


def test_a_program_that_path_does_not_find_is_named_in_full(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(RUNNER_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["/opt/my env/bin/vault-harness"])
    assert runner() == "'/opt/my env/bin/vault-harness'"


def test_a_checkout_with_a_blank_in_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "my checkout" / "dev"
    program.parent.mkdir()
    program.touch()
    monkeypatch.setenv(RUNNER_VARIABLE, str(program))
    assert shlex.split(named("up")) == [str(program), "up"]


def test_arguments_survive_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUNNER_VARIABLE, "invoke")
    words = [Path("/my backups/it's"), "*backend", "$HOME", 3]
    command = named("restore", "--source", *words)
    assert shlex.split(command) == ["invoke", "restore", "--source", *map(str, words)]


ROOT = Path(__file__).parents[3]
DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
TASKS = by_name()

_CODE = re.compile(r"^```\w*\n(?P<block>.*?)^```$|`(?P<inline>[^`\n]+)`", re.MULTILINE | re.DOTALL)
_TYPED = re.compile(r"(?:(?<![\w./-])(?:invoke|vault-harness)|\./dev) +(\S.*)")
_SUBSTITUTED = re.compile(r'"\$\(.*?\)"')
_ENDS = re.compile(r"&&|\|\||[|;>)]")


def typed(document: Path) -> list[str]:
    """Return what follows the runner, in code only: in prose `invoke` may be a word."""
    lines = []
    for found in _CODE.finditer(document.read_text(encoding="utf-8")):
        for line in (found["block"] or found["inline"]).replace(r"\|", "/").splitlines():
            lines += _TYPED.findall(line.partition(" #")[0])
    commands = [_ENDS.split(_SUBSTITUTED.sub("VALUE", line))[0].strip() for line in lines]
    return [command for command in commands if command and "TASK" not in command.split()]


def options_of(task: Command) -> set[str]:
    on = {name for name, one in task.parameters.items() if one.default is True}
    return {task.option(name) for name in task.parameters} | {
        task.option(name).replace("--", "--no-", 1) for name in on
    }


def what_is_wrong(command: str) -> str:
    """Describe a mistake, or return an empty text."""
    words = normalised(shlex.split(command), TASKS)
    name = next((word for word in words if word in TASKS), None)
    if name is None:
        return f"{command}: no task"
    mine = words[: words.index("--")] if "--" in words else words
    options = {word.partition("=")[0] for word in mine if word.startswith("--")}
    unknown = options - options_of(TASKS[name]) - {"--debug"}
    return f"{command}: {name} has no {', '.join(sorted(unknown))}" if unknown else ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_task_in_a_document_exists(document: Path) -> None:
    assert [wrong for command in typed(document) if (wrong := what_is_wrong(command))] == []


def test_commands_are_found() -> None:
    """Else the test above could not fail."""
    assert len(typed(ROOT / "README.md")) > 8
    assert sum(len(typed(page)) for page in (ROOT / "docs" / "how-to").glob("*.md")) > 100
    assert what_is_wrong("break.slow --until 3")
    assert what_is_wrong("no-such-task")
    assert not what_is_wrong("audit --follow")


PACKAGE = (checkout() or Path()) / "harness" / "vault_harness"
NAMES = {
    each.relative_to(documents()).with_suffix("").as_posix() for each in documents().rglob("*.md")
}


def test_all_are_listed(program: Program) -> None:
    ended = program("docs")
    assert (ended.code, ended.err) == (0, "")
    assert {line.split()[0] for line in ended.out.splitlines()} == NAMES


@pytest.mark.parametrize("name", ["judge", "judge.md", "docs/judge.md", "clients/hvac", "hvac"])
def test_one_is_printed(name: str, program: Program) -> None:
    file = "clients/hvac" if "hvac" in name else "judge"
    text = (documents() / f"{file}.md").read_text(encoding="utf-8")
    assert program("docs", name).out == text


def test_an_unknown_document_lists_the_known_ones(program: Program) -> None:
    ended = program("docs", "../README")
    assert (ended.code, ended.out) == (4, "")
    assert "there is no document ../README" in ended.err
    assert "judge" in ended.err


def test_texts_name_a_document_by_its_task() -> None:
    told = " ".join(task.description for task in by_name().values())
    named = set(re.findall(r"`docs ([a-z/-]+)`", told))
    calls = (
        node.args
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "named"
    )
    words = [[ast.unparse(each).strip("'") for each in args] for args in calls]
    named |= {rest[0] for first, *rest in words if first == "docs"}
    assert {"judge", "how-to/test-your-client"} <= named <= NAMES
    assert "docs/" not in told


ROOT = Path(__file__).parents[3]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
WORDS = {word for path in DOCUMENTS for word in re.findall(r"[A-Z][A-Z0-9_]+", path.read_text())}


def test_the_document_lists_exactly_the_kinds_of_requests() -> None:
    text = (ROOT / "docs" / "scenarios.md").read_text()
    (row,) = re.findall(r"^\| what for \| (.*) \|$", text, re.MULTILINE)
    named = set(re.findall(r"`([a-z]+)`", row))
    assert named == {*get_args(RequestKind), "health", "any"}
