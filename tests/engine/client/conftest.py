"""A real Vault, a way to it that can be broken, and clients that are closed after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.client.lab import Lab
from tests.engine.client.way import Way
from vault_harness.blueprint import Blueprint
from vault_harness.engine import Engine, ToxiproxyProcess, open_engine
from vault_harness.settings import Settings
from vault_harness.stack import Stack, launch


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The process engine, whatever is chosen outside."""
    settings = Settings.from_environment(engine="process")
    with open_engine(settings, directory=tmp_path_factory.mktemp("engine")) as opened:
        yield opened


@pytest.fixture(scope="session")
def shared(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Vault that several tests use: none of them may seal or break it."""
    with launch(engine, Blueprint.default(), directory=tmp_path_factory.mktemp("vault")) as stack:
        yield stack


@pytest.fixture(scope="session")
def toxiproxy(engine: Engine) -> Iterator[ToxiproxyProcess]:
    """A Toxiproxy server in which each test has a proxy of its own."""
    server = engine.toxiproxy(seed=1)
    yield server
    server.stop()


@pytest.fixture
def make_lab(engine: Engine, toxiproxy: ToxiproxyProcess) -> Iterator[Callable[[Stack], Lab]]:
    """Make a lab on a Vault; its clients and its way are closed after the test."""
    labs: list[Lab] = []

    def make(stack: Stack) -> Lab:
        lab = Lab(stack=stack, way=Way(engine, toxiproxy, stack))
        lab.set_up()
        labs.append(lab)
        return lab

    yield make
    for lab in labs:
        for client in lab.clients:
            client.close(timeout=2.0)
        lab.way.close()


@pytest.fixture
def lab(shared: Stack, make_lab: Callable[[Stack], Lab]) -> Lab:
    """A lab on the shared Vault."""
    return make_lab(shared)


@pytest.fixture
def own_lab(engine: Engine, tmp_path: Path, make_lab: Callable[[Stack], Lab]) -> Iterator[Lab]:
    """A lab on a Vault of its own, which may be sealed and broken."""
    with launch(engine, Blueprint.default(), directory=tmp_path / "vault") as stack:
        yield make_lab(stack)
