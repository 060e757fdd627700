from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.local.blueprint import Blueprint
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.doctor import Patient, ServiceView, examine, examine_access


@pytest.fixture
def stopped(tmp_path: Path) -> Patient:
    """A stack that was up once and has its keyring and a role-id."""
    tmp_path.chmod(0o700)
    Keyring(("b3RoZXI=",), 1, "t").save(tmp_path / "init.json")
    (tmp_path / "backend-role-id").touch(mode=0o600)
    return Patient(
        data_dir=tmp_path,
        blueprint=Blueprint.default(),
        addresses=("http://127.0.0.1:1",),
        services=(ServiceView("vault", running=False), ServiceView("toxiproxy", running=True)),
    )


def bad(patient: Patient) -> list[str]:
    return [finding.kind for finding in examine(patient) if finding.bad]


def test_nothing_else_is_wrong(stopped: Patient) -> None:
    """The remedy is to start it."""
    assert bad(stopped) == ["not-running"]


@pytest.mark.parametrize(("text", "kind"), [(None, "missing"), ("{}", "broken")])
def test_keys_come_first(stopped: Patient, text: str | None, kind: str) -> None:
    """Without them the started Vault stays sealed."""
    keyring = stopped.data_dir / "init.json"
    keyring.unlink()
    if text is not None:
        keyring.write_text(text)
        keyring.chmod(0o600)
    assert bad(stopped) == [f"keyring-{kind}", "not-running"]


def test_an_uninitialised_vault_gets_its_keys_at_its_start(stopped: Patient) -> None:
    (stopped.data_dir / "init.json").unlink()
    (stopped.data_dir / "backend-role-id").unlink()
    assert bad(stopped) == ["not-running"]


@pytest.mark.parametrize(("name", "mode"), [("init.json", 0), ("stack.json", 0o200), ("", 0o300)])
def test_what_its_owner_may_not_read(stopped: Patient, name: str, mode: int) -> None:
    """The remedy is a chmod, before anything is read."""
    path = stopped.data_dir / name
    (stopped.data_dir / "stack.json").touch(mode=0o600)
    path.chmod(mode)
    (found,) = examine_access(stopped.data_dir)
    wanted = "600" if name else "700"
    assert (found.kind, found.remedy) == ("closed-to-owner", f"chmod {wanted} {path}")
    path.chmod(0o700)
    assert examine_access(stopped.data_dir) == []


def test_a_data_directory_that_takes_no_files(stopped: Patient) -> None:
    """It can be read, so the other checks run too."""
    stopped.data_dir.chmod(0o500)
    assert examine_access(stopped.data_dir) == []
    assert bad(stopped) == ["closed-to-owner", "not-running"]
