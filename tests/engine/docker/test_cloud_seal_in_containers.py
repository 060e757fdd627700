from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import CapabilityMissing, EngineError, ServerDied
from vault_harness.local.dialect import OPENBAO
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.docker.engine import DockerEngine
from vault_harness.local.engine.docker.state import require
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.engine.provider import SealCheck
from vault_harness.local.engine.seal import CLOUD_SEALS, SealKind
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.local.stack.local import LocalStack
from vault_harness.settings import Settings

pytestmark = [pytest.mark.docker, pytest.mark.slow]  # each starts an engine of its own

KEYS = {
    "VAULT_AWSKMS_SEAL_KEY_ID": "alias/unseal",
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIA-OF-A-TEST",
    "AWS_SECRET_ACCESS_KEY": "secret-of-a-test",
    "AZURE_TENANT_ID": "46646709-b63e-4747-be42-516edeaf1e14",
    "VAULT_AZUREKEYVAULT_VAULT_NAME": "hc-vault",
    "VAULT_AZUREKEYVAULT_KEY_NAME": "unseal",
}


@pytest.fixture(autouse=True)
def keys(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of both clouds; the image's OpenBao has no plugin for either."""
    with connected() as client:
        if require(client, settings)[0].dialect is not OPENBAO:
            pytest.skip("HashiCorp Vault has these seals built in, and asks the cloud")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HARNESS_KMS_PLUGIN", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def check(stanza: dict[str, Any], stack: LocalStack) -> SealCheck:
    provider = stack.provider()
    return provider.check_seal(stanza)


@pytest.mark.parametrize("kind", CLOUD_SEALS)
def test_a_server_that_does_not_know_it_leaves_nothing(local: LocalStack, kind: SealKind) -> None:
    for attempt in (lambda: local.up(seal=kind), lambda: local.check_seal(kind)):
        with pytest.raises(CapabilityMissing, match=f"does not know the seal {kind}") as caught:
            attempt()
        assert f'Error configuring seal "{kind}": unknown wrapper: {kind}' in caught.value.looked_at
        assert "the image " in caught.value.looked_at
    assert not local.data_dir.exists()


def test_a_broken_stanza_is_another_error(local: LocalStack) -> None:
    with pytest.raises(EngineError, match="cannot read the configuration") as caught:
        check({"awskms": {"kms_key_id": ["one", "another"]}}, local)
    assert not isinstance(caught.value, CapabilityMissing)


def test_a_seal_without_a_cloud_passes_the_check(local: LocalStack) -> None:
    key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    done = check({"static": {"current_key_id": "k", "current_key": key}}, local)
    assert done.seal == "static"


def test_a_plugin_is_started_by_the_server(local: LocalStack, tmp_path: Path) -> None:
    """The server starts a declared plugin at its path inside; a program that is no plugin fails."""
    program = tmp_path / "openbao-plugin-kms-aws"
    program.write_bytes(b"\x7fELF, which it is not")
    program.chmod(0o755)
    stack = LocalStack(local.settings.model_copy(update={"kms_plugin": program}))

    with pytest.raises(EngineError, match="cannot start the plugin for the seal awskms"):
        stack.check_seal("awskms")


def test_the_engine_does_not_know_the_access_keys(local: LocalStack, tmp_path: Path) -> None:
    """`docker inspect` shows only where the access keys are; the container can read them."""
    stanza = {"kms_key_id": "alias/unseal", "region": "eu-central-1"}
    spec = NodeSpec(
        name="vault", directory=tmp_path / "vault", audit=False, extra={"seal": {"awskms": stanza}}
    )
    with open_engine(local.settings, directory=tmp_path / "engine") as engine:
        assert isinstance(engine, DockerEngine)
        node = engine.node(spec)
        with pytest.raises(ServerDied):
            node.start()
        with connected() as client:
            attrs = client.containers.get(node.container_name).attrs
    inside = "/vault/seal/cloud/AWS_SHARED_CREDENTIALS_FILE"
    assert f"AWS_SHARED_CREDENTIALS_FILE={inside}" in attrs["Config"]["Env"]
    mount = next(each for each in attrs["Mounts"] if each["Destination"] == inside)
    assert mount["RW"] is False
    assert "secret-of-a-test" in Path(mount["Source"]).read_text()
    assert "secret-of-a-test" not in json.dumps(attrs)
    assert "AKIA-OF-A-TEST" not in json.dumps(attrs)
