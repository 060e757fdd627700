from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.cli import backup_options
from vault_harness.cli import restore as restore_module
from vault_harness.errors import StackError
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup import Keys, Lock, new_identity, write_backup

Program = Callable[..., Any]  # of conftest.py

PRIVATE, PUBLIC = new_identity()


@pytest.fixture
def identity(tmp_path: Path) -> str:
    """A file with the key that opens the backups."""
    (tmp_path / "key.txt").write_text(PRIVATE)
    return str(tmp_path / "key.txt")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the stack's Vault be this one; before the call none runs."""

    def runs(vault: str) -> None:
        def request(_method: str, _path: str) -> dict[str, Any]:
            return {"cluster_id": vault}

        @contextlib.contextmanager
        def open_vault(_stack: object) -> Iterator[Any]:
            yield SimpleNamespace(request=request)

        monkeypatch.setattr(backup_options, "vault_without_token", open_vault)
        # Whether the keys open Vault is not tested here.
        monkeypatch.setattr(
            restore_module, "vault_without_token", lambda _: contextlib.nullcontext()
        )

    return runs


def backup(tmp_path: Path, vault: str, *, day: int, seal: str = "") -> Path:
    """Write a backup into the shared folder."""
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
    return Keyring.load(tmp_path / "vault-data" / "init.json").keys


def test_a_program_reads_the_list(program: Program, tmp_path: Path) -> None:
    assert json.loads(program("backup.list", "--json").out) == []
    backup(tmp_path, "mine", day=1)
    backup(tmp_path, "theirs", day=2)
    found = json.loads(program("backup.list", "--json").out)
    assert {each["vault"] for each in found} == {"mine", "theirs"}
    assert "key of mine" not in str(found)


def test_keys_of_the_vault_that_is_here(
    program: Program, tmp_path: Path, identity: str, here: Callable[[str], None]
) -> None:
    """Another stack's newer backup is not used."""
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
    theirs = backup(tmp_path, "theirs", day=2)
    here("mine")
    for words in ((), ("--source", str(theirs))):
        ended = program("restore.keys", "--identity", identity, *words, *dry)
        assert ended.code == StackError.exit_code
        assert "of another Vault" in ended.err
    assert not (tmp_path / "vault-data" / "init.json").exists()


@pytest.mark.parametrize("task", ["restore.keys", "backup.verify"])
def test_without_a_running_vault_the_backup_must_be_named(
    task: str, program: Program, tmp_path: Path, identity: str
) -> None:
    """The newest may be another stack's."""
    mine = backup(tmp_path, "mine", day=1)
    backup(tmp_path, "theirs", day=2)
    ended = program(task, "--identity", identity)
    assert ended.code == StackError.exit_code
    assert "backups of several Vaults" in ended.err
    assert not (tmp_path / "vault-data" / "init.json").exists()
    assert program(task, "--identity", identity, "--source", str(mine)).code == 0


def test_keys_without_proof_are_reported_as_unproven(
    program: Program, tmp_path: Path, identity: str
) -> None:
    backup(tmp_path, "", day=1)
    assert "nothing proves which Vault" in program("restore.keys", "--identity", identity).out


def test_another_vaults_backup_is_verified_as_that(
    program: Program, tmp_path: Path, here: Callable[[str], None]
) -> None:
    backup(tmp_path, "theirs", day=1)
    here("mine")
    ended = program("backup.verify")
    assert ended.code == 0
    assert "belongs to another Vault than the one here" in ended.out


@pytest.mark.parametrize("state", ["whole", "damaged", "missing"])
def test_a_part_that_is_named_is_looked_at(state: str, program: Program, tmp_path: Path) -> None:
    """It is compared with the manifest, which needs no key."""
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
def test_a_dry_run_mentions_only_the_seals_key(
    seal: str, program: Program, tmp_path: Path, identity: str
) -> None:
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
    backup(tmp_path, "mine", day=1, seal="of the seal")
    words = ("restore.keys", "--seal-key", "--identity", identity)
    assert program(*words).code == 0
    (there,) = [path for path in (tmp_path / "vault-data" / "seal").iterdir() if path.is_file()]
    there.write_text("another")
    assert program(*words, "--dry-run").code == StackError.exit_code
    assert "would write" in program(*words, "--dry-run", "--overwrite").out
    assert there.read_text() == "another"
    assert len(list(there.parent.iterdir())) == 1
