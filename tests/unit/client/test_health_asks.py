"""A client that reads nothing asks Vault whether its token lives."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from resilient_vault_client import PermissionDenied, VaultClient, VaultSealed
from tests.unit.client.conftest import ENVIRON, Vault
from vault_harness.waiting import wait_until

OLD = 60.0
"""Seconds after which evidence is old."""


@pytest.fixture
def client(vault: Vault) -> Iterator[VaultClient]:
    """A client that logged in and wrote a secret a while ago."""
    client = VaultClient(environ=ENVIRON, timeout=1.0, renew=False)
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
    assert vault.asked == ["lookup t1"]
    assert client.health().ok
    assert vault.asked == ["lookup t1"]


def test_a_token_that_vault_does_not_know(client: VaultClient, vault: Vault) -> None:
    unknown = PermissionDenied("permission denied", status=403)
    unknown.doubtful = True
    vault.refuse = lambda what, _: unknown if what == "lookup" else None

    assert client.health().ok
    assert vault.asked == ["lookup t1", "login"]


def test_a_denied_lookup_is_no_outage(client: VaultClient, vault: Vault) -> None:
    """It is an answer of Vault."""
    denied = PermissionDenied("permission denied", status=403)
    vault.refuse = lambda what, _: denied if what == "lookup" else None

    assert client.health().ok
    assert client.health().ok, "it is not asked again at once"
    assert vault.asked == ["lookup t1"]


def test_an_outage(client: VaultClient, vault: Vault) -> None:
    """The client only writes."""
    sealed = [VaultSealed("the Vault is sealed", sent=False, status=503)]
    vault.refuse = lambda *_: sealed[0] if sealed else None
    health = client.health(timeout=0.1)
    assert not health.ok
    assert health.outage is not None
    assert "sealed" in health.reasons[0]

    sealed.clear()
    wait_until(lambda: client.health().ok, "health", timeout=client.backoff_cap + 5.0)


def test_a_token_of_few_uses(client: VaultClient, vault: Vault) -> None:
    """A health check spends no use of the token."""
    vault.auth["num_uses"] = 2
    token = client._session().authenticator.current
    assert token is not None
    token.lose("expired")
    client.authenticate()
    vault.asked.clear()

    assert client.health().ok
    assert vault.asked == []


def test_a_login_is_evidence(vault: Vault) -> None:
    """The first health check logs in."""
    with VaultClient(environ=ENVIRON, timeout=1.0, renew=False) as client:
        assert client.health().ok
        assert client.health().ok

    assert vault.asked == ["login"]
