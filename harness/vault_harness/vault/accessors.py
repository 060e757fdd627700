"""Tokens by their accessors, which name a token without being one.

A token may come to its end at any moment, so also between a list and a look.
"""

from __future__ import annotations

from typing import Any

from vault_harness.errors import OperatorError
from vault_harness.vault.operator import Operator

_ENDED = ("invalid accessor", "bad token")
"""What Vault says of a token that is no more; the second where it ends within the look-up."""


def living(op: Operator) -> list[str]:
    """The accessors of all tokens of the namespace that ``op`` acts in.

    Raises:
        OperatorError: They may not be listed.
    """
    found = op.request("LIST", "auth/token/accessors").get("data") or {}
    return [str(accessor) for accessor in found.get("keys") or []]


def look_up(op: Operator, accessor: str) -> dict[str, Any] | None:
    """What Vault says of a token, or None if it has ended.

    Raises:
        OperatorError: It may not be looked up.
    """
    try:
        answer = op.request("POST", "auth/token/lookup-accessor", accessor=accessor)
    except OperatorError as error:
        if _has_ended(error):
            return None
        raise
    return dict(answer.get("data") or {})


def revoke(op: Operator, accessor: str) -> bool:
    """End a token; whether it had not ended before.

    Raises:
        OperatorError: It may not be revoked.
    """
    try:
        answer = op.request("POST", "auth/token/revoke-accessor", accessor=accessor)
    except OperatorError as error:
        if _has_ended(error):
            return False
        raise
    # OpenBao warns of an accessor that leads nowhere, and refuses nothing.
    return not any("No token found" in str(warning) for warning in answer.get("warnings") or ())


def _has_ended(error: OperatorError) -> bool:
    return any(said in error.cause for said in _ENDED)
