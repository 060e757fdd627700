"""Only requests that reach Vault spend the uses of a token."""

from __future__ import annotations

from typing import Any

import pytest

from resilient_vault_client import (
    ConfigurationError,
    ConnectionLost,
    PermissionDenied,
    ServerFailed,
    VaultError,
    VaultSealed,
    VaultUnreachable,
)
from resilient_vault_client._deadline import Backoff, Deadline, clock
from resilient_vault_client._grant import Token
from resilient_vault_client._retrier import Circuit, Retrier, always
from resilient_vault_client._session import Session
from resilient_vault_client._transport import Api
from resilient_vault_client.events import Notifier

USES = 3


@pytest.fixture
def session(session: Session) -> Session:
    """Its token has few uses."""
    auth = {"client_token": "t", "lease_duration": 600, "num_uses": USES}
    session.authenticator._current = Token(auth, started=clock())
    return session


def read(session: Session) -> None:
    session.fetch("a/b", Deadline(5.0), version=None)


@pytest.mark.parametrize(
    ("failure", "spent"),
    [
        (VaultUnreachable("refused", sent=False), 0),
        (VaultSealed("sealed", sent=False, status=503), 0),
        (ConnectionLost("broke"), 1),
        (ServerFailed("failed", status=500), 1),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, VaultError) else "",
)
def test_a_use_is_spent_if_vault_may_have_the_request(
    session: Session, monkeypatch: pytest.MonkeyPatch, failure: VaultError, spent: int
) -> None:
    answers: list[Any] = [failure, {"data": {"data": {"KEY": "v"}, "metadata": {"version": 1}}}]

    def answer(*_: Any, **__: Any) -> Any:
        one = answers.pop(0)
        if isinstance(one, VaultError):
            raise one
        return one

    monkeypatch.setattr(Api, "read_secret", answer)
    read(session)
    token = session.authenticator.current
    assert token is not None
    assert token.uses_left == USES - spent - 1


def test_an_outage_uses_nothing_up(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "next", lambda *_, **__: 0.01)
    tries = []

    def refuse(*_: Any, **__: Any) -> None:
        tries.append(1)
        raise VaultUnreachable("refused", sent=False)

    monkeypatch.setattr(Api, "read_secret", refuse)
    with pytest.raises(VaultUnreachable):
        session.fetch("a/b", Deadline(0.5), version=None)
    token = session.authenticator.current
    assert token is not None
    assert len(tries) > USES
    assert token.uses_left == USES
    assert token.lost is None
    assert session.circuit.outage is not None


@pytest.mark.parametrize(
    ("said", "over"),
    [
        (PermissionDenied("the token is dead, or its uses are used up", sent=False), False),
        (
            ConfigurationError("the token has characters that no header can carry", sent=False),
            False,
        ),
        (PermissionDenied("permission denied", sent=False, status=403), True),
        (ConfigurationError("nothing is leased there"), True),
    ],
)
def test_an_error_before_the_request_ends_no_outage(said: VaultError, over: bool) -> None:
    """It says nothing about Vault."""
    backoff = Backoff(0.01)
    circuit = Circuit(backoff, Notifier(None))
    circuit.failed(circuit.admit("x", Deadline(1.0, 0.0)), VaultUnreachable("refused"))

    def fail() -> None:
        raise said

    with pytest.raises(type(said)):
        Retrier(circuit, backoff, timeout=1.0).run(
            fail, scope="x", deadline=Deadline(1.0), repeat=always
        )
    assert (circuit.outage is None) is over
    if not over:
        circuit.admit("x", Deadline(1.0))  # the next attempt may probe


@pytest.mark.parametrize("quicker", [1, 3, 9])
def test_others_are_quicker_with_the_last_uses(
    session: Session, monkeypatch: pytest.MonkeyPatch, quicker: int
) -> None:
    """The call is not denied."""
    auth = {"client_token": "t", "lease_duration": 600, "num_uses": USES}
    monkeypatch.setattr(Api, "log_in", lambda *_, **__: {"auth": auth})
    answer = {"data": {"data": {"KEY": "v"}, "metadata": {"version": 1}}}
    monkeypatch.setattr(Api, "read_secret", lambda *_, **__: answer)
    spend = Token.spend
    taken: list[Token] = []

    def spent_by_others(token: Token) -> bool:
        if len(taken) < quicker:
            taken.append(token)
            token.uses_left = 0
        return spend(token)

    monkeypatch.setattr(Token, "spend", spent_by_others)
    read(session)
    assert len(taken) == quicker


def test_a_repeated_read_uses_the_newest_token(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another call found the first token dead while this read was failing."""
    current = Token({"client_token": "t", "lease_duration": 600}, started=clock())
    session.authenticator._current = current
    monkeypatch.setattr(Backoff, "next", lambda *_, **__: 0.01)
    auth = {"client_token": "newer", "lease_duration": 600}
    monkeypatch.setattr(Api, "log_in", lambda *_, **__: {"auth": auth})
    used: list[str] = []

    def read_secret(_: Api, token: str, *__: object, **___: object) -> dict[str, Any]:
        used.append(token)
        if len(used) == 1:
            current.lose("rejected")
            raise ConnectionLost("reset")
        return {"data": {"data": {"KEY": "v"}, "metadata": {"version": 1}}}

    monkeypatch.setattr(Api, "read_secret", read_secret)
    read(session)
    assert used == ["t", "newer"]


def test_a_token_that_no_header_carries_is_not_sent(session: Session) -> None:
    token = session.authenticator.current
    assert token is not None
    token.text = "s.zwölf"
    with pytest.raises(ConfigurationError) as caught:
        read(session)
    assert not caught.value.sent
    assert token.text not in str(caught.value)
