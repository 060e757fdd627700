"""An external Vault that refuses the handshake of clients without a certificate."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from pydantic import SecretStr

from tests.running import ran
from vault_harness.errors import DeadlineExceeded
from vault_harness.fixtures import SMALL, Vault, VaultServer
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.stack.launching import check_external
from vault_harness.local.stack.local import LocalStack
from vault_harness.settings import Settings

pytestmark = pytest.mark.slow  # a stack over TLS, and a scenario beside it


@pytest.fixture
def theirs(stack: LocalStack, tmp_path: Path) -> dict[str, str]:
    endpoints = stack.up(client_certs=True)
    keyring = stack.keyring()
    assert keyring is not None
    assert endpoints.ca_cert is not None
    shown = tmp_path / "mine" / "certificate-and-key.pem"
    shown.parent.mkdir()
    shutil.copy(endpoints.ca_cert.with_name("operator.pem"), shown)
    trusted = tmp_path / "theirs.pem"
    shutil.copy(endpoints.ca_cert, trusted)
    return {
        "HARNESS_ENGINE": "external",
        "HARNESS_DATA_DIR": str(tmp_path / "nothing-here"),
        "VAULT_ADDR": endpoints.vault,
        "VAULT_TOKEN": str(keyring.root_token),
        "VAULT_CACERT": str(trusted),
        "VAULT_CLIENT_CERT": str(shown),
        "VAULT_CLIENT_KEY": str(shown),
    }


def task(
    variables: dict[str, str], *words: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return ran(
        [sys.executable, "-m", "vault_harness", *words], env={**os.environ, **variables}, cwd=cwd
    )


def test_the_look_before_anything_begins(theirs: dict[str, str]) -> None:
    settings = Settings(
        engine="external",
        vault_addr=theirs["VAULT_ADDR"],
        vault_token=SecretStr(theirs["VAULT_TOKEN"]),
        vault_cacert=Path(theirs["VAULT_CACERT"]),
    )
    with pytest.raises(DeadlineExceeded) as caught:
        check_external(settings, timeout=1.0)
    assert "VAULT_CLIENT_CERT" in caught.value.remedy

    shown = Path(theirs["VAULT_CLIENT_CERT"])
    check_external(
        settings.model_copy(update={"vault_client_cert": shown, "vault_client_key": shown}),
        timeout=20.0,
    )


def test_clients_of_a_fixture_get_the_variables_they_need(theirs: dict[str, str]) -> None:
    """Clients of a fixture meet only Toxiproxy."""
    shown = Path(theirs["VAULT_CLIENT_CERT"])
    server = VaultServer(
        Settings(
            engine="external",
            vault_addr=theirs["VAULT_ADDR"],
            vault_token=SecretStr(theirs["VAULT_TOKEN"]),
            vault_cacert=Path(theirs["VAULT_CACERT"]),
            vault_client_cert=shown,
            vault_client_key=shown,
        )
    )
    with contextlib.closing(server):
        vault = Vault(server, Blueprint.parse(SMALL, source=Path("small.toml")))
        with contextlib.closing(vault):
            given = vault.environ()
            answer = requests.post(
                f"{given['VAULT_ADDR']}/v1/auth/approle/login",
                json={"role_id": given["VAULT_ROLE_ID"], "secret_id": given["VAULT_SECRET_ID"]},
                headers={"X-Vault-Namespace": given["VAULT_NAMESPACE"]},
                verify=given["VAULT_CACERT"],
                cert=(given["VAULT_CLIENT_CERT"], given["VAULT_CLIENT_KEY"]),
                timeout=15,
            )
            assert given["VAULT_ADDR"].startswith("https://")
            assert answer.json()["auth"]["client_token"]


def test_tasks_and_scenarios_show_it(theirs: dict[str, str], tmp_path: Path) -> None:
    """The doctor sees past the handshake, and a scenario's recorder connects."""
    told = task(theirs, "doctor", "--production")
    assert "clients show theirs" in told.stdout, told.stdout + told.stderr
    assert "HARNESS_ENGINE" not in told.stderr

    judged = task(theirs, "scenarios", "--only", "KV-01", cwd=tmp_path)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert "1 of 1 scenarios pass" in judged.stdout
    key = Path(theirs["VAULT_CLIENT_KEY"]).read_text()
    written = [path for path in (tmp_path / "report").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if key[:200] in path.read_text(errors="replace")]
