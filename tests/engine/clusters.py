from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import hvac

from vault_harness.local.stack.env import service_environment
from vault_harness.local.stack.local import LocalStack
from vault_harness.waiting import wait_until

THREE = ["vault", "vault-2", "vault-3"]


@contextlib.contextmanager
def backend(stack: LocalStack) -> Iterator[hvac.Client]:
    """Yield a logged-in client of the backend, through Toxiproxy and the balancer."""
    variables = service_environment(stack, "backend")
    names = ("VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY")
    shown = [variables[name] for name in names if name in variables]
    client = hvac.Client(
        url=variables["VAULT_ADDR"],
        timeout=5,
        verify=variables.get("VAULT_CACERT", True),
        cert=tuple(shown) or None,
    )
    client.auth.approle.login(
        role_id=Path(variables["VAULT_ROLE_ID_FILE"]).read_text(),
        secret_id=Path(variables["VAULT_SECRET_ID_FILE"]).read_text(),
    )
    with contextlib.closing(client.adapter):
        yield client


def secret_key(client: hvac.Client) -> str:
    found = client.secrets.kv.v2.read_secret_version(
        "backend/django", mount_point="ecommerce", raise_on_deleted_version=True
    )
    return str(found["data"]["data"]["SECRET_KEY"])


def reads_again(client: hvac.Client, key: str) -> None:
    def reads() -> bool:
        with contextlib.suppress(Exception):
            return secret_key(client) == key
        return False

    wait_until(reads, "the backend to read its secret", timeout=30)


def all_vote(stack: LocalStack, count: int = 3) -> None:
    """Check that each node counts for the quorum and one of them leads."""
    nodes = stack.status().nodes
    assert sorted(node.role for node in nodes) == ["leader", *["standby"] * (count - 1)]
    assert {node.voter for node in nodes} == {True}
