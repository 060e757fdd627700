from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest

from vault_harness.local.engine.folders import run_directory, sweep_run_directories

HOLD = (
    "import sys; from pathlib import Path\n"
    "from vault_harness.local.engine.folders import run_directory\n"
    "with run_directory(parent=Path(sys.argv[1])) as directory:\n"
    "    (directory / 'raft').mkdir(); print(directory, flush=True); sys.stdin.read()\n"
)


def holder(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start another run with its own folder."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_it_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with run_directory(parent=tmp_path) as directory:
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "raft").mkdir()
    assert list(tmp_path.iterdir()) == []


def test_after_kill_9_the_next_run_deletes_it(tmp_path: Path) -> None:
    """Its lock is free."""
    process, directory = holder(tmp_path)
    with process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    assert directory.is_dir()
    with run_directory(parent=tmp_path) as own:
        assert list(tmp_path.iterdir()) == [own]


def test_a_user_without_a_name_deletes_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user has no name in a container."""

    def nobody(number: int) -> NoReturn:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    left = tmp_path / "vault-harness-run-of-a-run-that-was-killed"
    left.mkdir()
    (left / ".held").touch()
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert sweep_run_directories(tmp_path) == [left]


def test_a_living_run_is_spared(tmp_path: Path) -> None:
    process, directory = holder(tmp_path)
    with process:
        assert sweep_run_directories(tmp_path) == []
        assert (directory / "raft").is_dir()
        process.kill()


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "vault-harness-run-of-somebody").mkdir()
    assert sweep_run_directories(tmp_path) == []


def test_a_sweep_takes_no_folder_that_is_being_made(tmp_path: Path) -> None:
    def begin_and_end(_: int) -> bool:
        with run_directory(parent=tmp_path) as directory:
            (directory / "mine").touch()
            sweep_run_directories(tmp_path)
            return (directory / "mine").exists()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(begin_and_end, range(200)))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_never_locked_is_deleted_later(tmp_path: Path) -> None:
    """Its run was killed before it took the lock."""
    old, new = tmp_path / "vault-harness-new-a", tmp_path / "vault-harness-new-b"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (0, 0))
    assert sweep_run_directories(tmp_path) == [old]
    assert new.is_dir()
