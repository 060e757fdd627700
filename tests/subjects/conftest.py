from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.local.stack.launching import Stack, launch
from vault_harness.settings import Settings

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = Settings(engine="process")
    with (
        open_engine(settings, directory=tmp_path_factory.mktemp("engine")) as engine,
        launch(
            engine, Blueprint.default(), NodeSpec(directory=tmp_path_factory.mktemp("vault"))
        ) as launched,
    ):
        yield launched


@pytest.fixture(params=["python", "node", pytest.param("go", marks=pytest.mark.slow)])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Each of the correct clients, as ``--subject`` takes it."""
    if request.param == "python":
        return "python:tests.subjects.lazy_client:LazyClient"
    if request.param == "node":
        if shutil.which("node") is None:
            pytest.skip("Node.js is not here")
        return f"command:node {shlex.quote(str(HERE / 'node' / 'subject.mjs'))}"
    if shutil.which("go") is None:
        pytest.skip("Go is not here")
    program = tmp_path_factory.getbasetemp() / "go-subject"
    if not program.exists():
        subprocess.run(["go", "build", "-o", str(program), "."], cwd=HERE / "go", check=True)
    return f"command:{shlex.quote(str(program))}"
