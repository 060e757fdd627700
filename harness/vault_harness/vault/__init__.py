"""The operator's side of one Vault: init, unseal, seal, blueprints, AppRoles."""

from vault_harness.vault import approle
from vault_harness.vault._connection import SealStatus
from vault_harness.vault.apply import Change, apply, values_replaced
from vault_harness.vault.keyring import Keyring
from vault_harness.vault.operator import Operator

__all__ = ["Operator", "Keyring", "SealStatus", "apply", "Change", "values_replaced", "approle"]
