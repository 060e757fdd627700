"""How a client's process ends, and what is told of one that does not."""

from __future__ import annotations

import os
import sys
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


BURNS = """
import subprocess, sys, time
while time.process_time() < 0.2:
    pass
if len(sys.argv) > 1:
    subprocess.run([sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize(("children", "least"), [(0, 0.2), (1, 0.4)])
def test_what_it_has_used(children: int, least: float, tmp_path: Path) -> None:
    """It is told once it has ended, when nobody can look at it any more; its children's with it."""
    program = tmp_path / "burns.py"
    program.write_text(BURNS)
    command = [sys.executable, str(program), *[str(program)] * children]
    life = Life(spawn(command, os.environ, tmp_path / "log", talks=False), lambda _: None)
    assert life.ended.wait(60.0)
    assert (life.code, life.process.returncode) == (0, 0)
    assert least <= life.cpu < 10.0
