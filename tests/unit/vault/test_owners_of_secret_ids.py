from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.vault.fake_vault import FakeVault, Serve
from vault_harness.errors import OperatorError
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.operator.rotate import plan_secret_id, rotate_secret_id

BACKEND = "/v1/auth/approle/role/backend"


@pytest.fixture
def vault(serve: Serve) -> FakeVault:
    """A Vault in which the role has one secret-id that cannot be looked up."""
    server = serve()
    server.answers = {
        f"{BACKEND}/role-id": (200, {"data": {"role_id": "the role"}}, {}),
        f"{BACKEND}/secret-id": (200, {"data": {"keys": ["an-accessor"]}}, {}),
        f"{BACKEND}/secret-id-accessor/lookup": (500, {"errors": ["internal error"]}, {}),
    }
    return server


def test_what_vault_does_not_say_is_no_answer(vault: FakeVault, tmp_path: Path) -> None:
    """The record stays; else the old secret-id would live on."""
    record = tmp_path / "rotations" / "secret-id-backend.json"
    record.parent.mkdir()
    record.write_text('{"name": "ended", "old": "an-accessor", "replaced": 1.0}\n')
    before = record.read_text()
    with (
        closing(VaultAdmin(vault.address, "token")) as op,
        pytest.raises(OperatorError, match="look up a secret-id of backend"),
    ):
        rotate_secret_id(op, "backend", tmp_path)
    assert record.read_text() == before


def test_one_that_is_no_more_is_nobodys(vault: FakeVault) -> None:
    """It expired after the list."""
    vault.answers[f"{BACKEND}/secret-id-accessor/lookup"] = (404, {"data": {"error": "none"}}, {})
    with closing(VaultAdmin(vault.address, "token")) as op:
        assert approle.lookup_accessor(op, "backend", "an-accessor") is None


def test_what_an_ended_run_was_to_replace_is_not_forgotten_with_its_file(
    vault: FakeVault, tmp_path: Path
) -> None:
    """The record still names the secret-id that must be destroyed."""
    vault.answers[f"{BACKEND}/secret-id-accessor/lookup"] = (200, {"data": {"metadata": {}}}, {})
    record = tmp_path / "rotations" / "secret-id-backend.json"
    record.parent.mkdir()
    record.write_text('{"name": "ended", "old": "an-accessor", "replaced": null}\n')

    def end(step: str) -> None:
        raise OSError(step)

    with (
        closing(VaultAdmin(vault.address, "token")) as op,
        pytest.raises(OSError, match="recorded"),
    ):
        rotate_secret_id(op, "backend", tmp_path, checkpoint=end)
    assert json.loads(record.read_text())["old"] == "an-accessor"


def test_what_a_broken_disk_left_is_no_id(vault: FakeVault, tmp_path: Path) -> None:
    for file in approle.credential_files("backend", tmp_path):
        file.write_bytes(b"\xff\xfe\x00")
    vault.answers[f"{BACKEND}/role-id"] = (200, {"data": {"role_id": "the role"}}, {})
    vault.answers[f"{BACKEND}/secret-id/lookup"] = (200, {}, {})
    with closing(VaultAdmin(vault.address, "token")) as op:
        assert not approle.credentials_work(op, "backend", tmp_path)
        assert plan_secret_id(op, "backend", tmp_path).old is None
