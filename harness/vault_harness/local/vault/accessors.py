"""List, look up and revoke tokens by their accessors, which are no tokens themselves.

A token may end at any moment, also after it was listed.
"""

from __future__ import annotations

from typing import Any

from vault_harness.errors import OperatorError
from vault_harness.local.vault.admin import VaultAdmin

_ENDED = ("invalid accessor", "bad token")
"""Vault's messages for an ended token. The second one occurs if it ends during the look-up."""


def living(op: VaultAdmin) -> list[str]:
    """Return the accessors of all tokens in the namespace of ``op``."""
    found = op.request("LIST", "auth/token/accessors").get("data") or {}
    return [str(accessor) for accessor in found.get("keys") or []]


def look_up(op: VaultAdmin, accessor: str) -> dict[str, Any] | None:
    """Return what Vault knows of a token, or None if it has ended."""
    try:
        answer = op.request("POST", "auth/token/lookup-accessor", accessor=accessor)
    except OperatorError as error:
        if _has_ended(error):
            return None
        raise
    return dict(answer.get("data") or {})


def revoke(op: VaultAdmin, accessor: str) -> bool:
    """Revoke a token. Return False if it had ended before."""
    try:
        answer = op.request("POST", "auth/token/revoke-accessor", accessor=accessor)
    except OperatorError as error:
        if _has_ended(error):
            return False
        raise
    # OpenBao only warns about an unknown accessor.
    return not any("No token found" in str(warning) for warning in answer.get("warnings") or ())


def _has_ended(error: OperatorError) -> bool:
    return any(said in error.cause for said in _ENDED)
