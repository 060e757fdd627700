from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vault_harness.errors import ProgramMissing
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.programs import find_balancer
from vault_harness.local.stack.launching import Stack, launch
from vault_harness.settings import Settings


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The process engine, whatever the environment says."""
    settings = Settings.from_environment(engine="process", start_timeout=60)
    with open_engine(settings, directory=tmp_path_factory.mktemp("engine")) as opened:
        yield opened


@pytest.fixture(scope="session")
def shared(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A seeded Vault that several tests share: none may seal it, break it or change its roles."""
    directory = tmp_path_factory.mktemp("vault")
    with launch(engine, Blueprint.default(), NodeSpec(directory=directory)) as made:
        yield made


@pytest.fixture
def stack(engine: Engine, tmp_path: Path) -> Iterator[Stack]:
    """A seeded Vault of the test's own."""
    with launch(engine, Blueprint.default(), NodeSpec(directory=tmp_path / "vault")) as own:
        yield own


@pytest.fixture
def haproxy() -> None:
    """Skip without HAProxy, which a cluster needs."""
    try:
        find_balancer()
    except ProgramMissing as error:
        pytest.skip(error.cause)
