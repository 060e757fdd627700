from __future__ import annotations

from vault_harness.errors import OperatorError
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.kv import Kv
from vault_harness.waiting import wait_until


def new_kv(op: VaultAdmin, mount: str) -> Kv:
    """Mount a KV v2 engine, and wait until it has set itself up: it first refuses all requests."""
    op.request("POST", f"sys/mounts/{mount}", type="kv", options={"version": "2"})

    def is_set_up() -> bool:
        try:
            op.request("GET", f"{mount}/config")
        except OperatorError as error:
            if "Upgrading from non-versioned" not in error.cause:
                raise
            return False
        return True

    wait_until(is_set_up, f"the new mount {mount} to be set up", timeout=10.0)
    return Kv(op, mount)
