"""Moving an application's secrets from a dotenv file into Vault, and back."""

from vault_harness.vault.migrate._dotenv import DotEnv, assignment, parse, read
from vault_harness.vault.migrate._doubts import Note, Variable
from vault_harness.vault.migrate._files import ClientSettings
from vault_harness.vault.migrate._mapping import Place, VariableMap, load_map
from vault_harness.vault.migrate._plan import Placement, Plan, make_plan
from vault_harness.vault.migrate._run import Outcome, migrate, previous_versions
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
    "Place",
    "load_map",
    "make_plan",
    "Plan",
    "Placement",
    "migrate",
    "undo",
    "find_undo",
    "previous_versions",
    "seeded_by",
    "with_templates",
    "ClientSettings",
    "Outcome",
]
