"""Clients reach Vault through Toxiproxy: what is in their way is told, and taken away on demand."""

from __future__ import annotations

import os
import signal

from vault_harness.stack import LocalStack, StackRecord
from vault_harness.toxiproxy import Latency, Toxiproxy


def test_a_free_way_has_no_obstacles(stack: LocalStack) -> None:
    """After `up` there is nothing to tell, and nothing to heal."""
    stack.up()

    assert stack.status().obstacles == ()
    assert stack.heal() == []


def test_toxics_and_a_disabled_proxy_are_told_and_healed(stack: LocalStack) -> None:
    """Vault itself is fine, and no client reaches it: `status` and `up` say so, `heal` mends it."""
    endpoints = stack.up()
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


def test_a_proxy_that_is_gone_or_leads_elsewhere(stack: LocalStack) -> None:
    """Both are told, and mended by `heal` as by `up`."""
    endpoints = stack.up()
    toxiproxy = Toxiproxy(endpoints.toxiproxy)
    toxiproxy.proxy("vault").update(upstream="127.0.0.1:1")
    (line,) = stack.status().obstacles
    assert "127.0.0.1:1" in line
    assert stack.heal() == ["led the proxy vault to Vault again"]
    assert stack.status().obstacles == ()

    toxiproxy.proxy("vault").delete()
    assert stack.status().obstacles == ("the proxy vault in front of Vault is gone",)
    assert stack.heal() == ["made the proxy vault anew"]
    assert stack.status().obstacles == ()


def test_a_paused_toxiproxy_is_not_ready(stack: LocalStack) -> None:
    """Its process runs and Vault answers, and yet no client gets through; `up` wakes it."""
    stack.up()
    pid = int(StackRecord.load(stack.data_dir).services["toxiproxy"]["pid"])
    os.kill(pid, signal.SIGSTOP)
    try:
        status = stack.status()
        assert status.state == "not answering"
        assert "Toxiproxy does not answer" in status.obstacles[0]
    finally:
        stack.up()
    assert stack.status().state == "ready"
    assert stack.status().obstacles == ()
