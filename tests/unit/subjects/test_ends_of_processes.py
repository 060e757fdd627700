from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from vault_harness.errors import DeadlineExceeded
from vault_harness.judge.subjects import process as process_module
from vault_harness.judge.subjects.process import Life, spawn


def test_a_process_that_survives_sigkill_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leashed = spawn(["sleep", "600"], os.environ, tmp_path / "log", talks=False)
    life = Life(leashed, lambda _: None)
    try:
        with monkeypatch.context() as held:
            held.setattr(process_module, "_BURIAL_SECONDS", 0.05)
            # A process inside a system call ignores signals like this.
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
    """The CPU time, children included, is known after the end."""
    program = tmp_path / "burns.py"
    program.write_text(BURNS)
    command = [sys.executable, str(program), *[str(program)] * children]
    life = Life(spawn(command, os.environ, tmp_path / "log", talks=False), lambda _: None)
    assert life.ended.wait(60.0)
    assert (life.code, life.process.returncode) == (0, 0)
    assert least <= life.cpu < 10.0
