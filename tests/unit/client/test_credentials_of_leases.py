from __future__ import annotations

from typing import Any

import pytest

from resilient_vault_client import Credential, VaultClient
from resilient_vault_client._deadline import clock
from resilient_vault_client._grant import Token
from resilient_vault_client._transport import Api
from tests.unit.client.conftest import ENVIRON

PATH = "cloud/creds/app"


def leased(*_: Any) -> dict[str, Any]:
    data = {"username": "u", "password": "p", "keys": [{"id": "k"}]}
    return {"lease_id": "l", "lease_duration": 600, "renewable": True, "data": data}


def test_a_callers_change_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later callers and callbacks get the credential as Vault made it."""
    monkeypatch.setattr(Api, "lease", leased)
    client, told = VaultClient(environ=ENVIRON, renew=False), []

    def spoil(credential: Credential) -> None:
        told.append(credential.username)
        credential.data["keys"].clear()
        del credential.data["username"]

    lease = client.lease(PATH, on_change=spoil)
    client.lease(PATH, on_change=spoil)
    session = client._session()
    auth = {"client_token": "t", "lease_duration": 600}
    session.authenticator._current = Token(auth, started=clock())
    spoil(lease.current())
    first = lease.current()
    assert first.data == leased()["data"]
    assert first == lease.current()

    lease.failed("u")
    assert lease.current().data == leased()["data"]
    assert told == ["u", "u", "u"]
    session.authenticator._current = None  # closing the client revokes nothing
    client.close()
