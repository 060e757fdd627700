from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import CapabilityMissing, EngineError, StackError
from vault_harness.local.dialect import OPENBAO
from vault_harness.local.engine.provider import SealCheck
from vault_harness.local.engine.seal import CLOUD_SEALS, SealKind
from vault_harness.local.programs import find_vault
from vault_harness.local.stack.local import LocalStack
from vault_harness.settings import Settings

KEYS = {
    "VAULT_AWSKMS_SEAL_KEY_ID": "alias/unseal",
    "AWS_REGION": "eu-central-1",
    "AZURE_TENANT_ID": "46646709-b63e-4747-be42-516edeaf1e14",
    "VAULT_AZUREKEYVAULT_VAULT_NAME": "hc-vault",
    "VAULT_AZUREKEYVAULT_KEY_NAME": "unseal",
}


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Keys of both clouds, no data directory, and an OpenBao without plugins."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HARNESS_KMS_PLUGIN", raising=False)
    monkeypatch.setenv("HARNESS_ENGINE", "process")
    monkeypatch.setenv("HARNESS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HARNESS_START_TIMEOUT", "60")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    settings = Settings.from_environment()
    if find_vault(settings).dialect is not OPENBAO:
        pytest.skip("HashiCorp Vault has these seals built in, and asks the cloud")
    return settings


def check_seal(stanza: dict[str, Any], settings: Settings) -> SealCheck:
    provider = LocalStack(settings).provider()
    return provider.check_seal(stanza)


@pytest.mark.parametrize("kind", CLOUD_SEALS)
def test_a_server_that_does_not_know_it_leaves_nothing(
    kind: SealKind, settings: Settings, tmp_path: Path
) -> None:
    stack = LocalStack(settings)

    for attempt in (lambda: stack.up(seal=kind), lambda: stack.check_seal(kind)):
        with pytest.raises(CapabilityMissing, match=f"does not know the seal {kind}") as caught:
            attempt()
        assert f'Error configuring seal "{kind}": unknown wrapper: {kind}' in caught.value.looked_at
        for way in ("HARNESS_KMS_PLUGIN", "HARNESS_VAULT_BINARY", "--seal transit"):
            assert way in caught.value.remedy

    assert not settings.data_dir.exists()
    assert not [*tmp_path.glob("vault-harness-run-*")]


def test_a_stack_that_is_there_is_left_alone(settings: Settings) -> None:
    seal = settings.data_dir / "vault" / "data"
    seal.mkdir(parents=True)
    (seal / "raft.db").touch()

    with pytest.raises(StackError, match="has the seal shamir, and awskms is asked for"):
        LocalStack(settings).up(seal="awskms")

    assert sorted(path.name for path in settings.data_dir.iterdir()) == ["vault"]


@pytest.mark.parametrize(
    "broken",
    [
        {"awskms": {"kms_key_id": ["one", "another"]}},
        {"awskms": {"kms_key_id": "one"}, "azurekeyvault": {"key_name": "another"}},
    ],
)
def test_a_broken_stanza_is_another_error(broken: dict[str, object], settings: Settings) -> None:
    with pytest.raises(EngineError, match="cannot read the configuration") as caught:
        check_seal(broken, settings)

    assert not isinstance(caught.value, CapabilityMissing)
    assert "error loading configuration" in caught.value.looked_at


def test_a_plugin_is_started_by_the_server(tmp_path: Path, settings: Settings) -> None:
    started = tmp_path / "started"
    program = tmp_path / "openbao-plugin-kms-aws"
    program.write_text(f"#!/bin/sh\n: > '{started}'\nexit 3\n")
    program.chmod(0o755)
    settings = Settings.from_environment(kms_plugin=program)

    with pytest.raises(EngineError, match="cannot start the plugin for the seal awskms"):
        LocalStack(settings).check_seal("awskms")

    assert started.exists()


@pytest.mark.slow  # Vault tries for six seconds
def test_a_key_that_is_out_of_reach_is_another_error(settings: Settings) -> None:
    stanza = {"address": "http://127.0.0.1:9", "token": "none", "key_name": "k", "mount_path": "t/"}

    with pytest.raises(EngineError, match="knows the seal transit, and cannot use its key"):
        check_seal({"transit": stanza}, settings)


def test_a_seal_without_a_cloud_passes_the_check(settings: Settings) -> None:
    key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

    done = check_seal({"static": {"current_key_id": "k", "current_key": key}}, settings)

    assert done.seal == "static"
    assert '"static"' in done.configuration
