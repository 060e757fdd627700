"""Files as a platform mounts them: a new content gets a new folder, and links lead to it."""

from __future__ import annotations

from pathlib import Path

from vault_harness.judge.credentials import project


def test_what_is_projected_last_is_read(tmp_path: Path) -> None:
    file = tmp_path / "jwt"
    for content in ("first", "second", "third"):
        project(file, content)
        assert file.read_text(encoding="ascii") == content


def test_a_resolved_path_keeps_the_old_content(tmp_path: Path) -> None:
    """A pod does the same."""
    file = tmp_path / "jwt"
    project(file, "first")
    asked_once = file.resolve()
    project(file, "second")
    assert file.is_symlink()
    assert asked_once != file.resolve()
    assert asked_once.read_text(encoding="ascii") == "first"


def test_what_is_written_in_place_is_read(tmp_path: Path) -> None:
    """A file that was emptied in place gets the next content."""
    file = tmp_path / "jwt"
    project(file, "first")
    file.write_text("", encoding="ascii")
    assert file.read_bytes() == b""
    project(file, "second")
    assert file.read_text(encoding="ascii") == "second"


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    file = tmp_path / "jwt"
    project(file, "first")
    assert file.stat().st_mode & 0o077 == 0
    assert file.resolve().parent.stat().st_mode & 0o077 == 0
