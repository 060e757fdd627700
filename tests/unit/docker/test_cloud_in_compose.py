"""Credentials for a cloud that unseals a Vault in containers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from traceback import walk_tb
from typing import Any

import pytest

from vault_harness.errors import SettingsError
from vault_harness.local.dialect import OPENBAO
from vault_harness.local.engine.docker.cloud import (
    Told,
    check_same_variables,
    told,
    variables_before,
)
from vault_harness.local.engine.docker.inside import configuration
from vault_harness.local.engine.docker.layout import SEAL_FILE_NAME, Layout
from vault_harness.local.engine.seal import SealKind, cloud_stanza, with_cloud_seal
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.settings import Settings

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIA-OF-A-TEST",
    "AWS_SECRET_ACCESS_KEY": "secret$of'a-test",
    "AZURE_CLIENT_SECRET": "azure-secret-of-a-test",
}
PUBLIC = {
    "VAULT_AWSKMS_SEAL_KEY_ID": "alias/unseal",
    "AWS_REGION": "eu-central-1",
    "AZURE_TENANT_ID": "46646709-b63e-4747-be42-516edeaf1e14",
    "VAULT_AZUREKEYVAULT_VAULT_NAME": "hc-vault",
    "VAULT_AZUREKEYVAULT_KEY_NAME": "unseal",
    "AZURE_CLIENT_ID": "client-of-a-test",
}
INSIDE = "/vault/seal/cloud/AWS_SHARED_CREDENTIALS_FILE"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "IDENTITY_", "MSI_")) or name.lower() in {
            "https_proxy",
            "no_proxy",
        }:
            monkeypatch.delenv(name)
    for name, value in (SECRETS | PUBLIC).items():
        monkeypatch.setenv(name, value)


def node(kind: SealKind, directory: Path, **settings: object) -> NodeSpec:
    stanza = {"seal": {kind: cloud_stanza(kind, {})}}
    spec = NodeSpec(name="vault", directory=directory, storage="raft", extra=stanza)
    return with_cloud_seal(spec, Settings.from_environment(**settings))


def service(what: Told, directory: Path) -> dict[str, Any]:
    layout = Layout(data_dir=directory, members=("vault",), balanced=False, ports={})
    content = json.loads(layout.seal_text({"awskms": {}}, what))
    found: dict[str, Any] = content["services"]["vault"]
    return found


def test_access_keys_are_a_file(tmp_path: Path) -> None:
    """Compose and the engine do not see them."""
    what = told(node("awskms", tmp_path), tmp_path / "seal")

    path = tmp_path / "seal" / "aws-credentials"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == (
        "[default]\naws_access_key_id = AKIA-OF-A-TEST\naws_secret_access_key = secret$of'a-test\n"
    )
    assert what == Told(files={path: INSIDE}, places={"AWS_SHARED_CREDENTIALS_FILE": INSIDE})
    told_to = json.dumps(service(what, tmp_path)) + repr(what.environment()) + repr(what)
    assert not [secret for secret in SECRETS.values() if secret in told_to]


def without(monkeypatch: pytest.MonkeyPatch, names: Iterable[str]) -> None:
    for name in names:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"AWS_PROFILE": "dev"},
        {"AWS_ROLE_ARN": "arn:of-a-test", "AWS_ROLE_SESSION_NAME": "me"},
        {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "of-nothing"},
    ],
)
def test_a_later_start_without_them_takes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, str]
) -> None:
    """An incomplete identity is ignored."""
    before = told(node("awskms", tmp_path), tmp_path / "seal")
    without(monkeypatch, SECRETS)
    for name, value in other.items():
        monkeypatch.setenv(name, value)
    assert told(node("awskms", tmp_path), tmp_path / "seal") == before


def test_another_identity_replaces_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file stays for a start without any identity."""
    before = told(node("awskms", tmp_path), tmp_path / "seal")
    without(monkeypatch, SECRETS)
    path = tmp_path / "token"
    path.touch()
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:of-a-test")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(path))

    inside = "/vault/seal/cloud/AWS_WEB_IDENTITY_TOKEN_FILE"
    assert told(node("awskms", tmp_path), tmp_path / "seal") == Told(
        files={path: inside},
        places={"AWS_WEB_IDENTITY_TOKEN_FILE": inside},
        passed=("AWS_ROLE_ARN",),
    )
    without(monkeypatch, ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"))
    assert told(node("awskms", tmp_path), tmp_path / "seal") == before


@pytest.mark.parametrize(
    "names", [("AWS_ACCESS_KEY_ID",), ("AWS_SECRET_ACCESS_KEY",), ("AWS_SESSION_TOKEN",)]
)
def test_half_of_the_access_keys_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    """It would replace a whole file."""
    told(node("awskms", tmp_path), tmp_path / "seal")
    kept = (tmp_path / "seal" / "aws-credentials").read_text()
    without(monkeypatch, SECRETS)
    for name in names:
        monkeypatch.setenv(name, "half-of-a-secret")

    with pytest.raises(SettingsError, match=f"{names[0]} without AWS_") as caught:
        told(node("awskms", tmp_path), tmp_path / "seal")

    assert (tmp_path / "seal" / "aws-credentials").read_text() == kept
    traceback = caught.value.__traceback__
    assert traceback is not None
    frames = [frame for frame, _ in walk_tb(traceback.tb_next)]
    assert frames
    assert not [frame for frame in frames if "half-of-a-secret" in repr(frame.f_locals)]


@pytest.mark.parametrize(
    ("kind", "variable"),
    [
        ("awskms", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("awskms", "AWS_CA_BUNDLE"),
        ("azurekeyvault", "AZURE_CLIENT_CERTIFICATE_PATH"),
        ("azurekeyvault", "AZURE_FEDERATED_TOKEN_FILE"),
    ],
)
def test_a_file_is_mounted_by_its_place_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: SealKind, variable: str
) -> None:
    """A missing file is refused early."""
    path = tmp_path / "file"
    without(monkeypatch, SECRETS)  # access keys win over another identity
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(SettingsError, match=f"{variable} names a file that is not there"):
        told(node(kind, tmp_path), tmp_path / "seal")
    path.touch()

    what = told(node(kind, tmp_path), tmp_path / "seal")

    assert what.files[path] == what.places[variable] == f"/vault/seal/cloud/{variable}"
    mount = next(each for each in service(what, tmp_path)["volumes"] if each["source"] == str(path))
    assert (mount["read_only"], mount["bind"]["create_host_path"]) == (True, False)


def test_a_secret_that_is_no_file_is_never_written(tmp_path: Path) -> None:
    """It is passed through compose's environment."""
    what = told(node("azurekeyvault", tmp_path), tmp_path / "seal")

    assert what.passed == ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
    assert service(what, tmp_path)["environment"] == {
        "AZURE_CLIENT_ID": None,
        "AZURE_CLIENT_SECRET": None,
    }
    assert what.environment()["AZURE_CLIENT_SECRET"] == SECRETS["AZURE_CLIENT_SECRET"]
    assert not (tmp_path / "seal").exists()


def test_servers_that_run_keep_what_they_ask_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replaced ones could not unseal."""
    path = tmp_path / "$file"
    path.touch()
    monkeypatch.setenv("AZURE_CLIENT_CERTIFICATE_PATH", str(path))
    spec = node("azurekeyvault", tmp_path)
    what = told(spec, tmp_path / "seal")
    layout = Layout(data_dir=tmp_path, members=("vault",), balanced=False, ports={})
    file = tmp_path / SEAL_FILE_NAME
    check_same_variables(file, spec)
    assert variables_before(file) is None
    file.write_text(layout.seal_text({"azurekeyvault": {}}, what))
    monkeypatch.delenv("AZURE_CLIENT_CERTIFICATE_PATH")
    check_same_variables(file, spec)
    monkeypatch.delenv("AZURE_CLIENT_SECRET")

    with pytest.raises(SettingsError, match="started with AZURE_CLIENT_SECRET, which is not"):
        check_same_variables(file, spec)
    assert variables_before(file) == what


def test_a_plugin_is_mounted_where_the_configuration_says(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "openbao-plugin-kms-aws"
    program.parent.mkdir()
    program.write_bytes(b"#!/bin/sh\n")
    program.chmod(0o755)
    spec = node("awskms", tmp_path, kms_plugin=program)

    written = configuration(spec, OPENBAO, address="", host="vault")

    inside = "/vault/plugins/openbao-plugin-kms-aws"
    assert told(spec, tmp_path / "seal").files[program] == inside
    declared: Any = written["plugin"]
    assert f"{written['plugin_directory']}/{declared['kms']['awskms']['command']}" == inside


def test_other_seals_get_nothing(tmp_path: Path) -> None:
    spec = NodeSpec(name="vault", directory=tmp_path, extra={"seal": {"transit": {}}})
    assert told(with_cloud_seal(spec, Settings()), tmp_path / "seal") == Told()
