"""Doing without the root token: an operator's token, revoking root, making it anew."""

from vault_harness.vault.root._generate import generate_root, prove_keys
from vault_harness.vault.root._revoke import RootRevoked, revoke_root
from vault_harness.vault.root._standing import (
    OPERATOR_POLICY,
    OPERATOR_TOKEN_NAME,
    alive,
    install_operator,
    needing_root,
    operator_policy,
    operator_token,
    standing_operator,
)

__all__ = [
    "standing_operator",
    "needing_root",
    "operator_token",
    "operator_policy",
    "install_operator",
    "alive",
    "revoke_root",
    "RootRevoked",
    "generate_root",
    "prove_keys",
    "OPERATOR_POLICY",
    "OPERATOR_TOKEN_NAME",
]
