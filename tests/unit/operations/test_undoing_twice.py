"""Several migrations of one file are undone one by one; an undo is not a foreign write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.operations.project import Project, Stop, ends_at
from vault_harness.errors import StackError

BEFORE = {"a": {"OLD": "kept"}}
PLACES = {"ONE": "a:ONE", "TWO": "b:TWO"}


def migrated(folder: Path, *texts: str) -> Project:
    made = Project(folder, "", PLACES, **BEFORE)
    for text in texts:
        made.env_file.write_text(text)
        made.migrate()
    return made


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project that was migrated twice, with one changed value."""
    return migrated(tmp_path, "ONE=1\nTWO=2\n", "ONE=other\nTWO=2\n")


def test_two_in_a_row_lead_to_what_was_there_before_both(project: Project) -> None:
    first = project.undo()
    assert project.in_vault() == {"a": {"OLD": "kept", "ONE": "1"}, "b": {"TWO": "2"}}
    assert first.kept == ()
    assert first.earlier

    second = project.undo()
    assert project.in_vault() == BEFORE
    assert not [line for line in second.kept if "somebody" in line]
    assert second.earlier == ""
    assert not project.env_file.with_name(".env.vault").exists()
    with pytest.raises(StackError, match="no migration of"):
        project.undo()


def test_a_migration_between_two_of_them(project: Project) -> None:
    """It builds on what the undo left."""
    project.undo()
    project.env_file.write_text("ONE=third\nTWO=2\n")
    project.migrate(role="other")
    assert project.in_vault()["a"] == {"OLD": "kept", "ONE": "third"}
    project.undo()
    project.undo()
    assert project.in_vault() == BEFORE


def test_what_somebody_wrote_after_the_first_stays(project: Project) -> None:
    """It stays even where the second undo would revert it."""
    project.undo()
    project.change("a", MORE="theirs")
    outcome = project.undo()
    assert project.in_vault() == {"a": {"OLD": "kept", "ONE": "1", "MORE": "theirs"}}
    assert [line for line in outcome.kept if line.startswith("a: somebody wrote version")]


@pytest.mark.parametrize("which", [0, 1], ids=["first", "second"])
def test_ended_at_any_step(tmp_path: Path, which: int) -> None:
    """The undo continues, and reports no foreign write."""
    stopped, step = True, 0
    while stopped:
        step += 1
        (tmp_path / str(step)).mkdir()
        project = migrated(tmp_path / str(step), "ONE=1\nTWO=2\n", "ONE=other\nTWO=2\n")
        kept: tuple[str, ...] = ()
        for number in range(2):
            try:
                if number == which:
                    project.undo(checkpoint=ends_at(step))
                    stopped = False
            except Stop:
                pass
            if number != which or stopped:
                kept += project.undo().kept
        assert project.in_vault() == BEFORE, step
        assert not [line for line in kept if "somebody" in line], step
    assert step > 2


def test_a_killed_undo_reports_no_foreign_write(project: Project) -> None:
    """It was killed before it recorded its write."""
    project.undo()
    writing = project.kv.write_version

    def killed(path: str, data: dict[str, str], *, cas: int) -> None:
        writing(path, data, cas=cas)
        raise Stop

    project.kv.write_version = killed  # type: ignore[assignment,method-assign]
    with pytest.raises(Stop):
        project.undo()
    project.kv.write_version = writing  # type: ignore[method-assign]
    assert not [line for line in project.undo().kept if "somebody" in line]
    assert project.in_vault() == BEFORE


def test_a_file_that_was_emptied_as_was_said(tmp_path: Path) -> None:
    """The undo names the copy that has its values."""
    project = migrated(tmp_path, "ONE=1\nTWO=2\n")
    project.env_file.write_text("")
    outcome = project.undo()
    assert project.env_file.read_text() == ""
    assert [line for line in outcome.kept if line.endswith(str(outcome.backup))]


def test_a_file_that_is_a_link(tmp_path: Path) -> None:
    """`.env.vault` was copied over it."""
    (tmp_path / "shared").mkdir()
    shared = tmp_path / "shared" / ".env"
    shared.touch()
    (tmp_path / ".env").symlink_to(shared)
    project = migrated(tmp_path, "ONE=1\nTWO=2\n")
    shared.write_bytes((tmp_path / ".env.vault").read_bytes())
    project.undo()
    assert project.env_file.is_symlink()
    assert shared.read_text() == "ONE=1\nTWO=2\n"


def test_a_link_to_env_vault_is_replaced_by_the_original(tmp_path: Path) -> None:
    project = migrated(tmp_path, "ONE=1\nTWO=2\n")
    project.env_file.unlink()
    project.env_file.symlink_to(".env.vault")
    project.undo()
    assert not project.env_file.is_symlink()
    assert project.env_file.read_text() == "ONE=1\nTWO=2\n"
    assert not (tmp_path / ".env.vault").exists()


def test_what_earlier_releases_read(tmp_path: Path) -> None:
    """Before an undo, a record has only fields of earlier releases."""
    project = migrated(tmp_path, "ONE=1\nTWO=2\n")
    (record,) = (project.data_dir / "migrations").glob("*.json")
    known = {"path", "variables", "before", "before_created", "written", "written_created"}
    known |= {"undone", "origin", "origin_created", "atop"}
    steps = json.loads(record.read_text())["steps"]
    assert [set(step) for step in steps.values()] == [known, known]
    project.undo()
    assert json.loads(record.read_text())["steps"]["a"]["left"] == 3
