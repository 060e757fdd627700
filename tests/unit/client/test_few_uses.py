"""A token with few uses: they are spent by requests that Vault got, and by no others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from resilient_vault_client import (
    ConfigurationError,
    ConnectionLost,
    PermissionDenied,
    ServerFailed,
    VaultClient,
    VaultError,
    VaultSealed,
    VaultUnreachable,
)
from resilient_vault_client._api import Api
from resilient_vault_client._backoff import Backoff
from resilient_vault_client._circuit import Circuit
from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._notifier import Notifier
from resilient_vault_client._retrier import Retrier, always
from resilient_vault_client._session import Session
from resilient_vault_client._token import Token

ENVIRON = {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}

USES = 3


@pytest.fixture
def session() -> Iterator[Session]:
    """One that has a token with few uses, of a client without threads."""
    client = VaultClient(environ=ENVIRON, renew=False)
    session = client._session()
    auth = {"client_token": "t", "lease_duration": 600, "num_uses": USES}
    session.authenticator._current = Token(auth, started=clock())
    yield session
    session.authenticator._current = None  # there is nobody to give it back to
    client.close()


def read(session: Session) -> None:
    """Read a secret, for as long as that takes."""
    session.fetch("a/b", Deadline(5.0), patience=5.0, version=None)


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
def test_what_an_attempt_spends(
    session: Session, monkeypatch: pytest.MonkeyPatch, failure: VaultError, spent: int
) -> None:
    """Where Vault may have got the request a use is gone; where it has not, there are all."""
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
    """However many attempts there are while nothing listens, the token is as good as before."""
    monkeypatch.setattr(Backoff, "next", lambda *_, **__: 0.01)
    tries = []

    def refuse(*_: Any, **__: Any) -> None:
        tries.append(1)
        raise VaultUnreachable("refused", sent=False)

    monkeypatch.setattr(Api, "read_secret", refuse)
    with pytest.raises(VaultUnreachable):
        session.fetch("a/b", Deadline(0.5), patience=0.5, version=None)
    token = session.authenticator.current
    assert token is not None
    assert len(tries) > USES
    assert token.uses_left == USES
    assert token.lost is None
    assert session.circuit.outage is not None


@pytest.mark.parametrize(
    ("said", "over"),
    [
        (PermissionDenied("the token's uses are used up", sent=False), False),
        (
            ConfigurationError("the token has characters that no header can carry", sent=False),
            False,
        ),
        (PermissionDenied("permission denied", sent=False, status=403), True),
        (ConfigurationError("nothing is leased there"), True),
    ],
)
def test_what_nobody_was_asked_for_ends_no_outage(said: VaultError, over: bool) -> None:
    """An error from before a request says nothing of Vault; an answer does, whatever it is."""
    backoff = Backoff(0.01)
    circuit = Circuit(backoff, Notifier(None))
    circuit.failed(circuit.admit("x", Deadline(1.0), 0.0), VaultUnreachable("refused"))

    def fail() -> None:
        raise said

    with pytest.raises(type(said)):
        Retrier(circuit, backoff, timeout=1.0).run(
            fail, scope="x", deadline=Deadline(1.0), patience=1.0, repeat=always
        )
    assert (circuit.outage is None) is over
    if not over:
        circuit.admit("x", Deadline(1.0), 1.0)  # the next one may find out


@pytest.mark.parametrize("quicker", [1, 3, 9])
def test_others_are_quicker_with_the_last_uses(
    session: Session, monkeypatch: pytest.MonkeyPatch, quicker: int
) -> None:
    """However often a token is used up before a call comes to its turn, it is denied nothing."""
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


def test_a_token_that_no_header_carries_is_not_sent(session: Session) -> None:
    """The error says so, and repeats nothing of it."""
    token = session.authenticator.current
    assert token is not None
    token.text = "s.zwölf"
    with pytest.raises(ConfigurationError) as caught:
        read(session)
    assert not caught.value.sent
    assert token.text not in str(caught.value)
