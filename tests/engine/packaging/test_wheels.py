from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("wheels"),  # its environment takes half a minute
]


def run(*command: str | Path, cwd: Path, fails: bool = False) -> str:
    ours = ("PYTEST_", "VAULT_", "BAO_", "HARNESS_DATA", "HARNESS_RUNNER", "PYTHONPATH")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**environ, "HARNESS_ENGINE": "process", "PIP_COMPILE": "0"},  # most is never imported
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (done.returncode != 0) is fails, done.stdout[-6000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, ROOT / "harness" / "resilient_vault_client"):
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q")
        run(*pip, "--no-deps", "--no-build-isolation", "-w", folder, project, cwd=folder)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    venv = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", venv, cwd=venv)
    pip = (venv / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "-q")
    run(*pip, *wheels, cwd=venv)
    return venv / "bin"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A stranger's repository, which has a package ``harness`` too."""
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__init__.py").write_text("raise AssertionError('not yours')\n")
    return tmp_path


def test_the_command_judges_without_a_checkout(installed: Path, elsewhere: Path) -> None:
    said = run(installed / "vault-harness", "scenarios", "--only", "TOK-11", cwd=elsewhere)
    assert "1 of 1 scenarios pass" in said
    assert (elsewhere / "report" / "journal.json").is_file()


def test_pytest_finds_the_scenarios(installed: Path, elsewhere: Path) -> None:
    words = ("--pyargs", "vault_harness.scenarios", "--vault-only", "TOK-11")
    said = run(installed / "pytest", *words, cwd=elsewhere)
    assert "1 of 1 scenarios pass" in said


def test_both_forms_of_the_command_show_the_tasks(installed: Path, elsewhere: Path) -> None:
    script = run(installed / "vault-harness", cwd=elsewhere)
    module = run(installed / "python", "-m", "vault_harness", cwd=elsewhere)
    assert "scenarios" in script
    assert "develop" not in script, "there is nothing here to be tested, linted or measured"
    # Each form names itself in the first lines.
    assert "python -m vault_harness" in module
    assert script.partition("every day")[2] == module.partition("every day")[2] != ""


def test_documents_come_with_it(installed: Path, elsewhere: Path) -> None:
    """The documents that help texts and messages name."""
    said = run(installed / "vault-harness", "docs", "judge", cwd=elsewhere)
    assert said.startswith("# Judge a client in CI")


def test_a_stack_comes_up_in_the_current_folder(installed: Path, elsewhere: Path) -> None:
    ports = ("HARNESS_VAULT_PORT=0", "HARNESS_PROXY_PORT=0", "HARNESS_TOXIPROXY_PORT=0")
    command = ("env", *ports, installed / "vault-harness")
    try:
        run(*command, "up", cwd=elsewhere)
        run(*command, "seed", cwd=elsewhere)
        assert "ready" in run(*command, "status", cwd=elsewhere)
        assert (elsewhere / "vault-data" / "init.json").is_file()
    finally:
        run(*command, "destroy", "--yes", cwd=elsewhere)
