"""A client that reads nothing asks Vault whether its token lives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from resilient_vault_client import PermissionDenied, VaultClient, VaultError, VaultSealed
from resilient_vault_client._transport import Api
from vault_harness.waiting import wait_until

ENVIRON = {
    "VAULT_ADDR": "http://127.0.0.1:1",
    "VAULT_ROLE_ID": "r",
    "VAULT_SECRET_ID": "s",
    "VAULT_CLIENT_TIMEOUT": "1",
}

OLD = 60.0
"""Seconds after which evidence is old."""


class Vault:
    """`uses` is the number of uses of a token; 0 means any number."""

    def __init__(self) -> None:
        self.uses = 0
        self.refusal: VaultError | None = None
        self.asked: list[str] = []

    def log_in(self, *_: Any) -> dict[str, Any]:
        self.asked.append("login")
        auth = {"lease_duration": 600, "renewable": True, "num_uses": self.uses}
        return {"auth": {"client_token": f"t-{len(self.asked)}", **auth}}

    def look_up(self, *_: Any) -> dict[str, Any]:
        self.asked.append("lookup")
        if self.refusal is not None:
            raise self.refusal.again()
        return {"data": {}}

    def write_secret(self, *_: Any, **__: Any) -> dict[str, Any]:
        self.asked.append("write")
        return {"data": {"version": 1}}

    def revoke(self, *_: Any) -> None:
        """Revoke a token."""


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Vault:
    vault = Vault()
    for name in ("log_in", "look_up", "write_secret", "revoke"):
        monkeypatch.setattr(Api, name, getattr(vault, name))
    return vault


@pytest.fixture
def client(vault: Vault) -> Iterator[VaultClient]:
    """A client that logged in and wrote a secret a while ago."""
    client = VaultClient(environ=ENVIRON, renew=False)
    client.put_secret("a/b", {"KEY": "value"})
    session = client._session()
    session.last_success = time.monotonic() - OLD
    token = session.authenticator.current
    assert token is not None
    token.issued_at -= OLD  # old enough to be replaced because of a policy
    vault.asked.clear()
    yield client
    client.close()


def test_a_token_that_lives(client: VaultClient, vault: Vault) -> None:
    """An answer is evidence for a while."""
    assert client.health().ok
    assert vault.asked == ["lookup"]
    assert client.health().ok
    assert vault.asked == ["lookup"]


def test_a_token_that_vault_does_not_know(client: VaultClient, vault: Vault) -> None:
    vault.refusal = PermissionDenied("permission denied", status=403)
    vault.refusal.doubtful = True

    assert client.health().ok
    assert vault.asked == ["lookup", "login"]


def test_a_denied_lookup_is_no_outage(client: VaultClient, vault: Vault) -> None:
    """It is an answer of Vault."""
    vault.refusal = PermissionDenied("permission denied", status=403)

    assert client.health().ok
    assert client.health().ok, "it is not asked again at once"
    assert vault.asked == ["lookup"]


def test_an_outage(client: VaultClient, vault: Vault) -> None:
    """The client only writes."""
    vault.refusal = VaultSealed("the Vault is sealed", sent=False, status=503)
    health = client.health(timeout=0.1)
    assert not health.ok
    assert health.outage is not None
    assert "sealed" in health.reasons[0]

    vault.refusal = None
    wait_until(lambda: client.health().ok, "health", timeout=client.backoff_cap + 5.0)


def test_a_token_of_few_uses(client: VaultClient, vault: Vault) -> None:
    """A health check spends no use of the token."""
    vault.uses = 2
    token = client._session().authenticator.current
    assert token is not None
    token.lose("expired")
    client.authenticate()
    vault.asked.clear()

    assert client.health().ok
    assert vault.asked == []


def test_a_login_is_evidence(vault: Vault) -> None:
    """The first health check logs in."""
    with VaultClient(environ=ENVIRON, renew=False) as client:
        assert client.health().ok
        assert client.health().ok

    assert vault.asked == ["login"]
