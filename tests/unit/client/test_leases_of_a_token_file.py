"""Leases live on while a token file that is read again holds the same token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resilient_vault_client import PermissionDenied, VaultClient
from resilient_vault_client._deadline import Deadline, clock
from resilient_vault_client._grant import Token
from resilient_vault_client._session import Session
from resilient_vault_client._transport import Api

PATH = "database/creds/app"


class Vault:
    """The token in the file lives for `ttl` seconds."""

    def __init__(self) -> None:
        self.made = 0
        self.ttl = 60

    def lease(self, *_: Any) -> dict[str, Any]:
        self.made += 1
        data = {"username": f"user-{self.made}", "password": "p"}
        return {"lease_id": "l", "lease_duration": 600, "renewable": True, "data": data}

    def look_up(self, *_: Any) -> dict[str, Any]:
        return {"data": {"type": "service", "ttl": self.ttl, "num_uses": 0}}


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Vault:
    vault = Vault()
    monkeypatch.setattr(Api, "lease", vault.lease)
    monkeypatch.setattr(Api, "look_up", vault.look_up)
    return vault


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("t-1")
    return file


@pytest.fixture
def session(vault: Vault, file: Path) -> Iterator[Session]:
    """It holds a credential, and its client has no threads."""
    environ = {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN_FILE": str(file)}
    client = VaultClient(environ=environ, renew=False)
    session = client._session()
    session.leases.current(PATH, Deadline(5.0))
    yield session
    session.leases._by_path.clear()  # closing the client revokes nothing
    client.close()


def read_again(session: Session) -> tuple[Token, Token]:
    """Return the token before and the token now."""
    old = session.authenticator.current
    assert old is not None
    return old, session.authenticator.replace(old, Deadline(5.0), reason="not_renewable")


def test_the_same_token_keeps_its_credential(session: Session, vault: Vault) -> None:
    old, new = read_again(session)
    held = session.leases._by_path[PATH]
    session.leases._keep(held)

    assert vault.made == 1
    assert held.leaving == []
    assert held.grant is not None
    assert held.grant.token is new
    assert old.idle
    assert not new.idle
    held.grant.let_go()
    assert new.idle


def test_another_token_brings_another_credential(
    session: Session, vault: Vault, file: Path
) -> None:
    """The owner of the first token may revoke it."""
    file.write_text("t-2")
    read_again(session)
    session.leases._keep(session.leases._by_path[PATH])

    assert vault.made == 2
    assert len(session.leases._by_path[PATH].leaving) == 1


@pytest.mark.parametrize("told", ["expired", "rejected"])
def test_it_lives_as_long_as_the_file_says(session: Session, vault: Vault, told: str) -> None:
    """The token's owner has renewed it."""
    token = session.authenticator.current
    assert token is not None
    token.expires_at = clock()
    token.lose(told)
    credential = session.leases.current(PATH, Deadline(5.0))

    assert vault.made == 1
    assert credential.username == "user-1"
    assert session.authenticator.current is not token


def test_a_denied_renewal_finds_the_same_token(
    session: Session, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = session.leases._by_path[PATH]
    grant = held.grant
    assert grant is not None
    _, new = read_again(session)
    denial = PermissionDenied("permission denied", status=403)

    assert session.leases._denied(held, grant, denial, Deadline(5.0)) is None
    assert grant.token is new
    assert vault.made == 1


def test_a_refused_credential_is_taken_back(
    session: Session, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token that made it revokes it, after any number of reads."""
    revoked: list[str] = []
    monkeypatch.setattr(Api, "revoke_lease", lambda _, token, *__: revoked.append(token))
    session.leases.failed(PATH, "user-1")
    held = session.leases._by_path[PATH]
    session.leases._keep(held)
    read_again(session)
    ((grant, until),) = held.leaving
    session.leases._let_go(held, grant, until)

    assert vault.made == 2
    assert revoked == ["t-1"]
