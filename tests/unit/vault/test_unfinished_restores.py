from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.errors import HarnessError, OperatorError, StackError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.opening import Opening
from vault_harness.local.vault.keyring import Keyring, unfinished_keyring, unfinished_restore
from vault_harness.operator.backup import Contents, Keys, Opened, restoring
from vault_harness.operator.doctor import Patient, ServiceView, examine
from vault_harness.settings import Settings

HERE, THEIRS = Keyring(("aGVyZQ==",), 1, "here"), Keyring(("dGhlaXJz",), 1, "theirs")
SOURCE = "/mnt/back ups/newest"


@pytest.fixture
def keyring(tmp_path: Path) -> Path:
    path = tmp_path / "init.json"
    HERE.save(path)
    note = unfinished_keyring(path)
    opened = Opened(b"snapshot", Contents((), {}, (), ()), Keys(THEIRS), SOURCE)
    restoring._note(note, tmp_path, opened, restoring._Beside())
    tmp_path.chmod(0o700)
    return path


def bad(keyring: Path, *, running: bool) -> dict[str, str]:
    services = (ServiceView("vault", running=running), ServiceView("toxiproxy", running=True))
    patient = Patient(
        data_dir=keyring.parent,
        blueprint=Blueprint.default(),
        addresses=("http://127.0.0.1:1",),
        services=services,
        unfinished_restore=unfinished_restore(keyring),
    )
    return {each.kind: each.remedy for each in examine(patient) if each.bad}


def test_without_a_note_there_is_none(tmp_path: Path) -> None:
    assert unfinished_restore(tmp_path / "init.json") is None


def test_its_keys_are_not_here_until_they_are_in_their_place(keyring: Path) -> None:
    """Afterwards only the comparison is missing."""
    found = unfinished_restore(keyring)
    assert found is not None
    assert (found.keys_here, found.source) == (False, SOURCE)
    THEIRS.save(keyring)
    found = unfinished_restore(keyring)
    assert found is not None
    assert found.keys_here


def test_a_note_of_an_earlier_release_names_no_backup(keyring: Path) -> None:
    """The command goes without it."""
    THEIRS.save(unfinished_keyring(keyring))
    found = unfinished_restore(keyring)
    assert found is not None
    assert (found.source, found.command) == ("", "invoke restore")


def test_the_doctor_begins_with_it(keyring: Path) -> None:
    """A stopped server starts first."""
    first, remedy = next(iter(bad(keyring, running=False).items()))
    assert first == "restore-half-done"
    assert remedy.startswith("invoke up")
    assert f"invoke restore --source '{SOURCE}' again" in remedy
    THEIRS.save(keyring)
    first, remedy = next(iter(bad(keyring, running=True).items()))
    assert first == "restore-not-compared"
    assert remedy.startswith("invoke restore")


def test_an_error_of_keys_names_the_backup_that_is_half_in(keyring: Path) -> None:
    wrong = OperatorError("these keys do not unseal this Vault", looked_at="x", remedy="y")
    told = Opening(keyring.parent).half_restored(wrong)
    assert "a restore was ended half-way" in told.cause
    assert SOURCE in told.remedy


def test_keys_that_open_nothing_any_more_are_not_backed_up(keyring: Path) -> None:
    """They would be the newest backup."""
    stack = LocalStack(Settings.from_environment(engine="process", data_dir=keyring.parent))
    with pytest.raises(StackError, match="a restore was ended half-way"):
        stack.check_restored()
    THEIRS.save(keyring)
    stack.check_restored()


def test_another_backup_waits_for_the_one_that_is_half_in(keyring: Path) -> None:
    """The same backup keeps its error."""
    wrong: HarnessError = OperatorError("these keys do not unseal this Vault", looked_at="x")
    third = Keys(Keyring(("dGhpcmQ=",), 1, "third"))
    told = restoring._another_first(wrong, keyring, third)
    assert "another backup was interrupted" in told.cause
    assert SOURCE in told.remedy
    assert restoring._another_first(wrong, keyring, Keys(THEIRS)) is wrong
