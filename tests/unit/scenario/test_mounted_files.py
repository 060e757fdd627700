"""Files as a platform mounts them: whoever opens them by their name has the new content."""

from __future__ import annotations

from pathlib import Path

from vault_harness.scenario._volume import project


def test_what_is_projected_last_is_read(tmp_path: Path) -> None:
    """By its own name there is always one whole content."""
    file = tmp_path / "jwt"
    for content in ("first", "second", "third"):
        project(file, content)
        assert file.read_text(encoding="ascii") == content


def test_who_asked_where_it_leads_keeps_the_old_one(tmp_path: Path) -> None:
    """As in a pod, where each content has a folder of its own."""
    file = tmp_path / "jwt"
    project(file, "first")
    asked_once = file.resolve()
    project(file, "second")
    assert file.is_symlink()
    assert asked_once != file.resolve()
    assert asked_once.read_text(encoding="ascii") == "first"


def test_what_is_written_in_place_is_read(tmp_path: Path) -> None:
    """A scenario empties what the links lead to, and the next content comes all the same."""
    file = tmp_path / "jwt"
    project(file, "first")
    file.write_text("", encoding="ascii")
    assert file.read_bytes() == b""
    project(file, "second")
    assert file.read_text(encoding="ascii") == "second"


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """What is in it is as secret as the file of an AppRole."""
    file = tmp_path / "jwt"
    project(file, "first")
    assert file.stat().st_mode & 0o077 == 0
    assert file.resolve().parent.stat().st_mode & 0o077 == 0
