from __future__ import annotations

from collections.abc import Iterator
from socketserver import BaseServer

import pytest


@pytest.fixture(scope="session", autouse=True)
def servers_end_at_once() -> Iterator[None]:
    """Let servers of the standard library look for their end every 20 ms, not twice a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseServer.serve_forever, "__defaults__", (0.02,))
        yield
