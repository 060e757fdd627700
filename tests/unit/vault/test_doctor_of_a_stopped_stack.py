"""What a doctor says of a stack whose Vault does not run: it can be asked nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.blueprint import Blueprint
from vault_harness.vault.doctor import Patient, ServiceView, examine
from vault_harness.vault.keyring import Keyring


@pytest.fixture
def stopped(tmp_path: Path) -> Patient:
    """A stack that was up once, and has its keyring and a client's role-id."""
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
    """The kinds of what is wrong, in order."""
    return [finding.kind for finding in examine(patient) if finding.bad]


def test_nothing_else_is_wrong(stopped: Patient) -> None:
    """It is started again."""
    assert bad(stopped) == ["not-running"]


@pytest.mark.parametrize(("text", "kind"), [(None, "missing"), ("{}", "broken")])
def test_keys_come_first(stopped: Patient, text: str | None, kind: str) -> None:
    """Without them a start ends at a Vault that is sealed."""
    keyring = stopped.data_dir / "init.json"
    keyring.unlink()
    if text is not None:
        keyring.write_text(text)
        keyring.chmod(0o600)
    assert bad(stopped) == [f"keyring-{kind}", "not-running"]


def test_one_that_never_was_initialised(stopped: Patient) -> None:
    """It has no keys yet, and gets them at its start."""
    (stopped.data_dir / "init.json").unlink()
    (stopped.data_dir / "backend-role-id").unlink()
    assert bad(stopped) == ["not-running"]
