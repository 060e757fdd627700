from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.operations.project import Project
from vault_harness.operator.migrate import run


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, "ONE=1\n", {"ONE": "a:ONE"})


def test_a_migration_is_undone_by_another_name_of_the_file(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration of ``../.env`` is undone as ``.env`` from the file's own folder."""
    (project.folder / "below").mkdir()
    monkeypatch.chdir(project.folder / "below")
    outcome = project.migrate(Path("../.env"))
    assert ".." not in outcome.backup.parts
    monkeypatch.chdir(project.folder)
    project.undo(Path(".env"))
    assert project.kv.read("a").state == "deleted"
    assert not (project.folder / ".env.vault").exists()


@pytest.mark.parametrize("change", [b"\xfcber\n", None], ids=["latin-1", "carriage returns"])
def test_what_was_there_comes_back_byte_for_byte(project: Project, change: bytes | None) -> None:
    there = project.folder / ".env.vault"
    before = change or project.settings.render().replace("\n", "\r\n").encode()
    there.write_bytes(before)
    outcome = project.migrate()
    assert outcome.before is not None, "its owner is told where that is"
    assert outcome.before.read_bytes() == before
    assert there.read_text() == project.settings.render()
    project.undo()
    assert there.read_bytes() == before


@pytest.mark.parametrize("before", ["of before\n", None], ids=["a file", "nothing yet"])
def test_settings_that_are_a_link_stay_one(project: Project, before: str | None) -> None:
    (project.folder / "shared").mkdir()
    link, there = project.folder / ".env.vault", project.folder / "shared" / "settings"
    if before is not None:
        there.write_text(before)
    link.symlink_to("shared/settings")
    project.migrate()
    assert link.is_symlink()
    assert there.read_text() == project.settings.render()
    project.undo()
    assert link.is_symlink()
    assert (there.read_text() if there.exists() else None) == before


def test_settings_that_are_a_link_to_the_original_are_not_written_there(project: Project) -> None:
    """The link is replaced and the original kept."""
    (project.folder / ".env.vault").symlink_to(".env")
    project.migrate()
    assert (project.folder / ".env").read_text() == "ONE=1\n"
    assert (project.folder / ".env.vault").read_text() == project.settings.render()


@pytest.mark.parametrize("of_earlier_release", [False, True])
def test_the_newest_is_taken_back_whatever_the_clock_said(
    project: Project, monkeypatch: pytest.MonkeyPatch, of_earlier_release: bool
) -> None:
    """The clock was set back."""
    file = project.folder / ".env"
    moments = iter(["20260102T000000000000Z", "20260101T000000000000Z"])
    monkeypatch.setattr(run, "stamp", lambda: next(moments))
    project.migrate(file)
    if of_earlier_release:
        (record,) = (project.data_dir / "migrations").glob("*.json")
        content = json.loads(record.read_text())
        del content["number"]
        record.write_text(json.dumps(content))
    file.write_text("ONE=2\n")
    project.migrate(file)
    assert project.kv.read("a").data == {"ONE": "2"}
    assert project.undo(file).kept == ()
    assert project.kv.read("a").data == {"ONE": "1"}
