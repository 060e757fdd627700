"""A renewal that a stranger answers with 200 has failed and costs nothing."""

from __future__ import annotations

from typing import Any

import pytest

from resilient_vault_client import UnexpectedAnswer
from resilient_vault_client._deadline import Deadline, clock
from resilient_vault_client._grant import Grant, Token
from resilient_vault_client._session import Session
from resilient_vault_client._transport import Api
from tests.unit.client.conftest import PATH

NOTICE = {"status": "maintenance", "retry": True}

LIFE = 600

NOT_GRANTED: list[object] = [
    None,
    "soon",
    [],
    {},
    NOTICE,
    {"lease_duration": None},
    {"lease_duration": "soon"},
    {"lease_duration": True},
]


def token() -> Token:
    auth = {"client_token": "t", "lease_duration": LIFE, "renewable": True}
    return Token(auth, started=clock())


def leased() -> dict[str, Any]:
    data = {"username": "u", "password": "p"}
    return {"lease_id": "l", "lease_duration": LIFE, "renewable": True, "data": data}


@pytest.mark.parametrize("answer", NOT_GRANTED, ids=str)
def test_a_foreign_answer_leaves_a_token_as_it_was(answer: object) -> None:
    held = token()
    grant = Grant(PATH, leased(), held, clock())
    ends = (held.expires_at, grant.expires_at)
    with pytest.raises(UnexpectedAnswer, match="is it Vault's"):
        held.renewed(answer, clock() + 1.0)
    with pytest.raises(UnexpectedAnswer, match="is it Vault's"):
        grant.renewed(answer, clock() + 1.0)  # type: ignore[arg-type]  # as it may come
    assert (held.expires_at, grant.expires_at) == ends
    assert not held.capped
    assert not grant.capped


def test_a_life_of_nothing_is_vaults_word() -> None:
    """Less than a second is left of the maximum."""
    held = token()
    held.renewed({"lease_duration": 0}, clock())
    assert held.capped
    assert not held.usable


def test_a_token_is_renewed_after_a_notice(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again soon, without a login."""
    renewals = [NOTICE, {"auth": {"client_token": "t", "lease_duration": LIFE}}]
    monkeypatch.setattr(Api, "renew", lambda *_: renewals.pop(0))
    held = session.authenticator.current
    assert held is not None

    again_in = session.renewer._keep(held)

    assert again_in is not None
    assert 0.0 < again_in < 10.0
    assert session.renewer.failures == 1
    assert held.usable
    assert not held.capped
    ends = held.expires_at

    session.renewer._keep(held)

    assert held.expires_at > ends
    assert session.renewer.failures == 0
    assert session.authenticator.current is held


def test_a_lease_is_renewed_after_a_notice(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again soon, without another credential."""
    renewals = [NOTICE, {"lease_id": "l", "lease_duration": LIFE, "renewable": True}]
    credentials = [leased()]  # once, and no more
    monkeypatch.setattr(Api, "lease", lambda *_: credentials.pop())
    monkeypatch.setattr(Api, "renew_lease", lambda *_: renewals.pop(0))
    credential = session.leases.current(PATH, Deadline(5.0))
    held = session.leases._by_path[PATH]
    grant = held.grant
    assert grant is not None

    held.due = 0.0
    again_in = session.leases._keep(held)

    assert 0.0 < again_in < 10.0
    assert grant.usable
    assert not grant.capped
    ends = grant.expires_at

    held.due = 0.0
    session.leases._keep(held)

    assert grant.expires_at >= ends
    assert renewals == []
    assert session.leases.current(PATH, Deadline(5.0)) is credential
