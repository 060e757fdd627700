from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.client.lab import Lab
from tests.engine.client.route import Route
from vault_harness.errors import ProgramMissing
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.process.postgresql import Postgresql
from vault_harness.local.engine.shape import Engine, NodeSpec, ToxiproxyProcess
from vault_harness.local.programs import find_postgresql
from vault_harness.local.stack.launching import Stack, launch
from vault_harness.settings import Settings


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The process engine, whatever the environment says."""
    settings = Settings.from_environment(engine="process")
    with open_engine(settings, directory=tmp_path_factory.mktemp("engine")) as opened:
        yield opened


@pytest.fixture(scope="session")
def shared(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Vault that several tests share: none of them may seal or break it."""
    with launch(
        engine, Blueprint.default(), NodeSpec(directory=tmp_path_factory.mktemp("vault"))
    ) as stack:
        yield stack


@pytest.fixture(scope="session")
def toxiproxy(engine: Engine) -> Iterator[ToxiproxyProcess]:
    server = engine.toxiproxy(seed=1)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def server() -> Iterator[Postgresql]:
    try:
        programs = find_postgresql()
    except ProgramMissing as missing:
        pytest.skip(str(missing))
    with Postgresql(programs) as opened:
        yield opened


@pytest.fixture
def make_lab(engine: Engine, toxiproxy: ToxiproxyProcess) -> Iterator[Callable[[Stack], Lab]]:
    labs: list[Lab] = []

    def make(stack: Stack) -> Lab:
        lab = Lab(stack=stack, route=Route(engine, toxiproxy, stack))
        lab.set_up()
        labs.append(lab)
        return lab

    yield make
    for lab in labs:
        for client in lab.clients:
            client.close(timeout=2.0)
        lab.route.close()


@pytest.fixture
def lab(shared: Stack, make_lab: Callable[[Stack], Lab]) -> Lab:
    return make_lab(shared)


@pytest.fixture
def own_lab(engine: Engine, tmp_path: Path, make_lab: Callable[[Stack], Lab]) -> Iterator[Lab]:
    """A lab on a Vault of its own, which may be sealed and broken."""
    with launch(engine, Blueprint.default(), NodeSpec(directory=tmp_path / "vault")) as stack:
        yield make_lab(stack)
