"""An interrupted migration that continues with another map or with ``--overwrite``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.operations.kv_in_memory import KvInMemory
from vault_harness.errors import OperatorError
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

BEFORE = {"a": {"OLD": "kept"}, "b": {"OTHER": "kept"}}
FIRST = {"ONE": "a:ONE", "TWO": "b:TWO"}
SECOND = {"ONE": "a:ONE", "TWO": "a:TWO"}


class Stop(Exception):
    """Raised to end a run at a step."""


class Project:
    """A dotenv file with two variables, and a Vault with other content."""

    def __init__(self, directory: Path) -> None:
        self.kv = KvInMemory(BEFORE)
        self.data_dir = directory / "vault-data"
        self.env_file = directory / ".env"
        self.env_file.write_text("ONE=1\nTWO=2\n")
        self.settings = ClientSettings(
            "http://127.0.0.1:1", "backend", directory / "role", directory / "secret", "ecommerce"
        )

    def migrate(
        self,
        places: dict[str, str],
        *,
        overwrite: bool = False,
        checkpoint: Callable[[str], None] = lambda _step: None,
    ) -> Outcome:
        file = self.data_dir.with_name("map.toml")
        lines = [f'{name} = "{place}"' for name, place in places.items()]
        file.write_text("\n".join(["[variables]", *lines]))
        plan = make_plan(
            self.kv,
            read(self.env_file),
            load_map(file, default=VariableMap.guide()),
            written=previous_versions(self.kv, self.data_dir),
            overwrite=overwrite,
        )
        return migrate(
            self.kv,
            plan,
            self.env_file,
            self.settings,
            data_dir=self.data_dir,
            checkpoint=checkpoint,
        )

    def stop_half_way(self) -> None:
        """Write the first secret and refuse the second."""
        self.kv.refuse = {"b"}
        with pytest.raises(OperatorError):
            self.migrate(FIRST)
        self.kv.refuse = set()
        assert self.at("a") == {"OLD": "kept", "ONE": "1"}

    def change(self, path: str, **keys: str) -> None:
        """Write as somebody else."""
        now = self.kv.read(path)
        self.kv.write(path, {**now.data, **keys}, cas=now.version)

    def undo(self) -> Outcome:
        return undo(self.kv, self.env_file, data_dir=self.data_dir)

    def at(self, path: str) -> dict[str, str]:
        return dict(self.kv.read(path).data)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.stop_half_way()
    return made


def test_another_map_goes_on(project: Project) -> None:
    """One undo reverts both runs."""
    project.migrate(SECOND)
    assert project.at("a") == {"OLD": "kept", "ONE": "1", "TWO": "2"}
    assert project.at("b") == BEFORE["b"]
    project.undo()
    assert {path: project.at(path) for path in BEFORE} == BEFORE


def test_overwriting_what_somebody_changed_goes_on(project: Project) -> None:
    """Only the named key is replaced."""
    project.change("a", ONE="theirs", MORE="theirs")
    with pytest.raises(OperatorError, match="another value than Vault"):
        project.migrate(FIRST)
    project.migrate(FIRST, overwrite=True)
    assert project.at("a") == {"OLD": "kept", "ONE": "1", "MORE": "theirs"}
    assert project.at("b") == {"OTHER": "kept", "TWO": "2"}
    project.undo()
    assert project.at("a") == {"OLD": "kept", "ONE": "theirs", "MORE": "theirs"}
    assert project.at("b") == BEFORE["b"]


def test_an_undo_says_what_it_leaves(project: Project) -> None:
    """If somebody wrote between two runs, undo returns to their version."""
    project.change("a", MORE="theirs")
    project.migrate(SECOND)
    outcome = project.undo()
    assert project.at("a") == {"OLD": "kept", "ONE": "1", "MORE": "theirs"}
    assert [line for line in outcome.kept if line.startswith("a: as somebody left it")]


def test_a_map_that_leaves_the_first_secret_alone(project: Project) -> None:
    """Undo also reverts what only the first run wrote."""
    project.migrate({"TWO": "b:TWO"})
    assert project.at("b") == {"OTHER": "kept", "TWO": "2"}
    project.undo()
    assert {path: project.at(path) for path in BEFORE} == BEFORE


@pytest.mark.parametrize("again", [True, False], ids=["run-again", "undone-at-once"])
def test_an_end_at_any_step_of_a_second_run_can_be_repaired(tmp_path: Path, again: bool) -> None:
    stopped, step = True, 0
    while stopped:
        step += 1
        folder = tmp_path / str(step)
        folder.mkdir()
        project = Project(folder)
        project.stop_half_way()
        left = [step]

        def stop(_step: str, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                raise Stop

        try:
            project.migrate(SECOND, checkpoint=stop)
            stopped = False
        except Stop:
            pass
        if again:
            project.migrate(SECOND)
            assert project.at("a") == {"OLD": "kept", "ONE": "1", "TWO": "2"}
        project.undo()
        assert {path: project.at(path) for path in BEFORE} == BEFORE, step
    assert step > 5
