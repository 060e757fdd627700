"""A migration that stopped half-way, and goes on with another map or with ``--overwrite``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.operations.kv_in_memory import KvInMemory
from vault_harness.errors import OperatorError
from vault_harness.vault.migrate import (
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
    """Ends a run at a step."""


class Project:
    """A dotenv file with two variables, and a Vault that has something else already."""

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
        """Plan and carry out, with a map of where the variables go."""
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
        """The first secret is written, the second one is refused."""
        self.kv.refuse = {"b"}
        with pytest.raises(OperatorError):
            self.migrate(FIRST)
        self.kv.refuse = set()
        assert self.at("a") == {"OLD": "kept", "ONE": "1"}

    def change(self, path: str, **keys: str) -> None:
        """Somebody else writes."""
        now = self.kv.read(path)
        self.kv.write(path, {**now.data, **keys}, cas=now.version)

    def undo(self) -> Outcome:
        """Take it back."""
        return undo(self.kv, self.env_file, data_dir=self.data_dir)

    def at(self, path: str) -> dict[str, str]:
        """What is at a path now."""
        return dict(self.kv.read(path).data)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Its migration stopped half-way."""
    made = Project(tmp_path)
    made.stop_half_way()
    return made


def test_another_map_goes_on(project: Project) -> None:
    """What the new map puts where the first run wrote is written there, and one undo ends it."""
    project.migrate(SECOND)
    assert project.at("a") == {"OLD": "kept", "ONE": "1", "TWO": "2"}
    assert project.at("b") == BEFORE["b"]
    project.undo()
    assert {path: project.at(path) for path in BEFORE} == BEFORE


def test_overwriting_what_somebody_changed_goes_on(project: Project) -> None:
    """Theirs is replaced as was said, and comes back; what else they wrote stays."""
    project.change("a", ONE="theirs", MORE="theirs")
    with pytest.raises(OperatorError, match="neither of seeding nor of a migration"):
        project.migrate(FIRST)
    project.migrate(FIRST, overwrite=True)
    assert project.at("a") == {"OLD": "kept", "ONE": "1", "MORE": "theirs"}
    assert project.at("b") == {"OTHER": "kept", "TWO": "2"}
    project.undo()
    assert project.at("a") == {"OLD": "kept", "ONE": "theirs", "MORE": "theirs"}
    assert project.at("b") == BEFORE["b"]


def test_what_an_undo_leaves_is_told(project: Project) -> None:
    """Somebody wrote between two runs: theirs comes back, with the first run's keys in it."""
    project.change("a", MORE="theirs")
    project.migrate(SECOND)
    outcome = project.undo()
    assert project.at("a") == {"OLD": "kept", "ONE": "1", "MORE": "theirs"}
    assert [line for line in outcome.kept if line.startswith("a: as somebody left it")]


def test_a_map_that_leaves_the_first_secret_alone(project: Project) -> None:
    """What the first run wrote there is taken back by the same undo."""
    project.migrate({"TWO": "b:TWO"})
    assert project.at("b") == {"OTHER": "kept", "TWO": "2"}
    project.undo()
    assert {path: project.at(path) for path in BEFORE} == BEFORE


@pytest.mark.parametrize("again", [True, False], ids=["run-again", "undone-at-once"])
def test_ended_at_any_step_on_the_second_way(tmp_path: Path, again: bool) -> None:
    """A third run goes on, and undoing leads to what was there before the first one."""
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
