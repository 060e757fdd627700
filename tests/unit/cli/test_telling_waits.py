from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vault_harness import waiting
from vault_harness.errors import Busy
from vault_harness.local.stack import lock as lock_module

Program = Callable[..., Any]  # of conftest.py


def test_a_task_that_waits_for_another(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may read stdout."""
    monkeypatch.setenv("HARNESS_LOCK_TIMEOUT", "1")
    for module in (waiting, lock_module):
        monkeypatch.setattr(module, "PATIENT_SECONDS", 0.1)
    data_dir = tmp_path / "vault-data"
    data_dir.mkdir(mode=0o700)
    with (data_dir / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ended = program("down")
    assert (ended.code, ended.out) == (Busy.exit_code, "")
    assert ended.err.startswith("waiting for another task that holds the stack, 1 s at most")
