"""A credential ends at its own end or its token's, and a caller's change to it is its own."""

from __future__ import annotations

from typing import Any

import pytest

from resilient_vault_client import Credential, VaultClient
from resilient_vault_client._deadline import clock
from resilient_vault_client._grant import Grant, Token
from resilient_vault_client._transport import Api
from tests.unit.client.conftest import ENVIRON


def grant(*, life: int, tokens: int) -> Grant:
    """Lifetimes are in seconds; it was requested ten seconds ago."""
    since = clock() - 10.0
    token = Token({"client_token": "t", "lease_duration": tokens, "renewable": True}, started=since)
    answer = {"lease_id": "l", "lease_duration": life, "renewable": True}
    return Grant("database/creds/app", answer, token, since)


def test_it_ends_while_its_token_is_renewed() -> None:
    ended = grant(life=8, tokens=60)
    ended.token.renewing = True
    assert not ended.usable


def test_it_lives_on_while_its_token_is_renewed() -> None:
    """This is past the token's known end."""
    living = grant(life=60, tokens=8)
    assert not living.usable
    living.token.renewing = True
    assert living.usable


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

    lease = client.lease("cloud/creds/app", on_change=spoil)
    client.lease("cloud/creds/app", on_change=spoil)
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
