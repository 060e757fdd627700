"""Moving an application's secrets from a dotenv file into Vault, and back."""

from vault_harness.vault.migrate._dotenv import DotEnv, Note, Variable, assignment, parse, read
from vault_harness.vault.migrate._files import ClientSettings
from vault_harness.vault.migrate._mapping import Target, VariableMap, load_map
from vault_harness.vault.migrate._plan import Placement, Plan, make_plan
from vault_harness.vault.migrate._run import Outcome, migrate, mount_uuid, previous_versions
from vault_harness.vault.migrate._seeded import seeded_by, with_templates
from vault_harness.vault.migrate._undo import find_undo, undo

__all__ = [
    "read",
    "parse",
    "assignment",
    "DotEnv",
    "Variable",
    "Note",
    "VariableMap",
    "Target",
    "load_map",
    "make_plan",
    "Plan",
    "Placement",
    "migrate",
    "undo",
    "find_undo",
    "previous_versions",
    "mount_uuid",
    "seeded_by",
    "with_templates",
    "ClientSettings",
    "Outcome",
]
