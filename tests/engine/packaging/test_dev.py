"""The file `dev`, in a checkout whose Python the system has changed under it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.in_ci import ROOT

CLIENT = "harness/resilient_vault_client"
STATED = ("requirements.lock", "pyproject.toml", f"{CLIENT}/pyproject.toml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `dev` looks at, with a .venv that was made by a Python 3.11 and says so."""
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
    """Let .venv/bin/python be the system's, by way of two links as `venv` makes them."""
    (checkout / ".venv" / "bin" / "python").symlink_to("python3")
    (checkout / ".venv" / "bin" / "python3").symlink_to(checkout / "usr" / "bin" / python)


def dev(checkout: Path, python: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Call it, with a Python to make .venv by."""
    return subprocess.run(
        [checkout / "dev", "status"],
        env={"PATH": os.environ["PATH"], "PYTHON": python, "HOME": str(checkout), **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("there", "anew"),
    [("python3.11", False), ("python3.12", True), (None, True), ("python3-patched", False)],
    ids=["the same", "newer", "removed", "without a version"],
)
def test_the_python_of_the_system(
    checkout: Path, tmp_path: Path, there: str | None, *, anew: bool
) -> None:
    """Where it is not the one that .venv was made with, .venv is made; else nothing is started."""
    _link(checkout, there or "python3.11")
    if there is not None:
        _executable(checkout / "usr" / "bin" / there, "touch started")
    maker = tmp_path / "maker"
    _executable(maker, f"echo asked >> '{tmp_path}/asked'")
    done = dev(checkout, str(maker))
    assert done.stdout == "the program\n"
    assert (tmp_path / "asked").exists() == anew
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
def test_where_compiled_code_is_kept(checkout: Path, shell: dict[str, str], compiled: str) -> None:
    """Not beside the sources for whoever wants none there, and where the shell says, if it does."""
    _link(checkout, "python3.11")
    _executable(checkout / "usr" / "bin" / "python3.11", "exit 0")
    _executable(
        checkout / ".venv" / "bin" / "vault-harness",
        'echo "${PYTHONDONTWRITEBYTECODE:-none}, elsewhere ${PYTHONPYCACHEPREFIX:-none}"',
    )
    done = dev(checkout, sys.executable, **shell)
    assert done.stdout == compiled.format(venv=checkout / ".venv") + "\n"


@pytest.mark.parametrize("words", [("sh", "dev"), ("./dev",)])
def test_what_messages_call_it_can_be_pasted(checkout: Path, words: tuple[str, ...]) -> None:
    """Also where a shell was given the file, as on a disk that lets nothing be executed."""
    _link(checkout, "python3.11")
    _executable(checkout / "usr" / "bin" / "python3.11", "exit 0")
    _executable(checkout / ".venv" / "bin" / "vault-harness", 'echo "$HARNESS_RUNNER"')
    done = subprocess.run(
        [*words, "status"], cwd=checkout, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "./dev\n"


def test_packages_of_another_project(checkout: Path) -> None:
    """What PYTHONPATH has is none of .venv's: pip hears nothing of it, and tasks as before."""
    (checkout / "requirements.lock").write_text("# another one\n")
    tell = f"echo \"$2 ${{PYTHONPATH:-none}}\" >> '{checkout}/told'"
    for name in ("python", "vault-harness"):
        _executable(checkout / ".venv" / "bin" / name, tell)
    done = dev(checkout, sys.executable, PYTHONPATH="/of/another/project")
    assert done.returncode == 0, done.stderr
    told = (checkout / "told").read_text().splitlines()
    assert [line for line in told if line.startswith("pip ")] == ["pip none", "pip none"]
    assert told[-1] == " /of/another/project"


def test_a_checkout_that_cannot_be_written_to(checkout: Path) -> None:
    """Somebody else's, or on a disk that is full: it is said, and no traceback is shown."""
    _link(checkout, "python3.12")
    (checkout / ".venv.lock").mkdir()
    done = dev(checkout, sys.executable)
    assert done.returncode == 1
    assert done.stderr.startswith(f"./dev: {checkout} cannot be written to: ")
    assert ".venv.lock" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_packages_are_installed(checkout: Path) -> None:
    """The first call takes a minute: who ends it is told what gets on, and shown no traceback."""
    (checkout / "requirements.lock").write_text("# another one\n")
    _executable(checkout / ".venv" / "bin" / "python", '[ "$2" != pip ] || kill -INT $PPID')
    done = dev(checkout, sys.executable)
    assert done.returncode == 130
    assert "./dev: interrupted, and .venv is not whole yet. Call ./dev again" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow  # a virtual environment takes some seconds
def test_it_is_made_anew(checkout: Path) -> None:
    """Though what it was installed from is the same: nothing of the old one is kept."""
    _link(checkout, "python3.12")
    _executable(checkout / "usr" / "bin" / "python3.12", "exit 1")  # finds none of its modules
    old = checkout / ".venv" / "bin" / "vault-harness"
    done = dev(checkout, sys.executable)
    assert "./dev: making .venv: done" in done.stderr
    assert not old.exists()
    # This checkout has no package in it, which is another matter.
    assert "./dev: that failed" in done.stderr
