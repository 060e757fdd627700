"""The example services are started beside a stack, of which nothing is started with them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.settings import Settings
from vault_harness.stack import LocalStack, example_services
from vault_harness.stack.example_services import SERVICES, ExampleServices


def test_vault_is_not_started_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose would replace one whose variables are not set in this shell."""
    calls: list[tuple[str, ...]] = []
    services = ExampleServices(LocalStack(Settings(engine="docker", data_dir=tmp_path)))
    healthy: Any = SimpleNamespace(health="healthy")
    monkeypatch.setattr(services, "_compose", lambda _way: lambda *said, **_: calls.append(said))
    monkeypatch.setattr(services, "describe", lambda: [healthy])
    monkeypatch.setattr(example_services, "connected", contextlib.nullcontext)
    for name in ("find_image", "refuse_outdated", "hand_out_tls"):
        monkeypatch.setattr(example_services, name, lambda *_: healthy)

    services.start()

    assert calls == [("up", "-d", "--no-deps", *SERVICES)]
