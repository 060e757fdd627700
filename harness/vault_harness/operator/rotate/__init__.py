"""Rotate secret-ids and secrets while clients keep running."""

from vault_harness.operator.rotate.exchange import SecretRotation
from vault_harness.operator.rotate.password_server import (
    Account,
    PasswordServer,
    ServerRefusedError,
    ServerUnreachableError,
)
from vault_harness.operator.rotate.postgresql import PostgreSQL
from vault_harness.operator.rotate.record import Target, find_targets, known_targets
from vault_harness.operator.rotate.redis import Redis
from vault_harness.operator.rotate.rotation import (
    POSTGRESQL_VARIABLE,
    REDIS_VARIABLE,
    How,
    NothingToRollBack,
    SecretPlan,
    configured,
    each_of,
    find_rollback,
    plan_secret,
    roll_back,
    rotate_secret,
)
from vault_harness.operator.rotate.secret_id import (
    SecretIdPlan,
    SecretIdRotation,
    plan_secret_id,
    rotate_secret_id,
)

__all__ = [
    "rotate_secret_id",
    "plan_secret_id",
    "SecretIdRotation",
    "SecretIdPlan",
    "How",
    "rotate_secret",
    "roll_back",
    "find_rollback",
    "plan_secret",
    "SecretPlan",
    "each_of",
    "NothingToRollBack",
    "SecretRotation",
    "Target",
    "find_targets",
    "known_targets",
    "configured",
    "PasswordServer",
    "PostgreSQL",
    "Redis",
    "Account",
    "ServerRefusedError",
    "ServerUnreachableError",
    "POSTGRESQL_VARIABLE",
    "REDIS_VARIABLE",
]
