from __future__ import annotations

import os
import subprocess

from vault_harness.settings import checkout


def by_hand(*words: str, **variables: str) -> str:
    """Run Compose from the checkout, as docs/how-to/compose-by-hand.md describes it."""
    root = checkout()
    assert root is not None
    answer = subprocess.run(
        ["docker", "compose", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=root,
        env=os.environ | variables,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout
