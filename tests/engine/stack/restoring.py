from __future__ import annotations

import os
import subprocess
import sys

from vault_harness import files
from vault_harness.local.stack.local import LocalStack
from vault_harness.operator.backup import Backup


def run(stack: LocalStack, backup: Backup, private: str, *more: str) -> tuple[int, str]:
    """Run ``restore`` by its command line with the private identity; return code and output."""
    identity = stack.data_dir.parent / "identity"
    files.write_private(identity, f"{private}\n")
    words = ["restore", "--source", str(backup.directory), "--identity", str(identity), *more]
    answer = subprocess.run(
        [sys.executable, "-m", "vault_harness", *words],
        env=os.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return answer.returncode, answer.stdout + answer.stderr
