"""Vault may have acted on a request without an answer, but not if only the login failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from resilient_vault_client import (
    AnswerTruncated,
    ConnectionLost,
    CredentialsRejected,
    PermissionDenied,
    RequestRefused,
    UnexpectedAnswer,
    VaultClient,
    VaultError,
)
from resilient_vault_client._transport import Api
from resilient_vault_client.events import Event

ENVIRON = {
    "VAULT_ADDR": "http://127.0.0.1:1",
    "VAULT_ROLE_ID": "r",
    "VAULT_SECRET_ID": "s",
    "VAULT_CLIENT_TIMEOUT": "1",
}

PATH = "database/creds/app"


class Vault:
    """`login` answers a login, `asked` any other request; `names` are the client's events."""

    def __init__(self) -> None:
        self.login: object = {"auth": {"client_token": "t", "lease_duration": 600}}
        self.asked: object = ConnectionLost("the connection broke")
        self.names: list[str] = []

    def hear(self, event: Event) -> None:
        self.names.append(event.name)

    def log_in(self, *_: Any) -> object:
        return _answer(self.login)

    def ask(self, *_: Any, **__: Any) -> object:
        return _answer(self.asked)


def _answer(answer: object) -> object:
    if isinstance(answer, VaultError):
        raise answer.again()
    return answer


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Vault:
    vault = Vault()
    monkeypatch.setattr(Api, "log_in", vault.log_in)
    for name in ("write_secret", "lease", "read_secret", "look_up"):
        monkeypatch.setattr(Api, name, vault.ask)
    monkeypatch.setattr(Api, "revoke", lambda *_: None)
    return vault


@pytest.fixture
def client(vault: Vault) -> Iterator[VaultClient]:
    client = VaultClient(environ=ENVIRON, renew=False, on_event=vault.hear)
    yield client
    client.close()


def write(client: VaultClient) -> VaultError:
    with pytest.raises(VaultError) as caught:
        client.put_secret("a/b", {"KEY": "value"}, timeout=0.2)
    return caught.value


def lease(client: VaultClient) -> VaultError:
    with pytest.raises(VaultError) as caught:
        client.lease(PATH).current(timeout=0.2)
    return caught.value


LOGINS = [
    ConnectionLost("the connection broke"),
    UnexpectedAnswer("a page", status=200),
    RequestRefused("invalid role or secret ID", status=400, sent=False),
]


@pytest.mark.parametrize("answer", LOGINS, ids=lambda one: type(one).__name__)
def test_a_login_without_an_answer(client: VaultClient, vault: Vault, answer: VaultError) -> None:
    """Nothing was written and no credential was requested."""
    vault.login = answer

    assert not write(client).sent
    assert not lease(client).sent
    assert "lease_orphaned" not in vault.names


def test_a_login_after_a_denial(client: VaultClient, vault: Vault) -> None:
    """The write was refused."""
    client.authenticate()
    dead = PermissionDenied("permission denied", status=403, sent=False)
    dead.doubtful = True
    vault.asked, vault.login = dead, ConnectionLost("the connection broke")

    assert not write(client).sent
    token = client._session().authenticator.current
    assert token is not None
    assert token.lost == "rejected"


def test_a_request_without_an_answer(client: VaultClient, vault: Vault) -> None:
    """A credential may exist that nobody knows."""
    assert write(client).sent
    client._session().circuit._outages.clear()
    assert lease(client).sent
    assert vault.names.count("lease_orphaned") == 1


@pytest.mark.parametrize(
    ("answer", "orphaned"),
    [
        (AnswerTruncated("cut short", status=200), True),
        (UnexpectedAnswer("a page", status=200), True),
        (PermissionDenied("denied", status=403, sent=False), False),
        ({"data": {"KEY": "value"}}, False),
    ],
    ids=["cut", "page", "denied", "nothing-leased"],
)
def test_an_answer_without_a_credential(
    client: VaultClient, vault: Vault, answer: object, orphaned: bool
) -> None:
    """A success with a lost body has made a credential."""
    vault.asked = answer
    lease(client)

    assert ("lease_orphaned" in vault.names) is orphaned


def test_a_refused_login_says_so(client: VaultClient, vault: Vault) -> None:
    vault.login = LOGINS[-1]

    assert isinstance(write(client), CredentialsRejected)
