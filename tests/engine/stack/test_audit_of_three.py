from __future__ import annotations

import contextlib
from functools import partial

import hvac
import hvac.exceptions
import pytest

from vault_harness.local.blueprint import Blueprint
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes
from vault_harness.operator.audit import (
    Filter,
    hashes_of_roles,
    joined_entries,
    last_joined,
    report,
)
from vault_harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,  # a cluster takes ten seconds
    pytest.mark.usefixtures("haproxy"),
]


def as_backend(stack: LocalStack, address: str, number: int) -> None:
    """Send eight requests to one node: logins, and reads that succeed, fail or are denied."""
    role_id, secret_id = (
        (stack.data_dir / f"backend-{name}").read_text() for name in ("role-id", "secret-id")
    )
    client = hvac.Client(url=address, token="", timeout=20)
    kv = client.secrets.kv.v2
    with contextlib.closing(client.adapter):
        with pytest.raises(hvac.exceptions.InvalidRequest):
            client.auth.approle.login(role_id=role_id, secret_id="wrong")
        client.auth.approle.login(role_id=role_id, secret_id=secret_id)
        for path in ("backend/django", "backend/nothing", "ai/openai"):
            with contextlib.suppress(hvac.exceptions.InvalidPath, hvac.exceptions.Forbidden):
                kv.read_secret_version(
                    path, mount_point="ecommerce", raise_on_deleted_version=False
                )
        client.auth.token.renew_self()
        client.token = "hvs.dead"
        with pytest.raises(hvac.exceptions.Forbidden):
            client.secrets.kv.v1.read_secret(f"dead-{number}", mount_point="ecommerce")
        keyring = stack.keyring()
        assert keyring is not None
        client.token = keyring.root_token
        kv.create_or_update_secret(f"of-{number}", {"A": "1"}, mount_point="ecommerce")


def takes_writes(stack: LocalStack, address: str) -> bool:
    """A standby refuses a new KV v2 mount for a moment."""
    keyring = stack.keyring()
    assert keyring is not None
    client = hvac.Client(url=address, token=keyring.root_token, timeout=20)
    with contextlib.closing(client.adapter), contextlib.suppress(hvac.exceptions.InvalidRequest):
        client.secrets.kv.v2.create_or_update_secret("x", {"A": "1"}, mount_point="ecommerce")
        return True
    return False


def test_each_node_in_turn_is_asked_once(stack: LocalStack) -> None:
    stack.up(ha=True)
    stack.seed(Blueprint.default())
    logs = stack.provider().audit_paths
    assert [path.parent.name for path in logs.values()] == list(logs)
    endpoints = stack.endpoints()
    for node in endpoints.nodes:
        ready = partial(takes_writes, stack, node.address)
        wait_until(ready, "a node to take writes", timeout=30)
    before = len(list(joined_entries(logs)))
    for number, node in enumerate(endpoints.nodes):
        as_backend(stack, node.address, number)
    told = list(joined_entries(logs))[before:]
    assert len(told) == 8 * len(endpoints.nodes), "\n".join(map(str, told))
    assert last_joined(logs, len(told)) == told

    with contextlib.closing(stack.operator()) as op:
        roles = hashes_of_roles(op)
        found = report(op, logs.values(), wanted=Filter(since=told[0].time))
    logins = [
        (entry.node, entry.status)
        for entry in joined_entries(logs, Filter(who="backend"), roles=roles)
        if entry.is_login
    ]
    # A standby refuses by itself, and forwards what makes a token.
    leader = stack.status().leader
    assert logins == [each for node in logs for each in ((node, "failed"), (leader, "ok"))]
    use = found.roles["backend"]
    assert (use.logins, use.failed_logins) == (3, 3)
    assert use.denied == {"ecommerce/data/ai/openai": 3}
    assert use.missing == {"ecommerce/data/backend/nothing": 3}

    _, after, _ = Nodes(stack).step_down()
    as_backend(stack, next(n.address for n in endpoints.nodes if n.name == after), 3)
    assert {entry.node for entry in last_joined(logs, 3)} == {after}
    Nodes(stack).kill(after)
    assert len(list(joined_entries(logs))) >= before + len(told) + 8
