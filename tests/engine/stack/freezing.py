from __future__ import annotations

import os
import signal
from pathlib import Path

from vault_harness.waiting import wait_until


def freeze(pid: int) -> None:
    """Stop a process, and wait until its threads have returned from their system calls."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: _stands_still(pid), f"process {pid} to stand still", timeout=10)


def _stands_still(pid: int) -> bool:
    stats = [thread / "stat" for thread in Path(f"/proc/{pid}/task").iterdir()]
    return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats)
