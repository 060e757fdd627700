"""An interrupted migration that continues with another map or with ``--overwrite``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.operations.project import Project, Stop, ends_at
from vault_harness.errors import OperatorError

BEFORE = {"a": {"OLD": "kept"}, "b": {"OTHER": "kept"}}
FIRST = {"ONE": "a:ONE", "TWO": "b:TWO"}
SECOND = {"ONE": "a:ONE", "TWO": "a:TWO"}


def stopped_half_way(folder: Path) -> Project:
    """Write the first secret and refuse the second."""
    made = Project(folder, "ONE=1\nTWO=2\n", FIRST, **BEFORE)
    made.kv.refuse = {"b"}
    with pytest.raises(OperatorError):
        made.migrate()
    made.kv.refuse = set()
    assert made.in_vault()["a"] == {"OLD": "kept", "ONE": "1"}
    return made


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return stopped_half_way(tmp_path)


def test_another_map_goes_on(project: Project) -> None:
    """One undo reverts both runs."""
    project.places = SECOND
    project.migrate()
    assert project.in_vault()["a"] == {"OLD": "kept", "ONE": "1", "TWO": "2"}
    assert project.in_vault()["b"] == BEFORE["b"]
    project.undo()
    assert project.in_vault() == BEFORE


def test_overwriting_what_somebody_changed_goes_on(project: Project) -> None:
    """Only the named key is replaced."""
    project.change("a", ONE="theirs", MORE="theirs")
    with pytest.raises(OperatorError, match="another value than Vault"):
        project.migrate()
    project.migrate(overwrite=True)
    assert project.in_vault()["a"] == {"OLD": "kept", "ONE": "1", "MORE": "theirs"}
    assert project.in_vault()["b"] == {"OTHER": "kept", "TWO": "2"}
    project.undo()
    assert project.in_vault()["a"] == {"OLD": "kept", "ONE": "theirs", "MORE": "theirs"}
    assert project.in_vault()["b"] == BEFORE["b"]


def test_an_undo_says_what_it_leaves(project: Project) -> None:
    """If somebody wrote between two runs, undo returns to their version."""
    project.change("a", MORE="theirs")
    project.places = SECOND
    project.migrate()
    outcome = project.undo()
    assert project.in_vault()["a"] == {"OLD": "kept", "ONE": "1", "MORE": "theirs"}
    assert [line for line in outcome.kept if line.startswith("a: as somebody left it")]


def test_a_map_that_leaves_the_first_secret_alone(project: Project) -> None:
    """Undo also reverts what only the first run wrote."""
    project.places = {"TWO": "b:TWO"}
    project.migrate()
    assert project.in_vault()["b"] == {"OTHER": "kept", "TWO": "2"}
    project.undo()
    assert project.in_vault() == BEFORE


@pytest.mark.parametrize("again", [True, False], ids=["run-again", "undone-at-once"])
def test_an_end_at_any_step_of_a_second_run_can_be_repaired(tmp_path: Path, again: bool) -> None:
    stopped, step = True, 0
    while stopped:
        step += 1
        folder = tmp_path / str(step)
        folder.mkdir()
        project = stopped_half_way(folder)
        project.places = SECOND
        try:
            project.migrate(checkpoint=ends_at(step))
            stopped = False
        except Stop:
            pass
        if again:
            project.migrate()
            assert project.in_vault()["a"] == {"OLD": "kept", "ONE": "1", "TWO": "2"}
        project.undo()
        assert project.in_vault() == BEFORE, step
    assert step > 5
