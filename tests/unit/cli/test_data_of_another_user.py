from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.running import ran
from vault_harness.errors import SettingsError
from vault_harness.local.engine.seal import seal_stanza

_MODES_COUNT = (
    ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search")
    if os.geteuid() == 0
    else ()
)
"""Put before a command, since root ignores file modes until it drops these two rights."""

Program = Callable[..., Any]  # of conftest.py

TASKS = [("up",), ("unseal",), ("seal.migrate", "shamir"), ("status",), ("doctor",), ("destroy",)]


@pytest.fixture
def not_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make a stack of another owner, as after sudo."""
    data_dir = tmp_path / "vault-data"
    data_dir.mkdir()
    (data_dir / "stack.json").write_text("{}")
    read = Path.read_text

    def read_text(path: Path, *given: Any, **named: Any) -> str:
        if path.is_relative_to(data_dir):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path, *given, **named)

    monkeypatch.setattr(Path, "read_text", read_text)
    return data_dir


@pytest.mark.parametrize("words", TASKS[:-1], ids=" ".join)
def test_an_unreadable_folder_is_called_unreadable(
    words: tuple[str, ...], program: Program, not_ours: Path
) -> None:
    """Nothing was read, so the error tells neither of a newer program nor of files to move."""
    ended = program(*words)
    assert ended.code == 1
    assert f"{not_ours}/" in ended.err
    assert "Permission denied" in ended.err
    assert "run it as the owner" in ended.err
    assert "newer program" not in ended.err
    assert "move" not in ended.err


@pytest.mark.parametrize("task", ["status", "doctor", "unseal"])
def test_the_owner_is_asked_to_change_the_mode(task: str, tmp_path: Path) -> None:
    data_dir = tmp_path / "vault-data"
    data_dir.mkdir(mode=0o700)
    file = data_dir / "stack.json"
    file.touch(mode=0)

    ended = ran(
        [*_MODES_COUNT, sys.executable, "-m", "vault_harness", task],
        env={**os.environ, "HARNESS_DATA_DIR": str(data_dir), "HARNESS_ENGINE": "process"},
    )

    assert ended.returncode == 1
    said = ended.stdout + ended.stderr
    assert f"what to do: chmod 600 {file}" in said
    assert "as the owner" not in said


def test_a_seal_that_may_not_be_read(not_ours: Path) -> None:
    """It is not taken for a missing seal."""
    with pytest.raises(PermissionError):
        seal_stanza(not_ours)


@pytest.mark.parametrize("words", [*TASKS, ("restart",)], ids=" ".join)
@pytest.mark.parametrize("below", ["", "deeper/vault-data"])
def test_a_file_in_place_of_the_folder_is_named_and_stays(
    words: tuple[str, ...],
    below: str,
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    file = tmp_path / "a-file"
    file.write_text("mine")
    monkeypatch.setenv("HARNESS_DATA_DIR", str(file / below))
    more = ("--yes",) if words == ("destroy",) else ()
    ended = program(*words, *more)
    assert ended.code == SettingsError.exit_code, ended
    assert f"{file} is a file" in ended.err
    assert "HARNESS_DATA_DIR" in ended.err
    assert file.read_text() == "mine"
