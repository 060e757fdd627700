from __future__ import annotations

import pytest

from vault_harness.errors import ProgramMissing
from vault_harness.local.programs import find_balancer


@pytest.fixture
def haproxy() -> None:
    """Skip without HAProxy, which a cluster needs."""
    try:
        find_balancer()
    except ProgramMissing as error:
        pytest.skip(error.cause)
