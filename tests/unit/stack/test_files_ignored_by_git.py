from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from vault_harness import files
from vault_harness.cli.common import warn_of_git
from vault_harness.errors import StackError
from vault_harness.local.stack import data_dir as data_dir_module
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.lock import exclusive, leave_if_empty
from vault_harness.settings import Settings

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which git ignores only `.env`."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.delenv("GIT_DIR", raising=False)
    project = tmp_path / "their project"
    project.mkdir()
    git(project, "init", "--quiet")
    (project / ".gitignore").write_text(".env\n")
    return project


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=folder, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def taken(project: Path) -> list[str]:
    """Return what `git add .` would add."""
    return git(project, "ls-files", "--others", "--exclude-standard").splitlines()


@needs_git
def test_nothing_of_a_stack_is_taken_in(repository: Path) -> None:
    data_dir = repository / "vault-data"
    stack = LocalStack(Settings(engine="process", data_dir=data_dir))
    with stack.held():
        (data_dir / "init.json").write_text("{}")
        (data_dir / "vault" / "data").mkdir(parents=True)
        (data_dir / "vault" / "data" / "vault.db").write_text("")
    assert taken(repository) == [".gitignore"]


def test_a_refused_task_leaves_nothing(tmp_path: Path) -> None:
    stack = LocalStack(Settings(engine="process", data_dir=tmp_path / "vault-data"))
    with pytest.raises(StackError), stack.held():
        raise StackError("refused", looked_at="", remedy="")
    assert list(tmp_path.iterdir()) == []


def test_one_of_their_own_stays(tmp_path: Path) -> None:
    """A user's own .gitignore is no sign of a stack."""
    own = tmp_path / ".gitignore"
    own.write_text("*.pyc\n")
    (tmp_path / "vault").mkdir()
    with pytest.raises(Exception, match="holds other files"):
        data_dir_module.check(tmp_path)
    (tmp_path / "vault").rmdir()
    files.keep_from_git(tmp_path)
    assert own.read_text() == "*.pyc\n"
    assert data_dir_module.state(tmp_path) == []
    with exclusive(tmp_path, timeout=5):
        leave_if_empty(tmp_path)
    assert own.exists()


def test_ours_goes_with_the_rest_and_last(tmp_path: Path) -> None:
    """The keys go before it."""
    files.keep_from_git(tmp_path)
    (tmp_path / "init.json").write_text("{}")
    data_dir_module.check(tmp_path)
    assert [path.name for path in data_dir_module.state(tmp_path)] == ["init.json", ".gitignore"]


def test_tasks_run_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go without the .gitignore, since `down` and `destroy` need the lock."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_private", full)
    files.keep_from_git(tmp_path)
    assert not files.keeps_from_git(tmp_path)


@needs_git
@pytest.mark.parametrize(("name", "told"), [(".env.backup-1", True), (".env", False)])
def test_a_copy_that_git_would_add_is_reported(
    repository: Path, capsys: pytest.CaptureFixture[str], name: str, told: bool
) -> None:
    """The original may be ignored."""
    (repository / name).write_text("SECRET=x\n")
    warn_of_git(repository / name, "the copy", pattern=".env.backup-*")
    said = capsys.readouterr().out
    assert ("git would take the copy in: write .env.backup-* into .gitignore" in said) == told


@needs_git
def test_a_hook_of_another_repository_does_not_mislead(
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hook sets git variables of its repository."""
    (tmp_path / "other").mkdir()
    git(tmp_path / "other", "init", "--quiet")
    (tmp_path / "other" / ".git" / "info" / "exclude").write_text("*\n")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    warn_of_git(repository / "key.txt", "the private key")
    assert "write key.txt into .gitignore" in capsys.readouterr().out


def test_outside_of_a_repository_nothing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    warn_of_git(tmp_path / "key.txt", "the private key")
    monkeypatch.setenv("PATH", str(tmp_path))
    warn_of_git(tmp_path / "key.txt", "the private key")
    assert capsys.readouterr().out == ""
