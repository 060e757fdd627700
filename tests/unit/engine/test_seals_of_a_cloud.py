"""The stanza of a cloud's seal has all public settings and no secret."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import ProgramMissing, SettingsError
from vault_harness.local.dialect import OPENBAO, VAULT
from vault_harness.local.engine.configuration import Place, as_text, server_configuration
from vault_harness.local.engine.process.spawn import child_environment
from vault_harness.local.engine.seal import CLOUD_SEALS, cloud_stanza, with_cloud_seal
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.settings import Settings

AWS = {
    "VAULT_AWSKMS_SEAL_KEY_ID": "alias/unseal",
    "AWS_REGION": "eu-central-1",
    "AWS_KMS_ENDPOINT": "https://kms.example.org",
    "AWS_ACCESS_KEY_ID": "AKIA-OF-A-TEST",
    "AWS_SECRET_ACCESS_KEY": "secret-of-a-test",
}
AZURE = {
    "AZURE_TENANT_ID": "46646709-b63e-4747-be42-516edeaf1e14",
    "VAULT_AZUREKEYVAULT_VAULT_NAME": "hc-vault",
    "VAULT_AZUREKEYVAULT_KEY_NAME": "unseal",
    "AZURE_CLIENT_ID": "client-of-a-test",
    "AZURE_CLIENT_SECRET": "secret-of-a-test",
}
PLACE = Place(
    api="127.0.0.1:1",
    cluster="127.0.0.1:2",
    address="http://127.0.0.1:1",
    cluster_address="127.0.0.1:2",
    data="/d/data",
)


@pytest.fixture(autouse=True)
def no_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*AWS, *AZURE, "AWS_DEFAULT_REGION", "AZURE_ENVIRONMENT", "AZURE_AD_RESOURCE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AZURE.items():
        monkeypatch.setenv(name, value)


def node(stanza: dict[str, Any], **settings: object) -> NodeSpec:
    spec = NodeSpec(name="vault", directory=Path("/d"), storage="raft", extra={"seal": stanza})
    return with_cloud_seal(spec, Settings.from_environment(**settings))


@pytest.mark.usefixtures("aws")
def test_the_stanza_of_aws() -> None:
    assert cloud_stanza("awskms", {}) == {
        "kms_key_id": "alias/unseal",
        "region": "eu-central-1",
        "endpoint": "https://kms.example.org",
    }


@pytest.mark.usefixtures("azure")
def test_the_stanza_of_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    stanza = {
        "tenant_id": "46646709-b63e-4747-be42-516edeaf1e14",
        "vault_name": "hc-vault",
        "key_name": "unseal",
    }
    assert cloud_stanza("azurekeyvault", {}) == stanza
    monkeypatch.setenv("AZURE_ENVIRONMENT", "AZURECHINACLOUD")
    assert cloud_stanza("azurekeyvault", {}) == {**stanza, "environment": "AZURECHINACLOUD"}


@pytest.mark.usefixtures("aws", "azure")
@pytest.mark.parametrize("dialect", [OPENBAO, VAULT])
@pytest.mark.parametrize("kind", CLOUD_SEALS)
def test_no_credential_is_in_the_file(kind: Any, dialect: Any) -> None:
    """Credentials are passed in this server's environment only."""
    spec = node({kind: cloud_stanza(kind, {})})
    text = as_text(server_configuration(spec, dialect, PLACE))

    assert list(json.loads(text)["seal"]) == [kind]
    for secret in ("AKIA-OF-A-TEST", "client-of-a-test", "secret-of-a-test"):
        assert secret not in text
        assert secret not in repr(spec)
    told = child_environment(passes=spec.passes)
    assert ("AWS_SECRET_ACCESS_KEY" in told) == (kind == "awskms")
    assert ("AZURE_CLIENT_SECRET" in told) == (kind == "azurekeyvault")
    assert "AWS_SECRET_ACCESS_KEY" not in child_environment()


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("awskms", ["VAULT_AWSKMS_SEAL_KEY_ID", "AWS_REGION"]),
        (
            "azurekeyvault",
            [
                "AZURE_TENANT_ID",
                "VAULT_AZUREKEYVAULT_VAULT_NAME",
                "VAULT_AZUREKEYVAULT_KEY_NAME",
            ],
        ),
    ],
)
def test_all_that_is_missing_is_named_at_once(kind: Any, missing: list[str]) -> None:
    """An empty variable counts as missing."""
    with pytest.raises(SettingsError) as caught:
        cloud_stanza(kind, {})

    assert caught.value.cause.endswith(": " + ", ".join(missing))


def test_only_the_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The region has two variables."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("VAULT_AWSKMS_SEAL_KEY_ID", "")

    with pytest.raises(SettingsError, match=r"not set: VAULT_AWSKMS_SEAL_KEY_ID\n"):
        cloud_stanza("awskms", {})


def test_a_stack_knows_its_key_without_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set variable overrides the recorded value."""
    recorded = {"kms_key_id": "alias/unseal", "region": "eu-central-1", "disabled": "true"}
    assert cloud_stanza("awskms", recorded) == {
        "kms_key_id": "alias/unseal",
        "region": "eu-central-1",
    }
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert cloud_stanza("awskms", recorded)["region"] == "eu-west-1"


@pytest.mark.usefixtures("aws")
def test_a_plugin_is_declared_with_its_digest(tmp_path: Path) -> None:
    """The declared folder is not the link."""
    program = tmp_path / "real" / "openbao-plugin-kms-aws"
    program.parent.mkdir()
    program.write_bytes(b"#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "link").symlink_to(program.parent)

    spec = node({"awskms": cloud_stanza("awskms", {})}, kms_plugin=tmp_path / "link" / program.name)

    assert (
        server_configuration(spec, OPENBAO, PLACE).items()
        >= {
            "plugin_directory": str(program.parent),
            "plugin": {
                "kms": {
                    "awskms": {
                        "command": "openbao-plugin-kms-aws",
                        "sha256sum": hashlib.sha256(b"#!/bin/sh\n").hexdigest(),
                    }
                }
            },
        }.items()
    )


@pytest.mark.usefixtures("aws")
def test_a_plugin_that_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match=r"HARNESS_KMS_PLUGIN names .*nothing-here"):
        node({"awskms": cloud_stanza("awskms", {})}, kms_plugin=tmp_path / "nothing-here")


def test_other_seals_get_nothing_of_it(tmp_path: Path) -> None:
    spec = node({"transit": {"key_name": "unseal"}}, kms_plugin=tmp_path / "nothing-here")

    assert (spec.passes, list(spec.extra)) == ((), ["seal"])
