"""A 200 in JSON that is none of Vault's: an outage like any other page, for whatever was asked."""

from __future__ import annotations

import json

import httpcore
import pytest

from resilient_vault_client import Config, UnexpectedAnswer
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._pool import Pool
from resilient_vault_client._transport import Answer, Transport

NOTICE = {"status": "maintenance", "retry": True}


def answered(body: object, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """What a request ends with that was answered like that."""
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
    """It is told within the attempt, so that the circuit hears of it, and nobody makes a storm."""
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
    """One part of it is enough."""
    assert answered(body, monkeypatch) == body
