"""When a credential is of no use any more: at its own end, or at that of its token."""

from __future__ import annotations

from resilient_vault_client._clock import clock
from resilient_vault_client._grant import Grant
from resilient_vault_client._token import Token


def grant(*, life: int, tokens: int) -> Grant:
    """One of so many seconds, on a token of so many, both asked for ten seconds ago."""
    since = clock() - 10.0
    token = Token({"client_token": "t", "lease_duration": tokens, "renewable": True}, started=since)
    answer = {"lease_id": "l", "lease_duration": life, "renewable": True}
    return Grant("database/creds/app", answer, token, since)


def test_it_ends_while_its_token_is_renewed() -> None:
    """A renewal that is under way may have given the token a longer life, and gives it none."""
    ended = grant(life=8, tokens=60)
    ended.token.renewing = True
    assert not ended.usable


def test_it_lives_on_while_its_token_is_renewed() -> None:
    """By what is known the token has ended; its renewal may have come before that."""
    living = grant(life=60, tokens=8)
    assert not living.usable
    living.token.renewing = True
    assert living.usable
