"""A 403 to a JWT login may come from the method, or from Vault if no method is mounted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpcore
import pytest

from resilient_vault_client import (
    AuthenticationFailed,
    AuthMountMissing,
    CredentialsRejected,
    VaultClient,
    VaultError,
)
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._network import Pool

DENIED = 403, "permission denied"
INCOMPLETE = 400, "missing role"
"""How the JWT and Kubernetes methods answer an empty login."""

GOOD = {"auth": {"client_token": "t", "lease_duration": 600, "renewable": True}}


class Method:
    """An auth method with fixed answers, as status and words.

    `jwt` answers a login with a JWT, where None grants a token; `nothing` answers an empty login.
    """

    def __init__(self) -> None:
        self.jwt: tuple[int, str] | None = DENIED
        self.nothing = INCOMPLETE
        self.logins: list[dict[str, str]] = []

    def exchange(self, request: httpcore.Request, deadline: Deadline) -> httpcore.Response:
        del deadline
        answer: Any = {}
        status = 204
        if request.url.target.endswith(b"/login"):
            content = b"".join(request.stream)  # type: ignore[arg-type]  # it is no other kind
            self.logins.append(json.loads(content))
            said = self.jwt if self.logins[-1] else self.nothing
            status, answer = 200, GOOD
            if said is not None:
                status, answer = said[0], {"errors": [said[1]]}
        response = httpcore.Response(status, content=json.dumps(answer).encode())
        response.read()
        return response


@pytest.fixture
def method(monkeypatch: pytest.MonkeyPatch) -> Method:
    method = Method()
    monkeypatch.setattr(Pool, "exchange", lambda _, *given: method.exchange(*given))
    return method


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "jwt"
    file.write_text("a.b.c")
    return file


@pytest.fixture
def client(file: Path) -> Iterator[VaultClient]:
    environ = {
        "VAULT_ADDR": "http://127.0.0.1:1",
        "VAULT_JWT_FILE": str(file),
        "VAULT_JWT_ROLE": "shop",
        "VAULT_AUTH_MOUNT": "kubernetes",
    }
    with VaultClient(environ=environ, renew=False) as client:
        yield client


def failure(client: VaultClient) -> VaultError:
    with pytest.raises(VaultError) as caught:
        client.get_secret("a")
    return caught.value


def test_of_a_method_that_is_there(client: VaultClient, method: Method) -> None:
    """The error blames the JWT, not the mount."""
    error = failure(client)

    assert type(error) is CredentialsRejected
    assert error.status == 403
    assert "VAULT_AUTH_MOUNT" not in str(error)
    for word in ("auth/kubernetes", "shop", "namespace", "audience", "token_bound_cidrs"):
        assert word in str(error)
    assert method.logins == [{"role": "shop", "jwt": "a.b.c"}, {}]


def test_a_missing_login_method_is_named(client: VaultClient, method: Method) -> None:
    method.nothing = DENIED
    error = failure(client)

    assert type(error) is AuthMountMissing
    assert "auth/kubernetes" in str(error)
    assert "VAULT_AUTH_MOUNT" in str(error)
    assert "shop" not in str(error)


@pytest.mark.parametrize("nothing", [(500, "internal error"), (429, "too many requests")])
def test_an_unclear_cause_gives_both_remedies(
    client: VaultClient, method: Method, nothing: Any
) -> None:
    method.nothing = nothing
    error = failure(client)

    assert type(error) is AuthenticationFailed
    for word in ("VAULT_AUTH_MOUNT", "shop", "audience"):
        assert word in str(error)


@pytest.mark.parametrize(
    "words", ["service account name not authorized", "namespace not authorized"]
)
def test_with_its_own_words(client: VaultClient, method: Method, words: str) -> None:
    """No second request is sent."""
    method.jwt = 403, words
    error = failure(client)

    assert type(error) is CredentialsRejected
    assert words in str(error)
    assert len(method.logins) == 1


def test_the_same_is_spared_and_another_one_is_not(
    client: VaultClient, method: Method, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused JWT waits as after a 400."""
    login_backoff = client._session().authenticator._login_backoff
    monkeypatch.setattr(login_backoff, "check", lambda: None)
    failure(client)
    assert type(failure(client)) is CredentialsRejected
    assert len(method.logins) == 2
    file.write_text("d.e.f")
    method.jwt = None

    assert client.authenticate()
    assert method.logins[-1] == {"role": "shop", "jwt": "d.e.f"}


NO_TOKEN = 400, "missing client token"
"""What older versions of Vault answer if no method is mounted."""


def test_an_older_vault_without_the_method(client: VaultClient, method: Method) -> None:
    method.jwt = NO_TOKEN

    assert type(failure(client)) is AuthMountMissing


def test_an_older_vault_without_approle(method: Method) -> None:
    """The secret-id is neither blamed nor counted as rejected."""
    method.jwt = NO_TOKEN
    environ = {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}
    with VaultClient(environ=environ, renew=False, testing=True) as client:
        for _ in range(5):
            assert type(failure(client)) is AuthMountMissing
        assert len(method.logins) == 5
        method.jwt = None
        assert client.authenticate()


def test_a_long_one(client: VaultClient, method: Method, file: Path) -> None:
    """An account in many groups has a long JWT."""
    method.jwt = None
    file.write_text("a." + 20_000 * "b" + ".c")

    assert client.authenticate()
    assert len(method.logins[-1]["jwt"]) > 20_000
