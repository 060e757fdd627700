from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.running import ran
from vault_harness import files
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import launch
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.vault.kv import Kv
from vault_harness.operator.backup import Backup, Keys, Lock, Opener, make_backup, new_identity

BLUEPRINT = Blueprint.default()
PRIVATE, PUBLIC = new_identity()
LOCK, OPENER = Lock(recipients=(PUBLIC,)), Opener(identities=(PRIVATE,))


def backup_of_one(engine: Engine, directory: Path) -> Backup:
    """Back up a single server with the secret ``backend/only-here``."""
    spec = NodeSpec(directory=directory / "vault", storage="raft")
    with launch(engine, BLUEPRINT, spec) as single:
        Kv(single.operator).write("backend/only-here", {"A": "1"}, cas=0)
        keys, mounts = Keys(single.keyring), BLUEPRINT.mounts
        return make_backup(single.operator, keys, directory / "backups", LOCK, mounts=mounts)


def run(stack: LocalStack, backup: Backup, private: str, *more: str) -> tuple[int, str]:
    """Run ``restore`` by its command line with the private identity; return code and output."""
    identity = stack.data_dir.parent / "identity"
    files.write_private(identity, f"{private}\n")
    words = ["restore", "--source", str(backup.directory), "--identity", str(identity), *more]
    answer = ran([sys.executable, "-m", "vault_harness", *words], env=os.environ)
    return answer.returncode, answer.stdout + answer.stderr
