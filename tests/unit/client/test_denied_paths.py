"""A policy that denies a read says nothing about a write."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from resilient_vault_client import PermissionDenied, VaultClient
from resilient_vault_client._deadline import clock
from resilient_vault_client._grant import Token
from resilient_vault_client._transport import Api
from tests.unit.client.conftest import ENVIRON


def test_a_write_after_a_denied_read(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []

    def deny(*_: Any, **__: Any) -> NoReturn:
        reads.append(1)
        raise PermissionDenied("1 error occurred: permission denied", status=403, sent=False)

    monkeypatch.setattr(Api, "read_secret", deny)
    monkeypatch.setattr(Api, "write_secret", lambda *_, **__: {"data": {"version": 7}})
    client = VaultClient(environ=ENVIRON, renew=False)
    auth = {"client_token": "t", "lease_duration": 600}
    client._session().authenticator._current = Token(auth, started=clock())
    for _ in range(2):
        with pytest.raises(PermissionDenied):
            client.get_secret("a/b")
    assert client.put_secret("a/b", {"KEY": "value"}) == 7
    with pytest.raises(PermissionDenied):
        client.get_secret("a/b")
    assert len(reads) == 1
    client._session().authenticator._current = None  # closing the client revokes nothing
    client.close()
