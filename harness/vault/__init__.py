"""The operator's side of one Vault: init, unseal, seal, blueprints, AppRoles."""

from harness.vault import approle
from harness.vault.apply import Change, apply
from harness.vault.keyring import Keyring
from harness.vault.operator import Operator, SealStatus

__all__ = ["Operator", "Keyring", "SealStatus", "apply", "Change", "approle"]
