"""Every task, called wrongly: a cause, a remedy, an exit code, no traceback."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Program
from vault_harness.cli import develop as develop_module
from vault_harness.cli.command import GROUPS, Command
from vault_harness.cli.tasks import by_name
from vault_harness.settings import checkout

TASKS = list(dict.fromkeys(by_name().values()))
DEVELOP = {"test", "lint", "site", "bench"}
STARTS_SOMETHING = {
    "up",
    "images",
    "scenarios",
    "explore",
    "serve",
    "tour",
    "steady",
    "subject.check",
    "subject.new",
    "drill",
    *DEVELOP,
}
WELL_WITHOUT_A_STACK = {
    *("status", "watch", "down", "destroy", "logs", "services.status", "services.down"),
    *("backup.list", "backup.identity", "clients", "docs", "completion", "break.list"),
}
WORDS = {
    "language": "python",
    "shell": "bash",
    "role": "backend",
    "target": "login",
    "service": "backend",
    "name": "database",
    "out": "key.txt",
    "id": "TOK-11",
    "subject": "reference",
    "runs": "2",
    "seal": "static",
    "file": "schedule.toml",
    "command": "true",
}


def each_of(tasks: list[Command]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("task", tasks, ids=lambda task: task.path)


each_task = each_of(TASKS)


def words_of(task: Command) -> list[str]:
    """Return the task's words with all that it requires."""
    extra = {"vault": ["kv", "list"], "destroy": ["--yes"]}.get(task.path, [])
    return [task.path, *(WORDS[name] for name in task.takes if name in task.needed), *extra]


WRONG_USAGE = 4
"""2 is a verdict."""


def says_what_to_do(err: str) -> bool:
    return "  looked at: " in err and "  what to do: " in err and "Traceback" not in err


@each_task
def test_help(task: Command, program: Program) -> None:
    ended = program("--help", task.path)
    assert (ended.code, ended.err, ended.became) == (0, "", ())
    assert ended.out.startswith(f"Usage: ./dev {task.shortest}")
    assert "Examples:\n  " in ended.out
    assert "./dev" in ended.out.partition("Examples:")[2]
    for name in task.parameters:
        assert name in task.takes or task.option(name).removeprefix("--") in ended.out
    assert "core-opts" not in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


@pytest.mark.parametrize("words", [("up", "--help"), ("up", "-h"), ("help", "up")])
def test_each_way_to_ask_for_help(words: tuple[str, ...], program: Program) -> None:
    assert program(*words).out == program("--help", "up").out != ""


@each_of([task for task in TASKS if task.needed])
def test_without_words(task: Command, program: Program) -> None:
    ended = program(task.path)
    assert (ended.code, ended.out, ended.became) == (WRONG_USAGE, "", ())
    assert says_what_to_do(ended.err)
    assert f"./dev {task.shortest} " in ended.err
    assert ended.err.count("for example: ") == 1


@each_task
def test_dry_is_refused(task: Command, program: Program, tmp_path: Path) -> None:
    ended = program("--dry", *words_of(task))
    assert (ended.code, ended.out, ended.became) == (WRONG_USAGE, "", ())
    assert says_what_to_do(ended.err)
    assert "nothing was done" in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("up", "--dry"), ("unlock", "--dry", "backend")])
def test_dry_behind_a_task_is_refused(
    words: tuple[str, ...], program: Program, tmp_path: Path
) -> None:
    ended = program(*words)
    assert (ended.code, ended.out, ended.became) == (WRONG_USAGE, "", ())
    assert says_what_to_do(ended.err)
    assert "nothing was done" in ended.err
    assert list(tmp_path.iterdir()) == []


@each_of([task for task in TASKS if not task.passes_on])
def test_an_unknown_option(task: Command, program: Program, tmp_path: Path) -> None:
    ended = program(*words_of(task), "--no-such-option")
    assert (ended.code, ended.out, ended.became) == (WRONG_USAGE, "", ())
    assert says_what_to_do(ended.err)
    assert f"{task.shortest} has no option --no-such-option" in ended.err
    assert list(tmp_path.iterdir()) == []


@each_of([task for task in TASKS if task.path not in STARTS_SOMETHING])
def test_without_a_stack(task: Command, program: Program) -> None:
    ended = program(*words_of(task))
    if task.path in WELL_WITHOUT_A_STACK:
        assert (ended.code, ended.err) == (0, "")
    elif task.path == "doctor":
        assert ended.code == 1
        assert "what to do: ./dev up" in ended.out
    else:
        assert ended.code in {1, 2, 3, 4, 5}
        assert says_what_to_do(ended.err)


@each_of([task for task in TASKS if task.path not in STARTS_SOMETHING - {"up"}])
def test_a_data_directory_that_cannot_be(
    task: Command, program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HARNESS_DATA_DIR", str(tmp_path / "file" / "vault-data"))
    ended = program(*words_of(task))
    if ended.code == 0:
        assert task.path in WELL_WITHOUT_A_STACK
        return
    assert says_what_to_do(ended.err)


def test_every_task_is_shown_in_its_group(program: Program) -> None:
    ended = program()
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert [line for line in lines if line in GROUPS] == list(GROUPS)
    for task in TASKS:
        assert any(line.split()[:1] == [task.shortest] for line in lines), task.path
    assert max(map(len, lines)) <= 80


def test_texts_are_sentences() -> None:
    for task in TASKS:
        assert task.summary.endswith("."), task.path
        options = {task.option(name).removeprefix("--") for name in task.parameters}
        assert set(task.told) == options, task.path
        assert task.examples, task.path
        for line in task.examples:
            named = task.shortest.partition(".")[0] in line
            assert named or "rotate" in line or "backup" in line, task.path


def test_options_have_no_short_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invoke makes up letters such as `-e`."""
    monkeypatch.setattr("sys.argv", ["vault-harness"])
    made_up = [one.names for task in TASKS for one in task.get_arguments() if len(one.names) > 1]
    assert made_up == []


def test_the_body_of_a_task_is_called_as_it_is_declared() -> None:
    for task in TASKS:
        names = list(inspect.signature(task.body).parameters)
        assert names == ["context", *task.parameters]


DEVELOP = {"test", "lint", "site", "bench"}


def test_both_checks_for_a_clone_agree() -> None:
    """The quick check is for lists of tasks."""
    assert develop_module.in_a_clone() == (checkout() is not None)


@pytest.fixture
def installed(program: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program as installed from a wheel."""
    monkeypatch.setattr(develop_module, "in_a_clone", lambda: False)
    return program


def tasks_in(listed: str) -> set[str]:
    return {task["name"] for task in json.loads(listed)["tasks"]}


def test_it_shows_none(installed: Program) -> None:
    assert "develop" not in installed("--list").out
    assert "develop" not in installed().out
    listed = tasks_in(installed("--list-format", "json", "--list").out)
    assert listed
    assert not listed & DEVELOP


def test_a_clone_shows_them(program: Program) -> None:
    assert "\ndevelop\n" in program("--list").out
    assert tasks_in(program("--list-format", "json", "--list").out) >= DEVELOP


@pytest.mark.parametrize("words", [["lint"], ["test", "--slow"], ["--help", "bench"]], ids=" ".join)
def test_the_error_says_where_a_task_works(installed: Program, words: list[str]) -> None:
    ended = installed(*words)
    assert ended.code == 4
    assert "works on the project's own files" in ended.err
    assert "what to do: run it in a clone of the project" in ended.err
