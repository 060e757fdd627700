from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resilient_vault_client import UnexpectedAnswer, VaultClient
from resilient_vault_client._transport import Api

MADE = {"data": {"creation_path": "auth/approle/role/web/secret-id"}}
OPENED = {"data": {"secret_id": "s"}}
NOTICE = {"request_id": "7a2f", "message": "maintenance"}
NOBODYS = {"data": {"state": "maintenance"}}


@pytest.mark.parametrize(
    ("looked_up", "opened"),
    [
        ([NOTICE, MADE], [OPENED]),
        ([NOBODYS, MADE], [OPENED]),
        ([MADE, MADE], [NOTICE, OPENED]),
        ([MADE, MADE], [NOBODYS, OPENED]),
    ],
)
def test_the_wrapping_token_is_as_it_was(
    looked_up: list[Any], opened: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Foreign JSON is an outage: the next try opens the token."""
    monkeypatch.setattr(Api, "look_up_wrapping", lambda *_: looked_up.pop(0))
    monkeypatch.setattr(Api, "unwrap", lambda *_: opened.pop(0))
    monkeypatch.setattr(Api, "log_in", lambda *_: {"auth": {"client_token": "t"}})
    monkeypatch.setattr(Api, "revoke", lambda *_: None)
    file = tmp_path / "wrapped"
    file.write_text("s.wrapping")
    environ = {
        "VAULT_ADDR": "http://127.0.0.1:1",
        "VAULT_ROLE_ID": "r",
        "VAULT_WRAPPED_SECRET_ID_FILE": str(file),
    }
    with VaultClient(environ=environ, renew=False, testing=True) as client:
        with pytest.raises(UnexpectedAnswer, match="about the wrapping token"):
            client.read("a")
        assert client.authenticate()
