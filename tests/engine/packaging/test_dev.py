from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.in_ci import ROOT
from tests.running import ran

CLIENT = "harness/resilient_vault_client"
STATED = ("requirements.lock", "pyproject.toml", f"{CLIENT}/pyproject.toml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `dev` looks at, with a .venv that a Python 3.11 made."""
    folder = tmp_path.resolve() / "checkout"
    (folder / CLIENT).mkdir(parents=True)
    shutil.copy(ROOT / "dev", folder)
    for name in STATED:
        (folder / name).write_text(f"# {name}\n" if name.endswith("lock") else "")
    program = folder / ".venv" / "bin" / "vault-harness"
    (folder / ".venv" / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    program.parent.mkdir()
    _executable(program, "echo the program")
    texts = [(folder / name).read_text() for name in STATED]
    (folder / ".venv" / "installed-from").write_text(f"{folder}\n{''.join(texts)}")
    (folder / "usr" / "bin").mkdir(parents=True)
    return folder


def _executable(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def _link(checkout: Path, python: str) -> None:
    """Link .venv/bin/python to the system's Python through two links, as `venv` does."""
    (checkout / ".venv" / "bin" / "python").symlink_to("python3")
    (checkout / ".venv" / "bin" / "python3").symlink_to(checkout / "usr" / "bin" / python)


def dev(checkout: Path, python: str, **more: str) -> subprocess.CompletedProcess[str]:
    return ran(
        [checkout / "dev", "status"],
        env={"PATH": os.environ["PATH"], "PYTHON": python, "HOME": str(checkout), **more},
    )


@pytest.mark.parametrize(
    ("there", "made_again"),
    [("python3.11", False), ("python3.12", True), (None, True), ("python3-patched", False)],
    ids=["the same", "newer", "removed", "without a version"],
)
def test_the_python_of_the_system(
    checkout: Path, tmp_path: Path, there: str | None, *, made_again: bool
) -> None:
    _link(checkout, there or "python3.11")
    if there is not None:
        _executable(checkout / "usr" / "bin" / there, "touch started")
    maker = tmp_path / "maker"
    _executable(maker, f"echo asked >> '{tmp_path}/asked'")
    done = dev(checkout, str(maker))
    assert done.stdout == "the program\n"
    assert (tmp_path / "asked").exists() == made_again
    assert not (checkout / "started").exists()


@pytest.mark.parametrize(
    ("shell", "compiled"),
    [
        ({}, "none, elsewhere none"),
        ({"PYTHONDONTWRITEBYTECODE": "1"}, "none, elsewhere {venv}/compiled"),
        ({"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "mine"}, "1, elsewhere mine"),
        ({"PYTHONPYCACHEPREFIX": "mine"}, "none, elsewhere mine"),
    ],
    ids=["as usual", "not beside the sources", "both", "elsewhere"],
)
def test_compiled_code_is_kept_away_from_sources(
    checkout: Path, shell: dict[str, str], compiled: str
) -> None:
    """It goes where the shell says, or away from sources that must stay clean."""
    _link(checkout, "python3.11")
    _executable(checkout / "usr" / "bin" / "python3.11", "exit 0")
    _executable(
        checkout / ".venv" / "bin" / "vault-harness",
        'echo "${PYTHONDONTWRITEBYTECODE:-none}, elsewhere ${PYTHONPYCACHEPREFIX:-none}"',
    )
    done = dev(checkout, sys.executable, **shell)
    assert done.stdout == compiled.format(venv=checkout / ".venv") + "\n"


@pytest.mark.parametrize("words", [("sh", "dev"), ("./dev",)])
def test_a_command_in_a_message_can_be_pasted(checkout: Path, words: tuple[str, ...]) -> None:
    _link(checkout, "python3.11")
    _executable(checkout / "usr" / "bin" / "python3.11", "exit 0")
    _executable(checkout / ".venv" / "bin" / "vault-harness", 'echo "$HARNESS_RUNNER"')
    done = subprocess.run(
        [*words, "status"], cwd=checkout, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "./dev\n"


def test_packages_of_another_project(checkout: Path) -> None:
    """Pip does not see PYTHONPATH, which would hide packages from .venv; tasks do."""
    (checkout / "requirements.lock").write_text("# another one\n")
    tell = f"echo \"$2 ${{PYTHONPATH:-none}}\" >> '{checkout}/told'"
    for name in ("python", "vault-harness"):
        _executable(checkout / ".venv" / "bin" / name, tell)
    done = dev(checkout, sys.executable, PYTHONPATH="/of/another/project")
    assert done.returncode == 0, done.stderr
    told = (checkout / "told").read_text().splitlines()
    assert {line for line in told if line.startswith("pip ")} == {"pip none"}
    assert told[-1] == " /of/another/project"


@pytest.mark.parametrize(
    ("settings", "code", "expected"),
    [
        ("", 0, ["uv", "uv"]),
        ("", 1, ["uv", "pip", "pip"]),
        ("global.index-url='x'", 0, ["pip", "pip"]),
        (":env:.no-index='1'", 0, ["pip", "pip"]),
    ],
    ids=["uv works", "uv fails", "an index of one's own", "no index"],
)
def test_uv_installs_unless_pip_has_its_own_index(
    checkout: Path, tmp_path: Path, settings: str, code: int, expected: list[str]
) -> None:
    """Pip also installs if uv fails."""
    (checkout / "requirements.lock").write_text("# another one\n")
    log = tmp_path / "installers"
    _executable(
        checkout / ".venv" / "bin" / "python",
        f'case "$*" in *config*) echo "{settings}" ;; *install*) echo pip >>{log} ;; esac',
    )
    _executable(tmp_path / "uv", f"echo uv >>{log}; exit {code}")
    done = dev(checkout, sys.executable, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert log.read_text().split() == expected


def test_a_checkout_that_cannot_be_written_to(checkout: Path) -> None:
    _link(checkout, "python3.12")
    (checkout / ".venv.lock").mkdir()
    done = dev(checkout, sys.executable)
    assert done.returncode == 1
    assert done.stderr.startswith(f"./dev: {checkout} cannot be written to: ")
    assert ".venv.lock" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_packages_are_installed(checkout: Path) -> None:
    (checkout / "requirements.lock").write_text("# another one\n")
    _executable(checkout / ".venv" / "bin" / "python", '[ "$2" != pip ] || kill -INT $PPID')
    done = dev(checkout, sys.executable)
    assert done.returncode == 130
    assert "./dev: interrupted; .venv is not complete. Call ./dev again" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow  # a virtual environment takes some seconds
def test_the_environment_is_made_again(checkout: Path) -> None:
    """It keeps nothing, even if the requirements are the same."""
    _link(checkout, "python3.12")
    _executable(checkout / "usr" / "bin" / "python3.12", "exit 1")  # finds none of its modules
    old = checkout / ".venv" / "bin" / "vault-harness"
    done = dev(checkout, sys.executable)
    assert "./dev: making .venv: done" in done.stderr
    assert not old.exists()
    # This checkout has no package in it, which is another error.
    assert "./dev: that failed" in done.stderr
