"""What a restore that was ended half-way has noted is told, with what goes on with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.blueprint import Blueprint
from vault_harness.errors import HarnessError, OperatorError, StackError
from vault_harness.settings import Settings
from vault_harness.stack import LocalStack
from vault_harness.stack._opening import Opening
from vault_harness.vault.backup import Keys, _restore
from vault_harness.vault.doctor import Patient, ServiceView, examine
from vault_harness.vault.keyring import Keyring, keyring_on_the_way
from vault_harness.vault.unfinished import unfinished_restore

HERE, THEIRS = Keyring(("aGVyZQ==",), 1, "here"), Keyring(("dGhlaXJz",), 1, "theirs")
SOURCE = "/mnt/back ups/newest"


@pytest.fixture
def keyring(tmp_path: Path) -> Path:
    """That of a Vault into which a backup is being put."""
    path = tmp_path / "init.json"
    HERE.save(path)
    note = keyring_on_the_way(path)
    _restore._note(note, tmp_path, Keys(THEIRS), "digest", _restore._Beside(), SOURCE)
    tmp_path.chmod(0o700)
    return path


def bad(keyring: Path, *, running: bool) -> dict[str, str]:
    """What the doctor finds wrong, and what is to be done about it, in its order."""
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
    """So it is with a Vault that nobody restored into."""
    assert unfinished_restore(tmp_path / "init.json") is None


def test_its_keys_are_not_here_until_they_are_in_their_place(keyring: Path) -> None:
    """Then it lacks the comparison alone."""
    found = unfinished_restore(keyring)
    assert found is not None
    assert (found.keys_here, found.source) == (False, SOURCE)
    THEIRS.save(keyring)
    found = unfinished_restore(keyring)
    assert found is not None
    assert found.keys_here


def test_a_note_of_an_earlier_release_names_no_backup(keyring: Path) -> None:
    """The command is told without it."""
    THEIRS.save(keyring_on_the_way(keyring))
    found = unfinished_restore(keyring)
    assert found is not None
    assert (found.source, found.command) == ("", "invoke restore")


def test_the_doctor_begins_with_it(keyring: Path) -> None:
    """It names the backup; a server that does not run is started first."""
    first, remedy = next(iter(bad(keyring, running=False).items()))
    assert first == "restore-half-done"
    assert remedy.startswith("invoke up")
    assert f"invoke restore --source '{SOURCE}' again" in remedy
    THEIRS.save(keyring)
    first, remedy = next(iter(bad(keyring, running=True).items()))
    assert first == "restore-not-compared"
    assert remedy.startswith("invoke restore")


def test_an_error_of_keys_names_the_backup_that_is_half_in(keyring: Path) -> None:
    """Whoever opens that Vault is led on with it."""
    wrong = OperatorError("these keys do not unseal this Vault", looked_at="x", remedy="y")
    told = Opening(keyring.parent).half_restored(wrong)
    assert "a restore was ended half-way" in told.cause
    assert SOURCE in told.remedy


def test_keys_that_open_nothing_any_more_are_not_backed_up(keyring: Path) -> None:
    """Such a backup would be the newest one of keys, and would be put back."""
    stack = LocalStack(Settings.from_environment(engine="process", data_dir=keyring.parent))
    with pytest.raises(StackError, match="a restore was ended half-way"):
        stack.check_restored()
    THEIRS.save(keyring)
    stack.check_restored()


def test_another_backup_waits_for_the_one_that_is_half_in(keyring: Path) -> None:
    """Its keys do not open what the other one left; the same backup's error stays as it is."""
    wrong: HarnessError = OperatorError("these keys do not unseal this Vault", looked_at="x")
    third = Keys(Keyring(("dGhpcmQ=",), 1, "third"))
    told = _restore._another_first(wrong, keyring, third)
    assert "another backup was ended half-way" in told.cause
    assert SOURCE in told.remedy
    assert _restore._another_first(wrong, keyring, Keys(THEIRS)) is wrong
