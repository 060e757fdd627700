"""A request is judged by when it came: a recorder that had no time to read it fails nobody."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.scenario.closing import tokens_held
from vault_harness.scenario.observations import Exchange
from vault_harness.scenario.oracles import (
    Oracle,
    credentials_apart,
    leases_renewed_within,
    logins_at_most,
    logs_in_again,
    no_refused_read,
    no_refused_use,
    no_request_storm,
    obeys_retry_after,
    pauses_between_tries,
    renewed_or_replaced,
    renews_again,
    renews_within,
    replaced_before_the_end,
)

Told = Callable[[Story], tuple[Exchange, Oracle]]
"""Writes a history, and gives the request that is read a second late, and who judges it."""


def renewal(story: Story) -> tuple[Exchange, Oracle]:
    """At 0.88 of a life, read at 0.98."""
    story.sent("login", 0.0, ttl=10.0, ended=0.0)
    return story.sent("renew", 9.8, ttl=10.0), renews_within(0.3, 0.9, until=12.0)


def replacement(story: Story) -> tuple[Exchange, Oracle]:
    """Half a second before the end."""
    story.sent("login", 0.0, ttl=10.0, ended=0.0)
    return story.sent("login", 10.5, ttl=10.0), replaced_before_the_end(until=15.0)


def login_in_its_turn(story: Story) -> tuple[Exchange, Oracle]:
    """Half a second before the end of a life that began before the time that is asked about."""
    story.sent("login", 1.0, ttl=10.0, ended=1.0)
    return story.sent("login", 11.5, ttl=10.0), logins_at_most(0, since=2.0, due=0.3)


def token_renewed_or_replaced(story: Story) -> tuple[Exchange, Oracle]:
    """Half a second before the end."""
    return story.sent("renew", 8.5), renewed_or_replaced(since=5.0, before=8.0)


def renewal_after_failures(story: Story) -> tuple[Exchange, Oracle]:
    """Half a second before the end."""
    return story.sent("renew", 8.5), renews_again(since=5.0, before=8.0)


def read_with_what_was_given_back(story: Story) -> tuple[Exchange, Oracle]:
    """While the token was given back."""
    story.sent("login", 0.0, token="token-1")
    story.sent("login", 4.0, token="token-2")
    path = "auth/token/revoke-self"
    story.sent("revoke", 5.0, 204, token="token-1", path=path, ended=5.1)
    return story.sent("read", 6.0, 403, token="token-1"), no_refused_read()


def storm(story: Story) -> tuple[Exchange, Oracle]:
    """The first of six came a second before the others."""
    first = story.sent("read", 12.0)
    story.several("read", 12.1, 12.2, 12.3, 12.4, 12.5)
    return first, no_request_storm(since=10.0, until=20.0)


def tries(story: Story) -> tuple[Exchange, Oracle]:
    """The first of four came a second before the others."""
    story.call(0.5, 3.0)
    first = story.sent("read", 2.0)
    story.several("read", 2.05, 2.1, 2.15)
    return first, pauses_between_tries(since=0.0, until=9.0)


def impatience(story: Story) -> tuple[Exchange, Oracle]:
    """It came before anybody was told to wait."""
    story.history.connections += [0.5, 0.6]
    story.sent("read", 1.0, 429, ended=1.0, retry_after=3.0)
    return story.sent("read", 1.8, connection=2), obeys_retry_after(since=0.0, until=9.0)


def login_again(story: Story) -> tuple[Exchange, Oracle]:
    """Half a second before it is late."""
    return story.sent("login", 12.5), logs_in_again(since=10.0, within=2.0)


def credentials(story: Story) -> tuple[Exchange, Oracle]:
    """The first of two came a second before it was read."""
    first = story.sent("credential", 5.0)
    story.sent("credential", 8.5)
    return first, credentials_apart(4.0)


def renewal_of_a_lease(story: Story) -> tuple[Exchange, Oracle]:
    """At 0.88 of its life, read at 0.98."""
    story.sent("credential", 0.0, credential="credential-1", ttl=10.0, ended=0.0)
    late = story.sent("lease", 9.8, credential="credential-1", ttl=10.0)
    return late, leases_renewed_within(0.3, 0.9, until=12.0)


def use_around_a_login(story: Story) -> tuple[Exchange, Oracle]:
    """Refused half a second before a login came."""
    story.used(8.0, accepted=False)
    return story.sent("login", 9.5), no_refused_use(around_logins=1.0)


@pytest.mark.parametrize(
    "told",
    [
        renewal,
        replacement,
        login_in_its_turn,
        token_renewed_or_replaced,
        renewal_after_failures,
        read_with_what_was_given_back,
        storm,
        tries,
        impatience,
        login_again,
        credentials,
        renewal_of_a_lease,
        use_around_a_login,
    ],
)
def test_request_that_lay_unread(story: Story, told: Told) -> None:
    """What comes so late is found; what lay here for a second is not."""
    request, oracle = told(story)
    assert len(oracle(story.history)) == 1
    request.waited = 1.0
    assert oracle(story.history) == []


def test_token_that_was_replaced_when_a_request_with_it_came(story: Story) -> None:
    """It need not be given back."""
    story.sent("login", 1.0, token="token-1")
    story.sent("login", 3.0, token="token-2")
    story.sent("read", 3.5, token="token-2")
    request = story.sent("read", 4.0, token="token-1")
    assert set(tokens_held(story.history)) == {"token-1", "token-2"}
    request.waited = 1.0
    assert tokens_held(story.history) == ["token-2"]
