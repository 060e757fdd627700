"""Compare a Vault with good practice in production, and change nothing.

The doctor checks that a stack works as its blueprint says. This checks that it is safe to run.
"""

from __future__ import annotations

from vault_harness.errors import HarnessError, without_frames
from vault_harness.operator.doctor.check import CheckResult, Deployment, unknown
from vault_harness.operator.practices import access, server

__all__ = ["go_through", "PRACTICES"]

PRACTICES = {
    "root token": server.root_token,
    "audit": server.audit,
    "TLS": server.tls,
    "HA": server.high_availability,
    "key shares": server.unseal_keys,
    "auto-unseal": server.auto_unseal,
    "secret-ids": access.secret_ids,
    "token lives": access.tokens,
    "policies": access.policies,
    "lockout": access.lockout,
    "rotation": access.rotation,
    "backups": server.backups,
    "monitoring": server.monitoring,
}
"""In the order of the report."""


@without_frames
def go_through(deployment: Deployment) -> list[CheckResult]:
    """Return all results; an error becomes an unknown one."""
    found = []
    for name, look in PRACTICES.items():
        try:
            found.append(look(deployment))
        except HarnessError as error:
            found.append(unknown(name, error.looked_at, error.cause, error.remedy))
    return found
