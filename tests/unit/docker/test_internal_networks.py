"""A network whose containers reach each other and this machine only."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.local.engine.docker.labels import OwnerProcess
from vault_harness.local.engine.docker.network import PrivateNetwork

GIVEN = {"Subnet": "172.30.0.0/16", "Gateway": "172.30.0.1/16"}


@pytest.mark.parametrize(
    ("outward", "aside"), [(True, None), (False, {"DefaultGatewayIPv4": "172.30.255.254"})]
)
def test_where_it_leads(outward: bool, aside: dict[str, str] | None) -> None:
    """The default route leads to an unused address."""
    asked: list[dict[str, Any]] = []

    def create(*_: object, **given: Any) -> Any:
        asked.append(given)
        attrs = {"IPAM": {"Config": [GIVEN]}}
        return SimpleNamespace(attrs=attrs, reload=lambda: None, remove=lambda: None)

    client: Any = SimpleNamespace(networks=SimpleNamespace(create=create))
    network = PrivateNetwork(client, OwnerProcess(), outward=outward)
    (pool,) = asked[-1]["ipam"]["Config"]
    assert (pool["Subnet"], pool["Gateway"]) == ("172.30.0.0/16", "172.30.0.1")
    assert pool.get("AuxiliaryAddresses") == aside
    assert network.gateway == "172.30.0.1"
