from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from resilient_vault_client import PermissionDenied, VaultClient, VaultError
from resilient_vault_client._transport import Api

ENVIRON = {
    "VAULT_ADDR": "http://127.0.0.1:1",
    "VAULT_ROLE_ID": "r",
    "VAULT_SECRET_ID": "s",
    "VAULT_CLIENT_TIMEOUT": "1",
}


class Vault:
    """A Vault that numbers its tokens and refuses those up to `revoked`.

    `asked` holds the requests in order, with the token's number.
    """

    def __init__(self) -> None:
        self.logins = 0
        self.revoked = 0
        self.forbids = False
        self.asked: list[tuple[str, int]] = []

    def log_in(self, *_: Any) -> object:
        self.logins += 1
        return {"auth": {"client_token": str(self.logins), "lease_duration": 600}}

    def read(self, token: str, *_: Any, **__: Any) -> object:
        self._check("read", token)
        if self.forbids:
            raise self._denial()
        return {"data": {"data": {"KEY": "value"}, "metadata": {"version": 1}}}

    def look_up(self, token: str, *_: Any) -> object:
        self._check("look up", token)
        return {"data": {}}

    def _check(self, what: str, token: str) -> None:
        self.asked.append((what, int(token)))
        if int(token) <= self.revoked:
            raise self._denial()

    @staticmethod
    def _denial() -> VaultError:
        denial = PermissionDenied("permission denied", status=403, sent=False)
        denial.doubtful = True
        return denial


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Vault:
    vault = Vault()
    for name in ("log_in", "look_up"):
        monkeypatch.setattr(Api, name, getattr(vault, name))
    monkeypatch.setattr(Api, "read_secret", vault.read)
    monkeypatch.setattr(Api, "revoke", lambda *_: None)
    return vault


@pytest.fixture
def client(vault: Vault) -> Iterator[VaultClient]:
    """Its first token has worked."""
    client = VaultClient(environ=ENVIRON, renew=False)
    client.get_secret("a/b", "KEY")
    vault.asked.clear()
    yield client
    client.close()


def test_the_next_token_is_revoked_too(client: VaultClient, vault: Vault) -> None:
    """This is no denial: a third token reads."""
    vault.revoked = 2

    assert client.get_secret("a/b", "KEY") == "value"
    assert vault.logins == 3
    assert vault.asked[-1] == ("read", 3)


def test_a_policy_that_forbids(client: VaultClient, vault: Vault) -> None:
    """The token lives, so there is no login after login."""
    vault.revoked, vault.forbids = 1, True

    with pytest.raises(PermissionDenied):
        client.get_secret("a/b", "KEY")
    assert vault.logins == 2


def test_no_token_lives(client: VaultClient, vault: Vault) -> None:
    """The client does not log in endlessly."""
    vault.revoked = 1000

    with pytest.raises(PermissionDenied):
        client.get_secret("a/b", "KEY")
    assert vault.logins == 3
