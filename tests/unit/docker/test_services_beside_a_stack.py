from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import BlueprintError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.docker.stack import DockerStack
from vault_harness.local.stack import example_services
from vault_harness.local.stack.example_services import SERVICES, ExampleServices
from vault_harness.local.stack.local import LocalStack
from vault_harness.settings import Settings


def test_vault_is_not_started_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose might replace it."""
    calls: list[tuple[str, ...]] = []
    local = LocalStack(Settings(engine="docker", data_dir=tmp_path))
    services = ExampleServices(local)
    healthy: Any = SimpleNamespace(health="healthy")
    at = SimpleNamespace(ca_cert=None, targets=[SimpleNamespace(upstream="vault:8200")])
    monkeypatch.setattr(local, "endpoints", lambda: at)
    monkeypatch.setattr(
        DockerStack, "compose", lambda *_: lambda *said, **_more: calls.append(said)
    )
    monkeypatch.setattr(services, "describe", lambda: [healthy])
    monkeypatch.setattr(example_services, "connected", contextlib.nullcontext)
    for name in ("find_image", "refuse_outdated", "hand_out_tls"):
        monkeypatch.setattr(example_services, name, lambda *_: healthy)

    services.start()

    assert calls == [("up", "-d", "--no-deps", *SERVICES)]


def blueprint(tmp_path: Path, services: str) -> Blueprint:
    """Return a small blueprint with these lines under ``[services]``."""
    file = tmp_path / "own.toml"
    file.write_text(f"""
name = "own"
[mounts.ecommerce]
type = "kv"
version = 2
[policies.backend]
rules = 'path "ecommerce/data/*" {{ capabilities = ["read"] }}'
[approles.backend]
policies = ["backend"]
[services]
{services}
""")
    return Blueprint.load(file)


def test_only_named_services_get_ids(tmp_path: Path) -> None:
    local = LocalStack(Settings(engine="docker", data_dir=tmp_path / "vault-data"))
    local.data_dir.mkdir()
    for kind in ("role-id", "secret-id"):
        (local.data_dir / f"backend-{kind}").write_text("an id")

    ExampleServices(local).write_credentials(blueprint(tmp_path, 'celery_beat = "backend"'))

    assert [folder.name for folder in (local.data_dir / "services").iterdir()] == ["celery_beat"]


def test_a_blueprint_without_services_is_refused(tmp_path: Path) -> None:
    local = LocalStack(Settings(engine="docker", data_dir=tmp_path / "vault-data"))
    with pytest.raises(BlueprintError) as caught:
        ExampleServices(local).write_credentials(blueprint(tmp_path, 'other = "backend"'))
    assert "[services]" in caught.value.remedy
