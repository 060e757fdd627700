"""A Vault held against what is good practice in production: kept, broken, or cannot tell.

The doctor asks whether a stack works as its blueprint has it; this asks whether one would want to
sleep beside it. It changes nothing.
"""

from __future__ import annotations

from vault_harness.boundary import without_frames
from vault_harness.errors import HarnessError
from vault_harness.vault.practices import _access, _server
from vault_harness.vault.practices._practice import Deployment, Practice, Standing, cannot_tell

__all__ = ["go_through", "PRACTICES", "Deployment", "Practice", "Standing"]

PRACTICES = {
    "root token": _server.root_token,
    "audit": _server.audit,
    "TLS": _server.tls,
    "HA": _server.high_availability,
    "key shares": _server.unseal_keys,
    "auto-unseal": _server.auto_unseal,
    "secret-ids": _access.secret_ids,
    "token lives": _access.tokens,
    "policies": _access.policies,
    "lockout": _access.lockout,
    "rotation": _access.rotation,
    "backups": _server.backups,
    "monitoring": _server.monitoring,
}
"""Each practice by its name, in the order in which they are told."""


@without_frames
def go_through(deployment: Deployment) -> list[Practice]:
    """How each practice stands; one that may not be looked at is told as such, never raised."""
    found = []
    for name, look in PRACTICES.items():
        try:
            found.append(look(deployment))
        except HarnessError as error:
            found.append(cannot_tell(name, error.looked_at, error.cause, error.remedy))
    return found
