from __future__ import annotations

from resilient_vault_client import VaultClient
from resilient_vault_client._deadline import clock
from resilient_vault_client._grant import Token
from tests.unit.client.conftest import ENVIRON


class Let(Token):
    """Its last request ends while it is checked."""

    looks = 0

    @property
    def idle(self) -> bool:
        self.looks += 1
        return self.looks > 1


def test_a_token_is_revoked_after_its_last_request() -> None:
    client = VaultClient(environ=ENVIRON, renew=False)
    authenticator = client._session().authenticator
    token = Let({"client_token": "t", "lease_duration": 600}, started=clock())
    authenticator._retired.append(token)

    assert authenticator.take_retired() == []
    assert authenticator.take_retired() == [token]
    assert authenticator.take_retired() == []
    client.close()
