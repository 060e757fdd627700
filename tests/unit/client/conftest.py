"""A Vault in this process, in place of the client's requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resilient_vault_client import VaultClient, VaultError
from resilient_vault_client._deadline import clock
from resilient_vault_client._grant import Token
from resilient_vault_client._session import Session
from resilient_vault_client._transport import Api

ENVIRON = {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}

PATH = "database/creds/app"


class Vault:
    """Numbers its tokens and credentials.

    `asked` holds each request with its token: ``read t1``. `refuse` takes both and may return an
    error. `auth` has more fields of a login's answer.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.logins = 0
        self.auth: dict[str, object] = {}
        self.refuse: Callable[[str, str], VaultError | None] = lambda _what, _token: None

    def _ask(self, what: str, token: str) -> None:
        self.asked.append(f"{what} {token}".strip())
        if (error := self.refuse(what, token)) is not None:
            raise error.again()

    def count(self, what: str) -> int:
        return [one.split()[0] for one in self.asked].count(what)

    def log_in(self, *_: Any) -> dict[str, Any]:
        self._ask("login", "")
        self.logins += 1
        auth = {"lease_duration": 600, "renewable": True, **self.auth}
        return {"auth": {"client_token": f"t{self.logins}", **auth}}

    def look_up(self, token: str, *_: Any) -> dict[str, Any]:
        self._ask("lookup", token)
        return {"data": {}}

    def read_secret(self, token: str, *_: Any, **__: Any) -> dict[str, Any]:
        self._ask("read", token)
        return {"data": {"data": {"KEY": "value"}, "metadata": {"version": 1}}}

    def write_secret(self, token: str, *_: Any, **__: Any) -> dict[str, Any]:
        self._ask("write", token)
        return {"data": {"version": 1}}

    def lease(self, token: str, *_: Any) -> dict[str, Any]:
        self._ask("lease", token)
        data = {"username": f"user-{self.count('lease')}", "password": "p"}
        return {"lease_id": "l", "lease_duration": 600, "renewable": True, "data": data}

    def revoke(self, *_: Any) -> None:
        """Revoke a token."""


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Vault:
    vault = Vault()
    for name in ("log_in", "look_up", "read_secret", "write_secret", "lease", "revoke"):
        monkeypatch.setattr(Api, name, getattr(vault, name))
    return vault


@pytest.fixture
def session() -> Iterator[Session]:
    """Its token lives long, and its client has no threads."""
    client = VaultClient(environ=ENVIRON, renew=False)
    session = client._session()
    auth = {"client_token": "t", "lease_duration": 600, "renewable": True}
    session.authenticator._current = Token(auth, started=clock())
    yield session
    session.authenticator._current = None  # closing the client revokes nothing
    client.close()
