"""`vault auth list` prints a mount with a slash at its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from resilient_vault_client import VaultClient
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._transport import Api

ADDRESS = {"VAULT_ADDR": "http://127.0.0.1:1"}


class Vault:
    """A Vault that grants every login and records the mounts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mounts: list[str] = []
        monkeypatch.setattr(Api, "log_in", self.log_in)
        monkeypatch.setattr(Api, "revoke", lambda *_: None)

    def log_in(self, mount: str, credentials: Mapping[str, str], deadline: Deadline) -> Any:
        del credentials, deadline
        self.mounts.append(mount)
        return {"auth": {"client_token": "t", "lease_duration": 600, "renewable": True}}


def test_of_an_approle(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Vault(monkeypatch)
    given = {"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s", "VAULT_AUTH_MOUNT": "team/approle/"}
    with VaultClient(environ={**ADDRESS, **given}, renew=False) as client:
        assert client.authenticate()
    assert vault.mounts == ["team/approle"]


def test_of_a_jwt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vault = Vault(monkeypatch)
    file = tmp_path / "jwt"
    file.write_text("a.b.c")
    given = {"VAULT_JWT_FILE": str(file), "VAULT_JWT_ROLE": "r", "VAULT_AUTH_MOUNT": "kubernetes/"}
    with VaultClient(environ={**ADDRESS, **given}, renew=False) as client:
        assert client.authenticate()
    assert vault.mounts == ["kubernetes"]


def test_of_a_wrapped_secret_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vault = Vault(monkeypatch)
    file = tmp_path / "wrapped"
    file.write_text("s.wrapping")
    made = {"data": {"creation_path": "auth/approle/role/web/secret-id"}}
    monkeypatch.setattr(Api, "look_up_wrapping", lambda *_: made)
    monkeypatch.setattr(Api, "unwrap", lambda *_: {"data": {"secret_id": "s"}})
    given = {
        "VAULT_ROLE_ID": "r",
        "VAULT_WRAPPED_SECRET_ID_FILE": str(file),
        "VAULT_AUTH_MOUNT": "approle/",
    }
    with VaultClient(environ={**ADDRESS, **given}, renew=False) as client:
        assert client.authenticate()
    assert vault.mounts == ["approle"]
