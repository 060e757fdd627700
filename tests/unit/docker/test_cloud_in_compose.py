"""A cloud that unseals a Vault in containers: who asks it. No engine, and no cloud."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from traceback import walk_tb
from typing import Any

import pytest

from vault_harness.dialect import OPENBAO
from vault_harness.engine import (
    CLOUD_SEALS,
    CloudSealingProvider,
    NodeSpec,
    SealKind,
    cloud_stanza,
)
from vault_harness.engine._cloud_seal import with_cloud_seal
from vault_harness.engine.docker import DockerCluster
from vault_harness.engine.docker._cloud import (
    Told,
    check_told_again,
    told,
    told_before,
)
from vault_harness.engine.docker._inside import configuration
from vault_harness.engine.docker._layout import SEAL_FILE_NAME, Layout
from vault_harness.errors import SettingsError
from vault_harness.settings import Settings
from vault_harness.stack._sealing import check_engine
from vault_harness.stack.record import StackRecordFile

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
    """Nothing of the clouds that this machine may belong to; both of the test's."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "IDENTITY_", "MSI_")) or name.lower() in {
            "https_proxy",
            "no_proxy",
        }:
            monkeypatch.delenv(name)
    for name, value in (SECRETS | PUBLIC).items():
        monkeypatch.setenv(name, value)


def node(kind: SealKind, directory: Path, **settings: object) -> NodeSpec:
    """A node that this cloud unseals."""
    stanza = {"seal": {kind: cloud_stanza(kind, {})}}
    spec = NodeSpec(name="vault", directory=directory, storage="raft", extra=stanza)
    return with_cloud_seal(spec, Settings.from_environment(**settings))


def service(what: Told, directory: Path) -> dict[str, Any]:
    """What compose is told of a node."""
    layout = Layout(data_dir=directory, members=("vault",), balanced=False, ports={})
    content = json.loads(layout.seal_text({"awskms": {}}, what))
    found: dict[str, Any] = content["services"]["vault"]
    return found


def test_access_keys_are_a_file(tmp_path: Path) -> None:
    """Of 0600, and mounted; neither compose nor the engine is told what is in it."""
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
    """Another shell, in which these are not set."""
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
    """Whoever restarts the stack need not have them; half of somebody else is nobody."""
    before = told(node("awskms", tmp_path), tmp_path / "seal")
    without(monkeypatch, SECRETS)
    for name, value in other.items():
        monkeypatch.setenv(name, value)
    assert told(node("awskms", tmp_path), tmp_path / "seal") == before


def test_somebody_else_takes_the_place_of_the_file_which_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If named wholly; and it is there for a start by which nobody is named."""
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
    """It would take the place of a file that is whole. No value is in the error's frames."""
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
def test_what_is_a_file_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: SealKind, variable: str
) -> None:
    """And named by its place inside; one that is not there is told before anything is started."""
    path = tmp_path / "file"
    without(monkeypatch, SECRETS)  # access keys come before whom another variable names
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(SettingsError, match=f"{variable} names a file that is not there"):
        told(node(kind, tmp_path), tmp_path / "seal")
    path.touch()

    what = told(node(kind, tmp_path), tmp_path / "seal")

    assert what.files[path] == what.places[variable] == f"/vault/seal/cloud/{variable}"
    mount = next(each for each in service(what, tmp_path)["volumes"] if each["source"] == str(path))
    assert (mount["read_only"], mount["bind"]["create_host_path"]) == (True, False)


def test_what_can_be_no_file_is_passed_and_not_written(tmp_path: Path) -> None:
    """Compose takes it from the environment that it runs in."""
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
    """Compose would replace them, and the new ones could not unseal themselves."""
    path = tmp_path / "$file"
    path.touch()
    monkeypatch.setenv("AZURE_CLIENT_CERTIFICATE_PATH", str(path))
    spec = node("azurekeyvault", tmp_path)
    what = told(spec, tmp_path / "seal")
    layout = Layout(data_dir=tmp_path, members=("vault",), balanced=False, ports={})
    file = tmp_path / SEAL_FILE_NAME
    check_told_again(file, spec)
    assert told_before(file) is None
    file.write_text(layout.seal_text({"azurekeyvault": {}}, what))
    monkeypatch.delenv("AZURE_CLIENT_CERTIFICATE_PATH")
    check_told_again(file, spec)
    monkeypatch.delenv("AZURE_CLIENT_SECRET")

    with pytest.raises(SettingsError, match="started with AZURE_CLIENT_SECRET, which is not"):
        check_told_again(file, spec)
    assert told_before(file) == what


def test_a_plugin_is_mounted_where_the_configuration_says(tmp_path: Path) -> None:
    """The program alone, and nothing else of its folder."""
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
    """Whatever is in the environment."""
    spec = NodeSpec(name="vault", directory=tmp_path, extra={"seal": {"transit": {}}})
    assert told(with_cloud_seal(spec, Settings()), tmp_path / "seal") == Told()


def test_both_clouds_are_for_containers_too(tmp_path: Path) -> None:
    """As for processes."""
    provider = DockerCluster(Settings(data_dir=tmp_path), StackRecordFile(tmp_path))
    assert isinstance(provider, CloudSealingProvider)
    for kind in CLOUD_SEALS:
        check_engine(kind, provider)
