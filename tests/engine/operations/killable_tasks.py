"""Run one operator's task for each input line, in a process that can be killed after any step.

Reads ``{"task": NAME, "kill_after": N or null, "arguments": {...}}`` from stdin, answers
``{"killed": BOOL, "steps": [...], "error": TEXT or null}``. N counts the task's steps from 1.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.kv import Kv
from vault_harness.local.vault.root import generate_root, revoke_root
from vault_harness.local.vault.tokens import operator_token
from vault_harness.operator.backup import Backup, Opener
from vault_harness.operator.backup import restore as restore_backup
from vault_harness.operator.migrate import (
    ClientSettings,
    VariableMap,
    make_plan,
    previous_versions,
    read,
)
from vault_harness.operator.migrate import migrate as run_migration
from vault_harness.operator.migrate import undo as undo_migration
from vault_harness.operator.rotate import (
    configured,
    known_targets,
    roll_back,
    rotate_secret,
    rotate_secret_id,
)
from vault_harness.operator.rotate.rotation import How

Checkpoint = Callable[[str], None]


def migrate(given: dict[str, Any], checkpoint: Checkpoint) -> None:
    kv = Kv(VaultAdmin(given["address"], given["token"]), given["mount"])
    env_file, data_dir = Path(given["env_file"]), Path(given["data_dir"])
    plan = make_plan(
        kv, read(env_file), VariableMap.guide(), written=previous_versions(kv, data_dir)
    )
    settings = ClientSettings(
        given["address"], "backend", data_dir / "role", data_dir / "secret", given["mount"]
    )
    run_migration(kv, plan, env_file, settings, data_dir=data_dir, checkpoint=checkpoint)


def undo(given: dict[str, Any], checkpoint: Checkpoint) -> None:
    kv = Kv(VaultAdmin(given["address"], given["token"]), given["mount"])
    undo_migration(
        kv, Path(given["env_file"]), data_dir=Path(given["data_dir"]), checkpoint=checkpoint
    )


def secret_id(given: dict[str, Any], checkpoint: Checkpoint) -> None:
    op = VaultAdmin(given["address"], given["token"])
    rotate_secret_id(op, given["role"], Path(given["directory"]), checkpoint=checkpoint)


def secret(given: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Rotate a secret, on its server too if it has one, or undo that."""
    kv = Kv(VaultAdmin(given["address"], given["token"]), given["mount"])
    turn = roll_back if given.get("back") else rotate_secret
    turn(
        kv,
        known_targets()[given["target"]],
        Path(given["directory"]),
        How(lambda kind: configured(kind, given.get("servers", {})), checkpoint=checkpoint),
    )


def root_revoke(given: dict[str, Any], checkpoint: Checkpoint) -> None:
    keyring = Path(given["keyring"])
    root = VaultAdmin(given["address"], Keyring.load(keyring).root_token)
    revoke_root(root, keyring, ["ecommerce"], keyring.parent, checkpoint=checkpoint)


def root_generate(given: dict[str, Any], checkpoint: Checkpoint) -> None:
    keyring = Path(given["keyring"])
    op = VaultAdmin(given["address"], operator_token(keyring.parent))
    generate_root(op, keyring, keyring.parent, checkpoint=checkpoint)


def restore(given: dict[str, Any], checkpoint: Checkpoint) -> None:
    backup = Backup.load(Path(given["backup"]))
    opener = Opener(identities=(given["identity"],))
    restore_backup(
        [VaultAdmin(address) for address in given["addresses"]],
        Path(given["keyring"]),
        backup.open(opener),
        overwrite=given.get("overwrite", False),
        checkpoint=checkpoint,
    )


TASKS: dict[str, Callable[[dict[str, Any], Checkpoint], None]] = {
    "migrate": migrate,
    "undo": undo,
    "secret_id": secret_id,
    "secret": secret,
    "root_revoke": root_revoke,
    "root_generate": root_generate,
    "restore": restore,
}


def in_child(job: dict[str, Any], report: int) -> None:
    """Run the task, report each step to the parent, and die without cleanup when told."""
    count = 0

    def checkpoint(step: str) -> None:
        nonlocal count
        count += 1
        os.write(report, f"{step}\n".encode())
        if count == job["kill_after"]:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        TASKS[job["task"]](job["arguments"], checkpoint)
    except BaseException:  # noqa: BLE001 -- whatever it is, the test shall see it
        os.write(report, f"!{json.dumps(traceback.format_exc())}\n".encode())
        os._exit(1)
    os._exit(0)


def main() -> None:
    for line in sys.stdin:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            in_child(json.loads(line), writing)
        os.close(writing)
        with os.fdopen(reading) as lines:
            told = lines.read().splitlines()
        _, status = os.waitpid(pid, 0)
        errors = [json.loads(each[1:]) for each in told if each.startswith("!")]
        answer = {
            "killed": os.WIFSIGNALED(status),
            "steps": [each for each in told if not each.startswith("!")],
            "error": errors[0] if errors else None,
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
