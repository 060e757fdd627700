"""How a client's process ends, and what is told of one that does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vault_harness.errors import DeadlineExceeded
from vault_harness.subjects import _process
from vault_harness.subjects._process import Life, spawn


def test_one_that_cannot_be_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for no longer than a death takes, and named."""
    leashed = spawn(["sleep", "600"], os.environ, tmp_path / "log", talks=False)
    life = Life(leashed, lambda _: None)
    try:
        with monkeypatch.context() as held:
            held.setattr(_process, "_BURIAL_SECONDS", 0.05)
            # As one within a system call that does not return: a signal does nothing.
            held.setattr(life, "signal", lambda _: None)
            with pytest.raises(DeadlineExceeded, match="after SIGKILL") as told:
                life.end()
        assert f"pid {life.process.pid}" in str(told.value)
        assert not life.ended.is_set()
    finally:
        life.end()
    assert life.code == -9
