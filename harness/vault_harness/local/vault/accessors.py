"""List, look up and revoke tokens by their accessors. A token may end after it was listed."""

from __future__ import annotations

from typing import Any

from vault_harness.errors import OperatorError
from vault_harness.local.vault.admin import VaultAdmin

_ENDED = ("invalid accessor", "bad token")
"""Vault's messages for an ended token; the second one if it ends during the look-up."""


def living(op: VaultAdmin) -> list[str]:
    found = op.request("LIST", "auth/token/accessors").get("data") or {}
    return [str(accessor) for accessor in found.get("keys") or []]


def look_up(op: VaultAdmin, accessor: str) -> dict[str, Any] | None:
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
