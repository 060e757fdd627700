"""Which names in a data directory are ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness import files
from vault_harness.errors import SettingsError
from vault_harness.stack import _data_dir


@pytest.mark.parametrize(
    "name",
    [
        "init.json",
        "init.json.restoring",
        "init.json.20251231-235959",
        ".init.json.a1b2c3d4",
        ".init.json.restoring.a1b2c3d4",
        "init.started",
        "operator-token",
        "operator-token.20251231-235959",
        "operator-token.20251231-235959.1",
        "backend-secret-id",
        ".stack.json.________",
    ],
)
def test_files_of_ours(tmp_path: Path, name: str) -> None:
    """Whatever a task wrote, finished or not."""
    (tmp_path / name).write_text("")

    assert [path.name for path in _data_dir.state(tmp_path)] == [name]


@pytest.mark.parametrize(
    "name",
    [
        "lock",
        "notes.txt",
        "init.json-how-to",
        "my.init.json",
        ".env",
        ".init.json",
        "secret-id.txt",
    ],
)
def test_files_of_others(tmp_path: Path, name: str) -> None:
    """A person's files, and the lock that others may wait for."""
    (tmp_path / name).write_text("")

    assert _data_dir.state(tmp_path) == []


def test_folders(tmp_path: Path) -> None:
    """Records of tasks are ours; a folder that is named as a file of ours is not."""
    for name in ("rotations", "migrations", "init.json", "backups"):
        (tmp_path / name).mkdir()

    assert [path.name for path in _data_dir.state(tmp_path)] == ["migrations", "rotations"]


def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    """One that is new or empty may be taken, and one that holds anything of ours is."""
    _data_dir.check(tmp_path / "new")
    _data_dir.check(tmp_path)
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(SettingsError, match="holds other files"):
        _data_dir.check(tmp_path)
    (tmp_path / "audit").mkdir()
    _data_dir.check(tmp_path)


def test_what_others_can_look_into(tmp_path: Path) -> None:
    """Modes of the folder and of what is in it; a link says nothing."""
    tmp_path.chmod(0o700)
    (tmp_path / "init.json").write_text("")
    (tmp_path / "init.json").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path)
    assert files.open_to_others(tmp_path) == []

    tmp_path.chmod(0o755)
    (tmp_path / "init.json").chmod(0o644)
    assert files.open_to_others(tmp_path) == [tmp_path, tmp_path / "init.json"]
    assert files.open_to_others(tmp_path / "nowhere") == []
