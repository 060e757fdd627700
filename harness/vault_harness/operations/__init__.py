"""The tasks of the operator's side: thin bodies over `vault_harness.vault`, which do the talking.

`add_to` puts them into a collection; nothing is imported for a task before it runs.
"""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection

from vault_harness.operations._audit import audit, audit_report
from vault_harness.operations._backup import (
    backup,
    backup_identity,
    backup_keys,
    backup_list,
    backup_verify,
    drill,
    restore,
    restore_keys,
)
from vault_harness.operations._command_line import vault
from vault_harness.operations._doctor import doctor, unlock
from vault_harness.operations._migrate import migrate
from vault_harness.operations._root import root_generate, root_revoke
from vault_harness.operations._rotate import rotate_rollback, rotate_secret_id, rotate_secrets

__all__ = ["add_to"]


def add_to(namespace: Collection) -> None:
    """Add the operator's tasks to the collection of all tasks."""
    alone: tuple[Any, ...] = (migrate, drill, vault, doctor, unlock)
    for one in alone:
        namespace.add_task(one)
    groups = {
        "rotate": (rotate_secret_id, rotate_secrets, rotate_rollback),
        "backup": (backup, backup_keys, backup_list, backup_verify, backup_identity),
        "restore": (restore, restore_keys),
        "root": (root_revoke, root_generate),
        "audit": (audit, audit_report),
    }
    for name, tasks in groups.items():
        namespace.add_collection(Collection(name, *tasks))
