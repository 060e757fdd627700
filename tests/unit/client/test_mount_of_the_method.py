"""`vault auth list` prints a mount with a slash at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resilient_vault_client import VaultClient
from resilient_vault_client._transport import Api

MADE = {"data": {"creation_path": "auth/approle/role/web/secret-id"}}


@pytest.mark.parametrize(
    ("given", "mount"),
    [
        ({"VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}, "team/approle"),
        ({"VAULT_JWT_FILE": "file", "VAULT_JWT_ROLE": "r"}, "kubernetes"),
        ({"VAULT_ROLE_ID": "r", "VAULT_WRAPPED_SECRET_ID_FILE": "file"}, "approle"),
    ],
)
def test_the_slash_is_dropped(
    given: dict[str, str], mount: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mounts: list[str] = []

    def log_in(_: Api, mount: str, *__: Any) -> Any:
        mounts.append(mount)
        return {"auth": {"client_token": "t", "lease_duration": 600, "renewable": True}}

    monkeypatch.setattr(Api, "log_in", log_in)
    monkeypatch.setattr(Api, "revoke", lambda *_: None)
    monkeypatch.setattr(Api, "look_up_wrapping", lambda *_: MADE)
    monkeypatch.setattr(Api, "unwrap", lambda *_: {"data": {"secret_id": "s"}})
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("a.b.c")
    environ = {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_AUTH_MOUNT": f"{mount}/", **given}

    with VaultClient(environ=environ, renew=False) as client:
        assert client.authenticate()
    assert mounts == [mount]
