from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.running import serving
from tests.unit.vault.fake_vault import FakeVault, Serve


@pytest.fixture
def serve() -> Iterator[Serve]:
    with contextlib.ExitStack() as started:
        yield lambda: started.enter_context(serving(FakeVault()))
