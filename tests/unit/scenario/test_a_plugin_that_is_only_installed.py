"""An ordinary run of pytest pays nothing for the installed package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TEST = "def test_it():\n    assert True\n"

TELL = """
import sys


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        with open("loaded.txt", "w") as file:
            file.write("\\n".join(sys.modules))
"""
"""A ``conftest.py`` that writes down the loaded modules at the end."""

HEAVY = {
    *("cryptography", "docker", "h2", "httpx", "hvac", "invoke", "jinja2", "psutil", "pydantic"),
    *("requests", "resilient_vault_client", "rich", "testcontainers", "trustme"),
}


def loaded(folder: Path, *words: str) -> set[str]:
    (folder / "test_it.py").write_text(TEST)
    (folder / "conftest.py").write_text(TELL)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "HARNESS_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:hypothesispytest", *words]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return set((folder / "loaded.txt").read_text().split())


def test_nothing_but_the_entry_is_loaded(tmp_path: Path) -> None:
    """The run loads two modules."""
    modules = loaded(tmp_path)
    assert {name for name in modules if name.startswith("vault_harness.")} == {
        "vault_harness.judge",
        "vault_harness.judge.plugin",
    }
    assert not HEAVY & modules


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("-n", "1"), id="xdist", marks=pytest.mark.slow),
        pytest.param(("--vault-seed", "7"), id="option"),
    ],
)
def test_nothing_heavy_is_loaded_without_scenarios(words: tuple[str, ...], tmp_path: Path) -> None:
    modules = loaded(tmp_path, *words)
    ours = {name for name in modules if name.startswith("vault_harness.")}
    plugin = {name for name in ours if name.startswith("vault_harness.judge.plugin")}
    assert ours - plugin <= {f"vault_harness.{name}" for name in ("judge", "errors", "commands")}
    assert not HEAVY & modules
