"""Several migrations of one file are undone one by one; an undo is not a foreign write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.operations.kv_in_memory import KvInMemory
from vault_harness.errors import StackError
from vault_harness.operator.migrate import (
    ClientSettings,
    Outcome,
    VariableMap,
    load_map,
    make_plan,
    migrate,
    previous_versions,
    read,
    undo,
)

BEFORE = {"a": {"OLD": "kept"}}
MAP = '[variables]\nONE = "a:ONE"\nTWO = "b:TWO"\n'


class Stop(Exception):
    """Raised to end a run at a step."""


class Project:
    """A dotenv file, and a Vault with a foreign value at one of its two paths."""

    def __init__(self, folder: Path) -> None:
        self.kv = KvInMemory(BEFORE)
        self.folder = folder
        self.env_file = folder / ".env"
        self.data_dir = folder / "vault-data"
        (folder / "map.toml").write_text(MAP)

    def migrate(self, text: str, *, role: str = "backend") -> None:
        self.env_file.write_text(text)
        settings = ClientSettings(
            "http://127.0.0.1:1", role, self.folder / "role", self.folder / "id", "ecommerce"
        )
        plan = make_plan(
            self.kv,
            read(self.env_file),
            load_map(self.folder / "map.toml", default=VariableMap.guide()),
            written=previous_versions(self.kv, self.data_dir),
        )
        migrate(self.kv, plan, self.env_file, settings, data_dir=self.data_dir)

    def undo(self, checkpoint: Callable[[str], None] = lambda _step: None) -> Outcome:
        return undo(self.kv, self.env_file, data_dir=self.data_dir, checkpoint=checkpoint)

    def in_vault(self) -> dict[str, dict[str, str]]:
        found = {path: self.kv.read(path) for path in self.kv.paths()}
        return {path: dict(each.data) for path, each in found.items() if each.state == "present"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project that was migrated twice, with one changed value."""
    made = Project(tmp_path)
    made.migrate("ONE=1\nTWO=2\n")
    made.migrate("ONE=other\nTWO=2\n")
    return made


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
    project.migrate("ONE=third\nTWO=2\n", role="other")
    assert project.in_vault()["a"] == {"OLD": "kept", "ONE": "third"}
    project.undo()
    project.undo()
    assert project.in_vault() == BEFORE


def test_what_somebody_wrote_after_the_first_stays(project: Project) -> None:
    """It stays even where the second undo would revert it."""
    project.undo()
    now = project.kv.read("a")
    project.kv.write("a", {**now.data, "MORE": "theirs"}, cas=now.version)
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
        project = Project(tmp_path / str(step))
        project.migrate("ONE=1\nTWO=2\n")
        project.migrate("ONE=other\nTWO=2\n")
        left = [step]

        def stop(_step: str, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                raise Stop

        kept: tuple[str, ...] = ()
        for number in range(2):
            try:
                if number == which:
                    project.undo(stop)
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
    project = Project(tmp_path)
    project.migrate("ONE=1\nTWO=2\n")
    project.env_file.write_text("")
    outcome = project.undo()
    assert project.env_file.read_text() == ""
    assert [line for line in outcome.kept if line.endswith(str(outcome.backup))]


def test_a_file_that_is_a_link(tmp_path: Path) -> None:
    """`.env.vault` was copied over it."""
    project = Project(tmp_path)
    (tmp_path / "shared").mkdir()
    shared = tmp_path / "shared" / ".env"
    shared.touch()
    project.env_file.symlink_to(shared)
    project.migrate("ONE=1\nTWO=2\n")
    shared.write_bytes((tmp_path / ".env.vault").read_bytes())
    project.undo()
    assert project.env_file.is_symlink()
    assert shared.read_text() == "ONE=1\nTWO=2\n"


def test_a_link_to_env_vault_is_replaced_by_the_original(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.migrate("ONE=1\nTWO=2\n")
    project.env_file.unlink()
    project.env_file.symlink_to(".env.vault")
    project.undo()
    assert not project.env_file.is_symlink()
    assert project.env_file.read_text() == "ONE=1\nTWO=2\n"
    assert not (tmp_path / ".env.vault").exists()


def test_what_earlier_releases_read(tmp_path: Path) -> None:
    """Before an undo, a record has only fields of earlier releases."""
    project = Project(tmp_path)
    project.migrate("ONE=1\nTWO=2\n")
    (record,) = (project.data_dir / "migrations").glob("*.json")
    known = {"path", "variables", "before", "before_created", "written", "written_created"}
    known |= {"undone", "origin", "origin_created", "atop"}
    steps = json.loads(record.read_text())["steps"]
    assert [set(step) for step in steps.values()] == [known, known]
    project.undo()
    assert json.loads(record.read_text())["steps"]["a"]["left"] == 3
