"""Which names in a data directory belong to the stack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vault_harness.errors import SettingsError
from vault_harness.local.stack import data_dir as data_dir_module
from vault_harness.local.stack.local import LocalStack
from vault_harness.settings import Settings


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
        "backend-certificate.pem",
        ".stack.json.________",
    ],
)
def test_files_of_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")

    assert [path.name for path in data_dir_module.state(tmp_path)] == [name]


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
    """The lock is no file of ours either."""
    (tmp_path / name).write_text("")

    assert data_dir_module.state(tmp_path) == []


def test_folders(tmp_path: Path) -> None:
    """A folder with a file's name does not count."""
    for name in ("rotations", "migrations", "authority", "init.json", "backups"):
        (tmp_path / name).mkdir()

    found = [path.name for path in data_dir_module.state(tmp_path)]
    assert found == ["authority", "migrations", "rotations"]


def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    data_dir_module.check(tmp_path / "new")
    data_dir_module.check(tmp_path)
    (tmp_path / "audit").mkdir()  # as a server that was started by hand leaves it
    data_dir_module.check(tmp_path)
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(SettingsError, match="holds other files"):
        data_dir_module.check(tmp_path)
    (tmp_path / "lock").touch()
    data_dir_module.check(tmp_path)


@pytest.mark.parametrize(
    "name", ["services", "migrations", "tls", "vault", "seal", "namespaces", "compose.env"]
)
def test_a_project_of_others_is_no_stack(tmp_path: Path, name: str) -> None:
    """`destroy` deletes the folder, so a foreign one is refused."""
    source = tmp_path / name / "views.py"
    source.parent.mkdir()
    source.write_text("...")
    (tmp_path / "manage.py").write_text("...")
    stack = LocalStack(Settings(engine="process", data_dir=tmp_path))
    verbs: tuple[Callable[[], object], ...] = (
        *(stack.destroy, lambda: stack.destroy(dry=True)),
        *(stack.down, stack.up),
    )
    for verb in verbs:
        with pytest.raises(SettingsError, match="holds other files"):
            verb()
    assert source.exists()


@pytest.mark.parametrize("below", ["", "deeper/vault-data"])
def test_a_link_that_leads_nowhere(tmp_path: Path, below: str) -> None:
    """Nothing is made in its place."""
    link = tmp_path / "vault-data"
    link.symlink_to(tmp_path / "a disk" / "vault-data")
    data_dir = link / below
    stack = LocalStack(Settings(engine="process", data_dir=data_dir, lock_timeout=1))
    with pytest.raises(SettingsError, match="is a link to a folder that does not exist") as caught:
        stack.up()
    assert "a disk" in caught.value.looked_at
    (tmp_path / "a disk").mkdir()
    (tmp_path / "a disk" / "vault-data").mkdir()
    data_dir_module.check(data_dir)
