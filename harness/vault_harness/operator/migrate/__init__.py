"""Move secrets from a dotenv file into Vault, and back."""

from vault_harness.operator.migrate.dotenv import DotEnv, assignment, parse, read
from vault_harness.operator.migrate.doubts import Note, Variable
from vault_harness.operator.migrate.files import ClientSettings
from vault_harness.operator.migrate.plan import (
    Place,
    Placement,
    Plan,
    VariableMap,
    load_map,
    make_plan,
)
from vault_harness.operator.migrate.run import Outcome, find_undo, migrate, previous_versions, undo

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
    "ClientSettings",
    "Outcome",
]
