from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.vault.fake_vault import FakeVault, Serve


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[FakeVault] = []

    def start() -> FakeVault:
        server = FakeVault()
        server.begin()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()
