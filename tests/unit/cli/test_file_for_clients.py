"""``.env.vault`` describes this stack and ignores another Vault of the shell."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.cli.migrate import _client_settings
from vault_harness.local.blueprint import Blueprint
from vault_harness.settings import Settings


@pytest.mark.parametrize("own", [None, "ca.pem"])
def test_the_ca_certificate_is_the_stacks(
    own: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_CACERT", str(tmp_path / "of-another-vault.pem"))
    ca_cert = tmp_path / own if own else None
    stack: Any = SimpleNamespace(
        settings=Settings.from_environment(),
        data_dir=tmp_path,
        namespace=lambda _: "",
        ids_directory=lambda _: tmp_path,
        endpoints=lambda: SimpleNamespace(proxy="http://127.0.0.1:8201", ca_cert=ca_cert),
    )
    assert _client_settings(stack, Blueprint.default(), None).ca_cert == ca_cert
