"""A token that was replaced is given back once nobody uses it, and not forgotten before."""

from __future__ import annotations

from resilient_vault_client import VaultClient
from resilient_vault_client._clock import clock
from resilient_vault_client._token import Token

ENVIRON = {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}


class Let(Token):
    """One whose last request ends while it is looked at.

    Attributes:
        looks: How often it was.
    """

    looks = 0

    @property
    def idle(self) -> bool:
        """Not at the first look."""
        self.looks += 1
        return self.looks > 1


def test_a_request_that_ends_meanwhile() -> None:
    """The token is found in the end, whenever its last request was over."""
    client = VaultClient(environ=ENVIRON, renew=False)
    authenticator = client._session().authenticator
    token = Let({"client_token": "t", "lease_duration": 600}, started=clock())
    authenticator._retired.append(token)

    assert authenticator.take_retired() == []
    assert authenticator.take_retired() == [token]
    assert authenticator.take_retired() == []
    client.close()
