from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.engine.client.lab import Lab
from tests.engine.client.route import Route
from vault_harness.errors import ProgramMissing
from vault_harness.local.engine.process.postgresql import Postgresql
from vault_harness.local.engine.shape import Engine, ToxiproxyProcess
from vault_harness.local.programs import find_postgresql
from vault_harness.local.stack.launching import Stack


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
def own_lab(stack: Stack, make_lab: Callable[[Stack], Lab]) -> Lab:
    """A lab on a Vault of its own, which may be sealed and broken."""
    return make_lab(stack)
