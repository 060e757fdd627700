from __future__ import annotations

from pathlib import Path
from typing import Any

from vault_harness.local.vault.kv import Kv


def rotation(kv: Kv, target: str, directory: Path) -> dict[str, Any]:
    """Return the words of a rotation for a task that may be killed."""
    return {
        "address": kv.op.address,
        "token": kv.op.client.token,
        "mount": kv.mount,
        "target": target,
        "directory": str(directory),
    }
