"""What Vault says of a token in a file, and until when that is believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resilient_vault_client import VaultClient
from resilient_vault_client._api import Api
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._session import Session
from resilient_vault_client._token import Token


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """One of a client that has a token in a file."""
    file = tmp_path / "token"
    file.write_text("t")
    environ = {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN_FILE": str(file)}
    client = VaultClient(environ=environ, renew=False)
    yield client._session()
    client.close()


def read(session: Session, monkeypatch: pytest.MonkeyPatch, **known: Any) -> Token:
    """The token as it is known after Vault has said that of it."""
    monkeypatch.setattr(Api, "look_up", lambda *_: {"data": {"type": "service", **known}})
    return session.authenticator.token(Deadline(5.0), 0.0)


def test_its_last_second(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vault rounds down what is left: a token that ends has an end, and the file is read again."""
    token = read(session, monkeypatch, ttl=0, expire_time="2030-01-01T00:00:00.5Z")

    assert token.usable
    assert 0.0 < token.remaining <= 1.0


def test_one_that_never_ends(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root token, say, has no life and no end."""
    token = read(session, monkeypatch, ttl=0, expire_time=None)

    assert token.ttl is None
    assert token.remaining == float("inf")


def test_one_with_a_life(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what Vault says."""
    token = read(session, monkeypatch, ttl=60, expire_time="2030-01-01T00:00:00.5Z")

    assert token.ttl == 60.0


def test_the_rest_of_a_life_sets_no_pace(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are those of the life that it had, also when it is read again in its last second."""
    token = read(session, monkeypatch, ttl=60, expire_time="2030-01-01T00:00:00.5Z")
    cap = session.backoff.cap
    token.lose("expired")

    read(session, monkeypatch, ttl=0, expire_time="2030-01-01T00:00:00.5Z")

    assert session.backoff.cap == cap


def test_a_long_one(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch token holds all that is known of its owner."""
    assert session.config.token_file is not None
    session.config.token_file.write_text("hvb." + 20_000 * "b")

    assert len(read(session, monkeypatch, ttl=60).text) > 20_000
