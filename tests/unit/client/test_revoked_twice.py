from __future__ import annotations

from collections.abc import Iterator

import pytest

from resilient_vault_client import PermissionDenied, VaultClient, VaultError
from resilient_vault_client._deadline import clock
from resilient_vault_client._grant import Token
from resilient_vault_client._session import Session
from tests.unit.client.conftest import ENVIRON, Vault


def denial() -> VaultError:
    error = PermissionDenied("permission denied", status=403, sent=False)
    error.doubtful = True
    return error


def revoke(vault: Vault, upto: int) -> None:
    vault.refuse = lambda _, token: denial() if token and int(token[1:]) <= upto else None


@pytest.fixture
def client(vault: Vault) -> Iterator[VaultClient]:
    """Its first token has worked."""
    client = VaultClient(environ=ENVIRON, timeout=1.0, renew=False)
    client.get_secret("a/b", "KEY")
    vault.asked.clear()
    yield client
    client.close()


def test_the_next_token_is_revoked_too(client: VaultClient, vault: Vault) -> None:
    """This is no denial: a third token reads."""
    revoke(vault, 2)

    assert client.get_secret("a/b", "KEY") == "value"
    assert vault.logins == 3
    assert vault.asked[-1] == "read t3"


def test_a_policy_that_forbids(client: VaultClient, vault: Vault) -> None:
    """The token lives, so there is no login after login."""
    vault.refuse = lambda what, token: denial() if what == "read" or token == "t1" else None

    with pytest.raises(PermissionDenied):
        client.get_secret("a/b", "KEY")
    assert vault.logins == 2


def test_no_token_lives(client: VaultClient, vault: Vault) -> None:
    """The client does not log in endlessly."""
    revoke(vault, 1000)

    with pytest.raises(PermissionDenied):
        client.get_secret("a/b", "KEY")
    assert vault.logins == 3


def test_a_write_after_a_denied_read(client: VaultClient, vault: Vault) -> None:
    """A policy that denies a read says nothing about a write."""
    denied = PermissionDenied("1 error occurred: permission denied", status=403, sent=False)
    vault.refuse = lambda what, _: denied if what == "read" else None
    for _ in range(2):
        with pytest.raises(PermissionDenied):
            client.get_secret("a/b")
    assert client.put_secret("a/b", {"KEY": "value"}) == 1
    with pytest.raises(PermissionDenied):
        client.get_secret("a/b")
    assert vault.count("read") == 1


class Let(Token):
    """Its last request ends while it is checked."""

    looks = 0

    @property
    def idle(self) -> bool:
        self.looks += 1
        return self.looks > 1


def test_a_token_is_revoked_after_its_last_request(session: Session) -> None:
    authenticator = session.authenticator
    token = Let({"client_token": "t", "lease_duration": 600}, started=clock())
    authenticator._retired.append(token)

    assert authenticator.take_retired() == []
    assert authenticator.take_retired() == [token]
    assert authenticator.take_retired() == []
