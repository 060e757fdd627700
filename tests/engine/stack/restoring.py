from __future__ import annotations

import os
import sys

from tests.running import ran
from vault_harness import files
from vault_harness.local.stack.local import LocalStack
from vault_harness.operator.backup import Backup


def run(stack: LocalStack, backup: Backup, private: str, *more: str) -> tuple[int, str]:
    """Run ``restore`` by its command line with the private identity; return code and output."""
    identity = stack.data_dir.parent / "identity"
    files.write_private(identity, f"{private}\n")
    words = ["restore", "--source", str(backup.directory), "--identity", str(identity), *more]
    answer = ran([sys.executable, "-m", "vault_harness", *words], env=os.environ)
    return answer.returncode, answer.stdout + answer.stderr
