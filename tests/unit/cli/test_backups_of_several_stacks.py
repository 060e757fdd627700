"""Tasks about backups in a folder that several stacks share, and about parts that are elsewhere."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.cli import _backup_options, _restore
from vault_harness.errors import StackError
from vault_harness.vault import Keyring
from vault_harness.vault.backup import Keys, Lock, new_identity, write_backup

Program = Callable[..., Any]  # of conftest.py

PRIVATE, PUBLIC = new_identity()


@pytest.fixture
def identity(tmp_path: Path) -> str:
    """A file with what opens the backups."""
    (tmp_path / "key.txt").write_text(PRIVATE)
    return str(tmp_path / "key.txt")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Say which Vault runs here, open; nothing runs before."""

    def runs(vault: str) -> None:
        def request(_method: str, _path: str) -> dict[str, Any]:
            return {"cluster_id": vault}

        @contextlib.contextmanager
        def open_vault(_stack: object) -> Iterator[Any]:
            yield SimpleNamespace(request=request)

        monkeypatch.setattr(_backup_options, "vault_without_token", open_vault)
        # Putting them back cannot ask it any more: that they open it is not the matter here.
        monkeypatch.setattr(_restore, "vault_without_token", lambda _: contextlib.nullcontext())

    return runs


def backup(tmp_path: Path, vault: str, *, day: int, seal: str = "") -> Path:
    """The keys of a Vault in the folder that all share; each has a key of its own."""
    made = write_backup(
        tmp_path / "vault-backups",
        vault,
        Lock(recipients=(PUBLIC,)),
        product="",
        version="",
        snapshot=None,
        keys=Keys(Keyring((f"key of {vault}",), 1, ""), static_key=seal),
        vault=vault,
    ).directory
    content = json.loads((made / "manifest.json").read_text())
    content["made"] = f"2026-01-{day:02}T00:00:00+00:00"
    (made / "manifest.json").write_text(json.dumps(content))
    return made


def keys_here(tmp_path: Path) -> tuple[str, ...]:
    """What is in ``init.json`` now."""
    return Keyring.load(tmp_path / "vault-data" / "init.json").keys


def test_keys_of_the_vault_that_is_here(
    program: Program, tmp_path: Path, identity: str, here: Callable[[str], None]
) -> None:
    """What the doctor proposes for lost keys: another stack's is not taken, though newer."""
    backup(tmp_path, "mine", day=1)
    backup(tmp_path, "theirs", day=2)
    here("mine")
    ended = program("restore.keys", "--identity", identity)
    assert ended.code == 0, ended
    assert keys_here(tmp_path) == ("key of mine",)
    assert "vault-backups/mine" in ended.out


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["", "dry"])
def test_keys_of_another_vault_are_refused(
    program: Program, tmp_path: Path, identity: str, here: Callable[[str], None], dry: tuple[str]
) -> None:
    """Named or not: Vault says which one it is, and these keys open another one."""
    theirs = backup(tmp_path, "theirs", day=2)
    here("mine")
    for words in ((), ("--source", str(theirs))):
        ended = program("restore.keys", "--identity", identity, *words, *dry)
        assert ended.code == StackError.exit_code
        assert "of another Vault" in ended.err
    assert not (tmp_path / "vault-data" / "init.json").exists()


@pytest.mark.parametrize("task", ["restore.keys", "backup.verify"])
def test_where_vault_is_away_one_has_to_be_named(
    task: str, program: Program, tmp_path: Path, identity: str
) -> None:
    """The newest may be another stack's, and nobody can tell; named, it is taken."""
    mine = backup(tmp_path, "mine", day=1)
    backup(tmp_path, "theirs", day=2)
    ended = program(task, "--identity", identity)
    assert ended.code == StackError.exit_code
    assert "backups of several Vaults" in ended.err
    assert not (tmp_path / "vault-data" / "init.json").exists()
    assert program(task, "--identity", identity, "--source", str(mine)).code == 0


def test_unproven_keys_are_told_to_be(program: Program, tmp_path: Path, identity: str) -> None:
    """Vault is away: whose they are shows once it is opened with them."""
    backup(tmp_path, "", day=1)
    assert "nothing proves whose they are" in program("restore.keys", "--identity", identity).out


def test_another_vaults_backup_is_verified_as_that(
    program: Program, tmp_path: Path, here: Callable[[str], None]
) -> None:
    """It is whole, and saves nothing of what is here."""
    backup(tmp_path, "theirs", day=1)
    here("mine")
    ended = program("backup.verify")
    assert ended.code == 0
    assert "of another Vault than the one here" in ended.out


@pytest.mark.parametrize("state", ["whole", "damaged", "missing"])
def test_a_part_that_is_named_is_looked_at(state: str, program: Program, tmp_path: Path) -> None:
    """Without any key: what the manifest says of ``keyring.age`` is enough."""
    made, elsewhere = backup(tmp_path, "mine", day=1), tmp_path / "keyring.age"
    (made / "keyring.age").rename(elsewhere)
    if state == "damaged":
        elsewhere.write_bytes(b"something else")
    elif state == "missing":
        elsewhere.unlink()
    ended = program("backup.verify", "--source", str(made), "--keyring", str(elsewhere))
    assert (ended.code == 0) == (state == "whole"), ended
    assert ("1 part, checksums are right" in ended.out) == (state == "whole")
    assert str(elsewhere) in ended.err or state == "whole"


@pytest.mark.parametrize("seal", ["of the seal", ""], ids=["", "none"])
def test_a_dry_run_tells_of_the_seals_key(
    seal: str, program: Program, tmp_path: Path, identity: str
) -> None:
    """And of nothing else: it ends as the run itself does, and writes nothing."""
    backup(tmp_path, "mine", day=1, seal=seal)
    words = ("restore.keys", "--seal-key", "--identity", identity)
    dry = program(*words, "--dry-run")
    assert not (tmp_path / "vault-data" / "seal").exists()
    real = program(*words)
    assert dry.code == real.code == (0 if seal else StackError.exit_code)
    assert ("would write the key of the static seal" in dry.out) == bool(seal)
    assert "unseal key" not in dry.out
    assert (tmp_path / "vault-data" / "seal").exists() == bool(seal)


def test_a_dry_run_leaves_another_seals_key(
    program: Program, tmp_path: Path, identity: str
) -> None:
    """It is refused as the run itself is; with --overwrite it says what would be, and keeps it."""
    backup(tmp_path, "mine", day=1, seal="of the seal")
    words = ("restore.keys", "--seal-key", "--identity", identity)
    assert program(*words).code == 0
    (there,) = [path for path in (tmp_path / "vault-data" / "seal").iterdir() if path.is_file()]
    there.write_text("another")
    assert program(*words, "--dry-run").code == StackError.exit_code
    assert "would write" in program(*words, "--dry-run", "--overwrite").out
    assert there.read_text() == "another"
    assert len(list(there.parent.iterdir())) == 1
