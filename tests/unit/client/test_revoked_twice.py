"""Tokens that are revoked again and again while a call is under way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from resilient_vault_client import PermissionDenied, VaultClient, VaultError
from resilient_vault_client._api import Api

ENVIRON = {
    "VAULT_ADDR": "http://127.0.0.1:1",
    "VAULT_ROLE_ID": "r",
    "VAULT_SECRET_ID": "s",
    "VAULT_CLIENT_TIMEOUT": "1",
}


class Vault:
    """Gives tokens that it counts, and refuses those that were revoked.

    Attributes:
        logins: How many tokens it gave.
        revoked: Up to which of them it refuses.
        forbids: What the policy forbids.
        asked: What was asked for, in turn, with the token's number.
    """

    def __init__(self) -> None:
        self.logins = 0
        self.revoked = 0
        self.forbids = False
        self.asked: list[tuple[str, int]] = []

    def log_in(self, *_: Any) -> object:
        """Another token."""
        self.logins += 1
        return {"auth": {"client_token": str(self.logins), "lease_duration": 600}}

    def read(self, token: str, *_: Any, **__: Any) -> object:
        """A secret."""
        self._check("read", token)
        if self.forbids:
            raise self._denial()
        return {"data": {"data": {"KEY": "value"}, "metadata": {"version": 1}}}

    def look_up(self, token: str, *_: Any) -> object:
        """A token about itself."""
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
    """It answers instead of a server."""
    vault = Vault()
    for name in ("log_in", "look_up"):
        monkeypatch.setattr(Api, name, getattr(vault, name))
    monkeypatch.setattr(Api, "read_secret", vault.read)
    monkeypatch.setattr(Api, "revoke", lambda *_: None)
    return vault


@pytest.fixture
def client(vault: Vault) -> Iterator[VaultClient]:
    """One without threads, whose first token has worked."""
    client = VaultClient(environ=ENVIRON, renew=False)
    client.get_secret("a/b", "KEY")
    vault.asked.clear()
    yield client
    client.close()


def test_the_next_token_is_revoked_too(client: VaultClient, vault: Vault) -> None:
    """Before it was used: that is no denial, and a third one reads."""
    vault.revoked = 2

    assert client.get_secret("a/b", "KEY") == "value"
    assert vault.logins == 3
    assert vault.asked[-1] == ("read", 3)


def test_a_policy_that_forbids(client: VaultClient, vault: Vault) -> None:
    """With a living token: nobody logs in for that again and again."""
    vault.revoked, vault.forbids = 1, True

    with pytest.raises(PermissionDenied):
        client.get_secret("a/b", "KEY")
    assert vault.logins == 2


def test_no_token_lives(client: VaultClient, vault: Vault) -> None:
    """A role whose tokens are refused from the start is not asked for one after the other."""
    vault.revoked = 1000

    with pytest.raises(PermissionDenied):
        client.get_secret("a/b", "KEY")
    assert vault.logins == 3
