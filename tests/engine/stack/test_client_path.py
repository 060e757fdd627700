from __future__ import annotations

import pytest

from tests.engine.stack.freezing import freeze
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.toxiproxy.client import Toxiproxy
from vault_harness.local.toxiproxy.toxics import Latency

pytestmark = pytest.mark.xdist_group("client path")  # they share a stack


@pytest.fixture
def stack(shared: LocalStack) -> LocalStack:
    return shared


def test_toxics_and_a_disabled_proxy_are_named_and_healed(stack: LocalStack) -> None:
    endpoints = stack.endpoints()
    proxy = Toxiproxy(endpoints.toxiproxy).proxy("vault")
    proxy.add(Latency(latency=1), name="slow", stream="upstream")
    proxy.disable()
    stack.up()

    status = stack.status()
    assert status.state == "ready"
    assert status.obstacles == (
        "the proxy vault is disabled",
        "the toxic slow (latency, upstream) is on the proxy vault",
    )
    assert status.next_step.endswith("heal")

    assert stack.heal() == [
        "removed the toxic slow from the proxy vault",
        "enabled the proxy vault",
    ]
    assert stack.status().obstacles == ()
    assert not stack.status().next_step.endswith("heal")


def test_a_missing_or_misdirected_proxy_is_repaired(stack: LocalStack) -> None:
    endpoints = stack.endpoints()
    toxiproxy = Toxiproxy(endpoints.toxiproxy)
    toxiproxy.proxy("vault").update(upstream="127.0.0.1:1")
    (line,) = stack.status().obstacles
    assert "127.0.0.1:1" in line
    assert stack.heal() == ["led the proxy vault to Vault again"]
    assert stack.status().obstacles == ()

    toxiproxy.proxy("vault").delete()
    assert stack.status().obstacles == ("the proxy vault in front of Vault is gone",)
    assert stack.heal() == ["made the proxy vault again"]
    assert stack.status().obstacles == ()


def test_toxics_are_shown_and_survive_up(stack: LocalStack) -> None:
    endpoints = stack.endpoints()
    toxiproxy = Toxiproxy(endpoints.toxiproxy)
    toxiproxy.proxy("vault").add(Latency(latency=1), name="slow")
    stack.up()

    (proxy,) = stack.status().to_json()["proxies"]
    (toxic,) = proxy["toxics"]
    assert (toxic["name"], toxic["type"]) == ("slow", "latency")
    assert toxic["attributes"]["latency"] == 1

    toxiproxy.proxy("vault").delete()
    stack.up()
    assert toxiproxy.proxy("vault").listen == endpoints.node.proxy_listen


def test_a_paused_toxiproxy_is_not_ready(stack: LocalStack) -> None:
    """Although Vault answers; `up` resumes it."""
    pid = int(StackRecord.load(stack.data_dir).services["toxiproxy"]["pid"])
    freeze(pid)
    try:
        status = stack.status()
        assert status.state == "not answering"
        assert "Toxiproxy does not answer" in status.obstacles[0]
    finally:
        stack.up()
    assert stack.status().state == "ready"
    assert stack.status().obstacles == ()
