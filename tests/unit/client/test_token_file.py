from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resilient_vault_client import VaultClient
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Token
from resilient_vault_client._session import Session
from resilient_vault_client._transport import Api


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    file = tmp_path / "token"
    file.write_text("t")
    environ = {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN_FILE": str(file)}
    client = VaultClient(environ=environ, renew=False)
    yield client._session()
    client.close()


def read(session: Session, monkeypatch: pytest.MonkeyPatch, **known: Any) -> Token:
    """Return the token after this answer of Vault."""
    monkeypatch.setattr(Api, "look_up", lambda *_: {"data": {"type": "service", **known}})
    return session.authenticator.token(Deadline(5.0, 0.0))


def test_its_last_second(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vault rounds a TTL down to 0."""
    token = read(session, monkeypatch, ttl=0, expire_time="2030-01-01T00:00:00.5Z")

    assert token.usable
    assert 0.0 < token.remaining <= 1.0


def test_a_token_without_a_ttl_never_ends(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root token is one."""
    token = read(session, monkeypatch, ttl=0, expire_time=None)

    assert token.ttl is None
    assert token.remaining == float("inf")


def test_one_with_a_life(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    token = read(session, monkeypatch, ttl=60, expire_time="2030-01-01T00:00:00.5Z")

    assert token.ttl == 60.0


def test_the_rest_of_a_life_sets_no_pace(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses follow the token's whole life."""
    token = read(session, monkeypatch, ttl=60, expire_time="2030-01-01T00:00:00.5Z")
    cap = session.backoff.cap
    token.lose("expired")

    read(session, monkeypatch, ttl=0, expire_time="2030-01-01T00:00:00.5Z")

    assert session.backoff.cap == cap


def test_a_long_one(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch token holds everything about its owner."""
    assert session.config.token_file is not None
    session.config.token_file.write_text("hvb." + 20_000 * "b")

    assert len(read(session, monkeypatch, ttl=60).text) > 20_000
