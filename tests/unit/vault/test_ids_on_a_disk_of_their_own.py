from __future__ import annotations

from contextlib import closing
from pathlib import Path

from tests.unit.vault.fake_vault import Serve
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin

BACKEND = "/v1/auth/approle/role/backend"


def test_new_ids_are_written_where_a_link_leads(serve: Serve, tmp_path: Path) -> None:
    """The service reads them there."""
    vault = serve()
    made = {"secret_id": "new", "secret_id_accessor": "an-accessor"}
    vault.answers = {
        f"{BACKEND}/role-id": (200, {"data": {"role_id": "the role"}}, {}),
        f"{BACKEND}/secret-id": (200, {"data": made}, {}),
    }
    here, there = tmp_path / "vault-data", tmp_path / "of-the-service"
    here.mkdir(mode=0o700)
    there.mkdir()
    for file in approle.credential_files("backend", here):
        file.symlink_to(there / file.name)
    with closing(VaultAdmin(vault.address, "token")) as op:
        found = approle.write_credentials(op, "backend", here)
    assert found.secret_id_file.is_symlink()
    assert (there / "backend-role-id").read_text() == "the role"
    assert (there / "backend-secret-id").read_text() == "new"
