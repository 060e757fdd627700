"""A stack's folder that was moved to another disk and linked."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.local.blueprint import Blueprint
from vault_harness.local.stack.local import LocalStack
from vault_harness.operator.doctor import Patient, ServiceView, examine
from vault_harness.settings import Settings


@pytest.fixture
def stack(tmp_path: Path) -> LocalStack:
    data_dir = tmp_path / "vault-data"
    (tmp_path / "big disk" / "data").mkdir(parents=True)
    (tmp_path / "big disk" / "data" / "vault.db").write_text("")
    (tmp_path / "big disk" / "thesis.tex").write_text("of its owner")
    data_dir.mkdir(mode=0o700)
    (data_dir / "vault").symlink_to(tmp_path / "big disk")
    (data_dir / "toxiproxy").mkdir()
    (tmp_path / "a stick").mkdir()
    (tmp_path / "a stick" / "init.json").write_text("{}")
    (data_dir / "init.json").symlink_to(tmp_path / "a stick" / "init.json")
    return LocalStack(Settings(engine="process", data_dir=data_dir))


@pytest.mark.parametrize("away", [False, True], ids=["there", "away"])
def test_destroy_takes_the_link_and_says_what_stays(
    stack: LocalStack, tmp_path: Path, away: bool
) -> None:
    if away:
        (tmp_path / "big disk").rename(tmp_path / "unmounted")
    planned = stack.destroy(dry=True)

    removed = stack.destroy()

    assert sorted(planned) == [line for line in sorted(removed) if ".gitignore" not in line]
    assert f"stays: {tmp_path / 'big disk'}" in "\n".join(removed)
    assert f"stays: {tmp_path / 'a stick' / 'init.json'}" in "\n".join(removed), "keys stay"
    assert (tmp_path / "a stick" / "init.json").exists()
    assert not stack.data_dir.exists()
    kept = tmp_path / ("unmounted" if away else "big disk")
    assert (kept / "thesis.tex").exists()
    assert (kept / "data" / "vault.db").exists()


def test_the_doctor_of_keys_that_are_on_a_disk_that_is_away(tmp_path: Path) -> None:
    """They are reported as missing."""
    tmp_path.chmod(0o700)
    (tmp_path / "init.json").symlink_to(tmp_path / "a stick" / "init.json")
    (tmp_path / "operator-token").touch(mode=0o600)
    patient = Patient(
        data_dir=tmp_path,
        blueprint=Blueprint.default(),
        addresses=("http://127.0.0.1:1",),
        services=(ServiceView("vault", running=False), ServiceView("toxiproxy", running=True)),
    )
    kinds = [finding.kind for finding in examine(patient) if finding.bad]
    assert kinds == ["keyring-missing", "not-running"]


def test_the_doctor_looks_through_a_link(tmp_path: Path) -> None:
    """The mode of the target counts."""
    tmp_path.chmod(0o700)
    (tmp_path / "a stick").mkdir()
    (tmp_path / "a stick" / "init.json").touch()
    (tmp_path / "a stick" / "init.json").chmod(0o644)
    (tmp_path / "init.json").symlink_to(tmp_path / "a stick" / "init.json")
    found = examine(Patient(data_dir=tmp_path, blueprint=Blueprint.default()))
    assert "open-to-others" in [finding.kind for finding in found if finding.bad]
