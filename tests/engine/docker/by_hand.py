from __future__ import annotations

import os

from tests.running import ran
from vault_harness.settings import checkout


def by_hand(*words: str, **variables: str) -> str:
    """Run Compose from the checkout, as docs/how-to/compose-by-hand.md describes it."""
    root = checkout()
    assert root is not None
    answer = ran(["docker", "compose", *words], cwd=root, env=os.environ | variables)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout
