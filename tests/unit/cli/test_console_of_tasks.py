"""Tasks speak to a person: an error is its text and an exit code, and listing them is quick."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vault_harness import errors
from vault_harness.console import guarded, table
from vault_harness.settings import checkout


def outcome(body: Callable[[], None]) -> object:
    """The exit code of a task with that body."""
    with pytest.raises(SystemExit) as caught:
        guarded(body)()
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SettingsError("wrong setting"), 2),
        (errors.PortTaken("port taken"), 3),
        (errors.NotUp("not up"), 5),
        (errors.KeyringMissing("no keyring"), 5),
        (errors.VaultIsSealed("sealed"), 6),
    ],
)
def test_an_error_is_its_text_and_code(
    error: errors.HarnessError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, nothing on stdout."""

    def body() -> None:
        raise error

    assert outcome(body) == code
    printed = capsys.readouterr()
    assert printed.err == f"{error}\n"
    assert printed.out == ""


def test_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupt ends with the code that shells expect, and says where to look."""

    def body() -> None:
        raise KeyboardInterrupt

    assert outcome(body) == 130
    assert "invoke status" in capsys.readouterr().err


def test_a_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    """What the machine refuses is told in its words, with the file."""

    def body() -> None:
        raise OSError(28, "No space left on device", "/data/init.json")

    assert outcome(body) == 1
    assert capsys.readouterr().err == "No space left on device: /data/init.json\n"


def test_a_bug_is_not_hidden() -> None:
    """Anything else is a mistake of ours, and keeps its traceback."""

    def body() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        guarded(body)()


def test_columns_line_up() -> None:
    """Each column is as wide as its widest cell, and no line ends with blanks."""
    assert table([("a", "long", ""), ("bb", "c", "d")]) == "  a   long\n  bb  c     d"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run invoke in the checkout."""
    root = checkout()
    assert root is not None
    command = [sys.executable, "-m", "invoke", "--search-root", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_listing_imports_nothing_slow() -> None:
    """`invoke --list` knows its tasks without loading what they need."""
    root = checkout()
    assert root is not None
    code = (
        "import sys; import tasks; slow = {'hvac', 'requests', 'pydantic', 'docker', 'psutil',"
        " 'rich', 'pytest'}; print(sorted(slow & sys.modules.keys()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )

    assert answer.stdout == "[]\n"


def test_every_task_is_listed() -> None:
    """The daily tasks are there under their own names."""
    listed = run("--list").stdout
    names = "up seed status env seal unseal restart logs down destroy scenarios test lint bench"

    for name in names.split():
        assert f"\n  {name} " in listed


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("env", "nobody"), 2, "there is no service nobody"),
        (("env", "backend"), 5, "the stack is not up"),
        (("unseal",), 5, "the stack is not up"),
        (("seed",), 5, "the stack is not up"),
        (("seed", "--blueprint", "/nowhere.toml"), 2, "/nowhere.toml: cannot be read"),
        (("logs", "--service", "redis"), 2, "there is no log of redis"),
        (("bench", "nothing"), 2, "there is no bench nothing"),
        (("destroy",), 2, "nobody is there to ask"),
    ],
)
def test_wrong_states(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    """Each wrong state has its message and exit code, and never a traceback."""
    monkeypatch.setenv("HARNESS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HARNESS_ENGINE", "process")
    answer = run(*arguments)

    assert (answer.returncode, answer.stdout) == (code, "")
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_wrong_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that makes no sense is an error with its name."""
    monkeypatch.setenv("HARNESS_VAULT_PORT", "eighty")
    answer = run("status")

    assert answer.returncode == 2
    assert "HARNESS_VAULT_PORT" in answer.stderr


@pytest.mark.parametrize("task", ["env", "bench", "backup.identity", "rotate.secret-id"])
def test_help_after_a_task_with_an_argument_is_help(task: str, tmp_path: Path) -> None:
    """`invoke TASK --help` explains the task, and does nothing with a file named --help."""
    root = Path(__file__).parents[3]
    invoke = [sys.executable, "-m", "invoke", "--search-root", str(root)]
    shown = subprocess.run(
        [*invoke, task, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("Usage: ")
    assert list(tmp_path.iterdir()) == []
