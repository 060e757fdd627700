"""What a report needs to know of the Vault that wrote the log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vault_harness.boundary import without_frames
from vault_harness.errors import OperatorError
from vault_harness.vault import approle
from vault_harness.vault.audit._entry import Filter
from vault_harness.vault.audit._joined import joined_entries
from vault_harness.vault.audit._report import AuditReport, summarise
from vault_harness.vault.operator import Operator


@without_frames
def report(op: Operator, logs: Iterable[Path], *, wanted: Filter | None = None) -> AuditReport:
    """Sum up the audit logs of a Vault's nodes, of the namespace that ``op`` acts in alone.

    Args:
        op: May list and read policies and AppRoles, and ``sys/audit-hash``.
        logs: One log for each node; a request that one handed on to another counts once.
        wanted: Only these entries.

    Raises:
        OperatorError: Vault refused.
        HarnessError: A log cannot be read.
    """
    wanted = replace(wanted or Filter(), namespace=op.namespace)
    hashes = hashes_of_roles(op)
    found = joined_entries({str(log): log for log in logs}, wanted, roles=hashes)
    return summarise(found, roles=roles_of(op), policies=policies_of(op))


def roles_of(op: Operator) -> dict[str, tuple[str, ...]]:
    """AppRoles, each with the policies of its tokens."""
    names = _listed(op, "auth/approle/role")
    return {
        name: tuple(op.request("GET", f"auth/approle/role/{name}")["data"]["token_policies"] or ())
        for name in names
    }


def policies_of(op: Operator) -> dict[str, str]:
    """Policies, each with its text; ``root`` has none."""
    return {
        name: str(op.request("GET", f"sys/policies/acl/{name}")["data"]["policy"])
        for name in _listed(op, "sys/policies/acl")
        if name != "root"
    }


@without_frames
def hashes_of_roles(op: Operator) -> dict[str, str]:
    """Role names by the hash that the audit log has of their role-id.

    Empty if no audit device is on, or the token may not ask: failed logins then have no role.
    """
    hashes = {}
    with contextlib.suppress(OperatorError):
        devices = op.request("GET", "sys/audit").get("data", {})
        for role in _listed(op, "auth/approle/role"):
            role_id = approle.role_id(op, role)
            for device in devices:
                path = f"sys/audit-hash/{device.rstrip('/')}"
                hashes[str(op.request("POST", path, input=role_id)["data"]["hash"])] = role
    return hashes


def _listed(op: Operator, path: str) -> list[str]:
    return [str(key) for key in op.request("LIST", path).get("data", {}).get("keys", [])]
