"""A 200 with JSON that is not Vault's is an outage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpcore
import pytest

from resilient_vault_client import Config, InternalError, UnexpectedAnswer, VaultClient, VaultError
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._network import Pool
from resilient_vault_client._transport import Answer, Transport

NOTICE = {"status": "maintenance", "retry": True}


def answered(body: object, monkeypatch: pytest.MonkeyPatch) -> Answer:
    response = httpcore.Response(
        200,
        headers=[(b"Content-Type", b"application/json")],
        content=json.dumps(body).encode(),
    )
    response.read()
    monkeypatch.setattr(Pool, "exchange", lambda *_: response)
    transport = Transport(Config(address="http://vault:8200"))
    return transport.request("GET", "secret/data/a", deadline=Deadline(30.0))


@pytest.mark.parametrize("body", [NOTICE, {}, {"errors": []}])
def test_a_notice_is_no_answer(body: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The circuit sees it and limits retries."""
    with pytest.raises(UnexpectedAnswer, match="not as Vault does"):
        answered(body, monkeypatch)


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"data": {"KEY": "value"}}},
        {"auth": {"client_token": "t"}},
        {"request_id": "7a2f", "lease_id": "", "data": None, "auth": None},
    ],
)
def test_an_answer_of_vaults_is_one(body: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One known field is enough."""
    assert answered(body, monkeypatch) == body


ANSWERS: dict[str, Any] = {
    "auth/approle/login": {
        "auth": {"client_token": "t", "lease_duration": 600, "num_uses": 0, "renewable": True}
    },
    "auth/token/lookup-self": {"data": {"ttl": 600, "type": "service", "num_uses": 0}},
    "sys/wrapping/lookup": {"data": {"creation_path": "auth/approle/role/web/secret-id"}},
    "sys/wrapping/unwrap": {"data": {"secret_id": "s"}},
    "secret/data/a": {"data": {"data": {"KEY": "value"}, "metadata": {"version": 1}}},
    "database/creds/a": {"lease_id": "l", "lease_duration": 60, "data": {"username": "u"}},
}

ODD: tuple[object, ...] = (None, "soon", 7, True, [], [1], {}, {"a": 1}, float("inf"), float("nan"))

APPROLE = {"VAULT_ADDR": "http://vault:8200", "VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}


def spoilt(answer: Any) -> Iterator[Any]:
    """Yield the answer with something odd in place of each part, and of the whole."""
    yield from ODD
    if isinstance(answer, dict):
        for name, part in answer.items():
            for odd in spoilt(part):
                yield {**answer, name: odd}


@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("auth/approle/login", lambda client: client.read("a")),
        ("secret/data/a", lambda client: client.read("a")),
        ("secret/data/a", lambda client: client.put_secret("a", {})),
        ("database/creds/a", lambda client: client.lease("database/creds/a").current()),
        ("sys/wrapping/unwrap", lambda client: client.unwrap("w")),
        ("auth/token/lookup-self", lambda client: client.health()),
    ],
)
def test_no_answer_is_a_mistake_of_the_client(
    path: str, ask: Callable[[VaultClient], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in spoilt(ANSWERS[path]):
        _asked(ask, {**ANSWERS, path: answer}, APPROLE, monkeypatch)


@pytest.mark.parametrize(
    ("path", "variable"),
    [
        ("auth/token/lookup-self", "VAULT_TOKEN_FILE"),
        ("sys/wrapping/lookup", "VAULT_WRAPPED_SECRET_ID_FILE"),
        ("sys/wrapping/unwrap", "VAULT_WRAPPED_SECRET_ID_FILE"),
    ],
)
def test_nor_is_one_to_another_login(
    path: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token comes from a file."""
    file = tmp_path / "file"
    file.write_text("token")
    for answer in spoilt(ANSWERS[path]):
        environ = {**APPROLE, variable: str(file)}
        _asked(lambda client: client.read("a"), {**ANSWERS, path: answer}, environ, monkeypatch)


def _asked(
    ask: Callable[[VaultClient], object],
    answers: dict[str, Any],
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def exchange(_: Pool, request: httpcore.Request, deadline: Deadline) -> httpcore.Response:
        del deadline
        path = request.url.target.decode().removeprefix("/v1/")
        known = path in answers
        content = json.dumps(answers[path]).encode() if known else b""
        response = httpcore.Response(200 if known else 204, content=content)
        response.read()
        return response

    monkeypatch.setattr(Pool, "exchange", exchange)
    with VaultClient(environ=environ, testing=True) as client:
        try:
            ask(client)
        except InternalError:
            raise
        except VaultError:
            pass
