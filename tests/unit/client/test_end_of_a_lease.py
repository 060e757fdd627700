"""A credential ends at its own end or at the end of its token."""

from __future__ import annotations

from resilient_vault_client._deadline import clock
from resilient_vault_client._grant import Grant, Token


def grant(*, life: int, tokens: int) -> Grant:
    """Lifetimes are in seconds; it was requested ten seconds ago."""
    since = clock() - 10.0
    token = Token({"client_token": "t", "lease_duration": tokens, "renewable": True}, started=since)
    answer = {"lease_id": "l", "lease_duration": life, "renewable": True}
    return Grant("database/creds/app", answer, token, since)


def test_it_ends_while_its_token_is_renewed() -> None:
    ended = grant(life=8, tokens=60)
    ended.token.renewing = True
    assert not ended.usable


def test_it_lives_on_while_its_token_is_renewed() -> None:
    """This is past the token's known end."""
    living = grant(life=60, tokens=8)
    assert not living.usable
    living.token.renewing = True
    assert living.usable
