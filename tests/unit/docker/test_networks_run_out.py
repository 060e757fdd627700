"""An engine has networks for about thirty runs at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError

from vault_harness.errors import EngineError
from vault_harness.local.engine.docker.labels import OwnerProcess
from vault_harness.local.engine.docker.network import PrivateNetwork

SAID = "could not find an available, non-overlapping IPv4 address pool among the defaults"


def test_none_is_left() -> None:
    def create(*_: object, **__: object) -> None:
        raise APIError(SAID)

    client: Any = SimpleNamespace(networks=SimpleNamespace(create=create))
    with pytest.raises(EngineError) as caught:
        PrivateNetwork(client, OwnerProcess())
    assert SAID in caught.value.looked_at
    assert "HARNESS_WORKERS" in caught.value.remedy
