"""A request is judged by when it came, not by when the recorder read it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles import (
    Oracle,
    credentials_apart,
    leases_renewed_within,
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
from vault_harness.recorder.observations import Exchange

Told = Callable[[Story], tuple[Exchange, Oracle]]
"""Writes a history; returns a request that was read a second late, and the oracle."""


def renewal(story: Story) -> tuple[Exchange, Oracle]:
    story.sent("login", 0.0, ttl=10.0, ended=0.0)
    return story.sent("renew", 9.8, ttl=10.0), renews_within(0.3, 0.9, until=12.0)


def replacement(story: Story) -> tuple[Exchange, Oracle]:
    story.sent("login", 0.0, ttl=10.0, ended=0.0)
    return story.sent("login", 10.5, ttl=10.0), replaced_before_the_end(until=15.0)


def token_renewed_or_replaced(story: Story) -> tuple[Exchange, Oracle]:
    return story.sent("renew", 8.5), renewed_or_replaced(since=5.0, before=8.0)


def renewal_after_failures(story: Story) -> tuple[Exchange, Oracle]:
    return story.sent("renew", 8.5), renews_again(since=5.0, before=8.0)


def read_with_what_was_given_back(story: Story) -> tuple[Exchange, Oracle]:
    story.sent("login", 0.0, token="token-1")
    story.sent("login", 4.0, token="token-2")
    path = "auth/token/revoke-self"
    story.sent("revoke", 5.0, 204, token="token-1", path=path, ended=5.1)
    return story.sent("read", 6.0, 403, token="token-1"), no_refused_read()


def storm(story: Story) -> tuple[Exchange, Oracle]:
    first = story.sent("read", 12.0)
    story.several("read", *(12.1 + n / 50 for n in range(12)))
    return first, no_request_storm(since=10.0, until=20.0)


def tries(story: Story) -> tuple[Exchange, Oracle]:
    story.call(0.5, 3.0)
    first = story.sent("read", 2.0)
    story.several("read", 2.05, 2.1, 2.15)
    return first, pauses_between_tries(since=0.0, until=9.0)


def impatience(story: Story) -> tuple[Exchange, Oracle]:
    story.history.connections += [0.5, 0.6]
    story.sent("read", 1.0, 429, ended=1.0, retry_after=3.0)
    return story.sent("read", 1.8, connection=2), obeys_retry_after(since=0.0, until=9.0)


def login_again(story: Story) -> tuple[Exchange, Oracle]:
    return story.sent("login", 12.5), logs_in_again(since=10.0, within=2.0)


def credentials(story: Story) -> tuple[Exchange, Oracle]:
    first = story.sent("credential", 5.0)
    story.sent("credential", 8.5)
    return first, credentials_apart(4.0)


def renewal_of_a_lease(story: Story) -> tuple[Exchange, Oracle]:
    story.sent("credential", 0.0, credential="credential-1", ttl=10.0, ended=0.0)
    late = story.sent("lease", 9.8, credential="credential-1", ttl=10.0)
    return late, leases_renewed_within(0.3, 0.9, until=12.0)


def use_around_a_login(story: Story) -> tuple[Exchange, Oracle]:
    story.used(8.0, accepted=False)
    return story.sent("login", 9.5), no_refused_use(around_logins=1.0)


@pytest.mark.parametrize(
    "told",
    [
        renewal,
        replacement,
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
    """A late request is found; this one lay unread for a second."""
    request, oracle = told(story)
    assert len(oracle(story.history)) == 1
    request.waited = 1.0
    assert oracle(story.history) == []
