from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.docker.test_cloud_under_running_nodes import Stack, container
from vault_harness.errors import StackError
from vault_harness.local.engine.docker.compose import project_name
from vault_harness.local.engine.docker.labels import project_here
from vault_harness.local.engine.docker.layout import NODES_FILE_NAME
from vault_harness.local.engine.docker.stack import ENV_FILE_NAME
from vault_harness.local.stack.record import StackRecord


class Folder(Stack):
    """The provider of a folder; `engine` has the containers by project."""

    def __init__(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine: dict[str, list[Any]] = {}
        super().__init__(data_dir, monkeypatch)
        monkeypatch.setattr(
            self.provider, "_containers", lambda _client: self.engine.get(self.project, [])
        )

    @property
    def project(self) -> str:
        return self.provider.project

    def _connected(self) -> contextlib.AbstractContextManager[Any]:
        none = SimpleNamespace(list=lambda **_: [], get=lambda _name: None)

        def listed(*, filters: dict[str, str], **_: object) -> list[Any]:
            return self.engine.get(filters["label"].partition("=")[2], [])

        return contextlib.nullcontext(
            SimpleNamespace(containers=SimpleNamespace(list=listed), volumes=none, networks=none)
        )

    def started(self, status: str = "running") -> None:
        self.provider.start(nodes=3)
        names = ("vault", "vault-2", "vault-3")
        self.engine = {self.project: [container(name, status) for name in names]}
        self.calls = []


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    made = Folder(tmp_path / "original", monkeypatch)
    made.started()
    return made


def opened(original: Folder, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    other = Folder(data_dir, monkeypatch)
    other.engine = original.engine
    return other


@pytest.fixture
def copy(original: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A copy of the folder, made while its containers run."""
    shutil.copytree(original.data_dir, tmp_path / "copy")
    return opened(original, tmp_path / "copy", monkeypatch)


def start_all(folder: Folder) -> None:
    """Run `up`."""
    folder.provider.start()


def check(folder: Folder) -> None:
    """Run the checks of `up`."""
    folder.provider.check_start()


def start_one(folder: Folder) -> None:
    """Run `node.start`."""
    folder.provider.start_node("vault-2")


def add_one(folder: Folder) -> None:
    """Run `node.add`."""
    folder.provider.add_node()


@pytest.mark.parametrize("start", [check, start_all])
def test_a_copy_is_not_started_beside_it(
    original: Folder, copy: Folder, start: Callable[[Folder], None]
) -> None:
    """Both would revoke each other's leases."""
    with pytest.raises(StackError, match="a copy of another one, whose containers run") as caught:
        start(copy)
    assert str(original.data_dir) in caught.value.looked_at
    assert copy.calls == []


def test_down_does_not_make_it_forget_that(copy: Folder) -> None:
    """`down` in the copy ends nothing."""
    copy.provider.stop()
    with pytest.raises(StackError, match="a copy of another one"):
        copy.provider.check_start()


def test_nothing_of_the_original_ends_with_the_copy(original: Folder, copy: Folder) -> None:
    assert copy.project == project_name(copy.data_dir) != original.project
    assert copy.provider.describe()[0].running is False
    assert not [line for line in copy.provider.belongings() if line.startswith("container")]
    copy.provider.destroy()
    assert copy.calls == []
    assert (original.data_dir / "vault").is_dir()


def test_a_copy_of_a_stopped_stack_has_its_own_project(original: Folder, copy: Folder) -> None:
    """It has one once all of it has started."""
    for each in original.engine[original.project]:
        each.status = "exited"
    for start in (start_one, add_one):
        with pytest.raises(StackError, match="was moved or copied") as caught:
            start(copy)
        assert str(original.data_dir) in caught.value.looked_at
    assert copy.calls == []

    copy.provider.start()

    nodes = (copy.data_dir / NODES_FILE_NAME).read_text()
    assert str(original.data_dir) not in nodes + (copy.data_dir / ENV_FILE_NAME).read_text()
    assert StackRecord.load(copy.data_dir).services["vault"]["project"] == copy.project
    copy.engine = {}
    copy.provider.start_node("vault-2")


def test_what_may_not_be_looked_into_is_another_ones(
    original: Folder, copy: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unreadable original counts as present."""
    stat = Path.stat

    def closed(path: Path, **given: Any) -> Any:
        if path == original.data_dir:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **given)

    monkeypatch.setattr(Path, "stat", closed)
    assert copy.project == project_name(copy.data_dir)
    with pytest.raises(StackError, match="a copy of another one"):
        copy.provider.check_start()


def test_a_folder_that_was_moved_has_its_own_containers(
    original: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = original.project
    original.data_dir.rename(tmp_path / "moved")
    moved = opened(original, tmp_path / "moved", monkeypatch)
    assert moved.project == project
    assert moved.provider.describe()[0].running
    with pytest.raises(StackError, match="was moved or copied"):
        moved.provider.start_node("vault-2")
    moved.provider.start()
    record = StackRecord.load(moved.data_dir)
    environment = record.services["vault"]["environment"]
    assert environment["HARNESS_NODE_DIR"] == str(tmp_path / "moved" / "vault")
    assert project_here(moved.data_dir, record) == project


def test_another_name_of_the_same_folder(
    original: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paths for compose do not name a link to the folder."""
    (tmp_path / "link").symlink_to(original.data_dir)
    other = opened(original, tmp_path / "link", monkeypatch)
    assert other.project == original.project
    other.provider.start()
    other.provider.start_node("vault-2")
    told = [path.read_text() for path in original.data_dir.glob("compose*")]
    assert len(told) == 2
    assert all(str(original.data_dir) in text for text in told)
    assert str(tmp_path / "link") not in "".join(told)
