from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from vault_harness import fixtures

ROOT = Path(__file__).parents[3]

vault_server = fixtures.vault_server(engine="process")
vault = fixtures.vault()
another_vault = fixtures.vault()
vault_stack = fixtures.vault_stack()

Repository = Callable[[Mapping[str, str]], str]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Runs pytest in a folder with these files, and returns the output."""

    def run(files: Mapping[str, str]) -> str:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
            cwd=tmp_path,
            env={
                **environment,
                "PYTHONPATH": str(ROOT / "harness"),
                "HARNESS_ENGINE": "process",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        return done.stdout

    return run
