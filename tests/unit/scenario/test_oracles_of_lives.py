from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles import (
    never_renews,
    no_refused_read,
    renewed_or_replaced,
    renews_again,
    renews_within,
    replaced_before_the_end,
    replaced_in_turn,
)
from vault_harness.recorder.fault import RequestKind

# Renewals: T = 10 s by default, and the login is answered at 0 s.


def life(story: Story, *renewals: float, ttl: float = 10.0) -> None:
    story.sent("login", 0.0, ttl=ttl, ended=0.0)
    for at in renewals:
        story.sent("renew", at, ttl=ttl, ended=at)


@pytest.mark.parametrize("at", [3.0, 9.0])
def test_renewed_just_in_time(story: Story, at: float) -> None:
    life(story, 6.0, 6.0 + at)
    assert story.finds(renews_within(0.3, 0.9, until=17.0)) == []


def test_renewed_too_soon(story: Story) -> None:
    """The first three tenths of a renewed life are too soon."""
    life(story, 6.0, 8.95)
    assert story.finds(renews_within(0.3, 0.9, until=16.0)) == [
        "renewed 2.95 s into a life of 10 s"
    ]


def test_never_renewed(story: Story) -> None:
    life(story)
    assert story.finds(renews_within(0.3, 0.9, until=12.0)) == [
        "the next came never, the token's TTL was 10 s"
    ]
    assert story.finds(renews_within(0.3, 0.9, until=8.9)) == [
        (
            "nothing shows it: there was no life that had come to 0.9 of its time between +0.00 "
            "and +8.90 s"
        )
    ]


def test_renewed_too_soon_near_the_end(story: Story) -> None:
    """It is found only in a life that can be judged."""
    life(story, 6.0, 8.95)
    assert story.finds(renews_within(0.3, 0.9, until=10.0)) == [
        "renewed 2.95 s into a life of 10 s"
    ]


def test_renewed_all_the_time_in_one_life(story: Story) -> None:
    """It is found even if no life came to nine tenths."""
    life(story, *map(float, range(5, 56, 5)), ttl=60.0)
    seen = story.finds(renews_within(0.3, 0.9, until=57.0))
    assert seen == ["renewed 5.00 s into a life of 60 s"] * 10


def test_renewed_at_once_after_the_login(story: Story) -> None:
    """LifetimeWatcher learns the TTL this way."""
    life(story, 0.02, 7.0, 14.0)
    assert story.finds(renews_within(0.3, 0.9, until=20.0)) == []


def test_replaced_instead_of_renewed(story: Story) -> None:
    life(story)
    story.sent("login", 2.0, ttl=10.0, ended=2.0)
    story.sent("login", 8.0, ttl=10.0, ended=8.0)
    assert story.finds(renews_within(0.3, 0.9, until=12.0)) == []


def test_refused_renewal_is_none(story: Story) -> None:
    life(story)
    story.sent("renew", 6.0, 500)
    assert len(story.finds(renews_within(0.3, 0.9, until=12.0))) == 1


def test_life_without_a_ttl_has_no_end(story: Story) -> None:
    life(story, ttl=0.0)
    (found,) = story.finds(renews_within(0.3, 0.9, until=99.0))
    assert found.startswith("nothing shows it")


# Replacement: T = 10 s, and the first login is answered at 0 s.


def token(story: Story, at: float, accessor: str, *renewals: float, ttl: float = 10.0) -> None:
    story.sent("login", at, ttl=ttl, ended=at, accessor=accessor)
    for renewal in renewals:
        story.sent("renew", renewal, ttl=ttl, ended=renewal, accessor=accessor)


def test_replaced_in_time(story: Story) -> None:
    """A login must begin while the token before it lives."""
    token(story, 0.0, "a", 6.0)
    token(story, 16.0, "b")
    token(story, 25.9, "c")
    assert story.finds(replaced_before_the_end(until=30.0)) == []


def test_replaced_a_moment_too_late(story: Story) -> None:
    """A thousandth of a second is enough."""
    token(story, 0.0, "a")
    token(story, 10.001, "b")
    (finding,) = replaced_before_the_end(until=15.0)(story.history)
    assert finding.seen == (
        "the token of the login at +0.00 s ended at +10.00 s, the next login came 0.001 s after it"
    )


def test_never_replaced(story: Story) -> None:
    """It is renewed to its end."""
    token(story, 0.0, "a", 6.0)
    assert story.finds(replaced_before_the_end(until=16.1)) == [
        "the token of the login at +0.00 s ended at +16.00 s, the next login came never"
    ]


def test_no_token_to_be_replaced(story: Story) -> None:
    token(story, 0.0, "a", 6.0)
    (found,) = story.finds(replaced_before_the_end(until=15.9))
    assert found.startswith("nothing shows it: there was no token that ended")


def test_renewal_of_another_token(story: Story) -> None:
    """A batch token has no accessor."""
    token(story, 0.0, "", 6.0)
    token(story, 12.0, "b")
    assert len(story.finds(replaced_before_the_end(until=15.0))) == 1


# How many


def test_renewed_again(story: Story) -> None:
    story.several("renew", 5.0, status=500)
    story.several("renew", 6.0)
    assert story.finds(renews_again(since=5.5, before=8.0)) == []
    assert story.finds(renews_again(since=4.0, before=5.9)) == ["1 was tried, none succeeded"]
    assert story.finds(renews_again(since=6.1, before=8.0)) == ["0 were tried, none succeeded"]


@pytest.mark.parametrize("kind", ["renew", "login"])
def test_renewed_or_replaced(story: Story, kind: RequestKind) -> None:
    """It counts if it was sent before the end."""
    story.sent("renew", 5.0, status=None, closed="client")
    story.sent(kind, 8.0, ended=11.0)
    assert story.finds(renewed_or_replaced(since=5.0, before=8.0)) == []
    assert story.finds(renewed_or_replaced(since=5.0, before=7.5)) == [
        (
            "it ended at +7.50 s; 1 request for it had failed, and the first success came "
            "0.500 s after it"
        )
    ]


def test_answers_that_never_came(story: Story) -> None:
    """They do not count."""
    story.sent("renew", 5.0, closed="client")
    story.sent("renew", 6.0, status=500)
    story.sent("renew", 6.5, by="stub")  # a gateway's page, which gives no life
    story.sent("renew", 7.0, ended=None)
    assert story.finds(renewed_or_replaced(since=5.0, before=8.0)) == [
        ("it ended at +8.00 s; 4 requests for it had failed, and the first success came never")
    ]


def test_no_read_with_an_ended_token(story: Story) -> None:
    """Only refused reads count."""
    story.several("read", 1.0)
    story.several("renew", 2.0, status=403)
    story.several("read", 9.0, status=403)
    assert story.finds(no_refused_read(until=8.0)) == []
    assert story.finds(no_refused_read(since=1.5, until=8.0)) == [
        "nothing shows it: there was no read that reached Vault between +1.50 and +8.00 s"
    ]
    assert story.finds(no_refused_read(since=1.5, until=8.0, may_be_empty=True)) == []


def test_read_with_an_ended_token(story: Story) -> None:
    """It counts even if the client logged in and asked again."""
    story.sent("read", 3.0, 403, token="token-1")
    story.sent("read", 3.1, 403, token="token-1")
    assert story.finds(no_refused_read()) == [
        "2 reads were answered 403 (+3.00, +3.10), the first with token-1"
    ]


def replaced_and_given_back(story: Story, *, first: bool = False) -> None:
    """Replace a token and revoke it from 5.0 s to 5.1 s; revoke it before the login if `first`."""
    story.sent("login", 0.0, token="token-1", ended=0.1)
    story.sent("login", 5.2 if first else 4.8, token="token-2", ended=5.3 if first else 4.9)
    path = "auth/token/revoke-self"
    story.sent("revoke", 5.0, 204, token="token-1", path=path, ended=5.1)


@pytest.mark.parametrize("at", [4.95, 5.34], ids=["on its way", "about to be sent"])
def test_a_read_that_took_a_token_before_its_revocation_may_fail(story: Story, at: float) -> None:
    replaced_and_given_back(story)
    story.sent("read", at, 403, token="token-1", ended=at + 0.1)
    assert story.finds(no_refused_read()) == []


@pytest.mark.parametrize("at", [4.0, 5.4], ids=["before that", "later"])
def test_read_with_a_token_that_was_given_back_at_another_time(story: Story, at: float) -> None:
    """Before the revocation, or long after it, a refusal is a finding."""
    replaced_and_given_back(story)
    story.sent("read", at, 403, token="token-1", ended=at + 0.1)
    assert len(story.finds(no_refused_read())) == 1


def test_read_with_a_token_that_was_given_back_too_soon(story: Story) -> None:
    """It was given back before the next login."""
    replaced_and_given_back(story, first=True)
    story.sent("read", 5.15, 403, token="token-1", ended=5.18)
    assert len(story.finds(no_refused_read())) == 1


# Logins instead of renewals


def test_client_that_never_renews(story: Story) -> None:
    """It logs in when a renewal is due."""
    story.sent("login", 1.0, ttl=10.0)
    story.sent("login", 7.0, ttl=10.0)
    assert never_renews(story.history)


@pytest.mark.parametrize("at", [1.1, 12.0], ids=["at once", "when the token has ended"])
def test_client_whose_login_is_none_instead(story: Story, at: float) -> None:
    """The login comes right after the first, or after the end."""
    story.sent("login", 1.0, ttl=10.0)
    story.sent("login", at, ttl=10.0)
    assert not never_renews(story.history)


def test_client_that_renews_as_well(story: Story) -> None:
    """A single renewal, even refused, shows it."""
    story.sent("login", 1.0, ttl=10.0)
    story.sent("renew", 6.0, status=403)
    story.sent("login", 7.0, ttl=10.0)
    assert not never_renews(story.history)


def test_tokens_that_were_replaced_in_turn(story: Story) -> None:
    """Only logins in due time count."""
    for at in (1.0, 2.0, 5.0, 9.0):
        story.sent("login", at, ttl=10.0)
    assert replaced_in_turn(story.history) == 2


def test_tokens_of_a_client_that_renews(story: Story) -> None:
    story.sent("login", 1.0, ttl=10.0)
    story.sent("renew", 5.0, ttl=10.0)
    story.sent("login", 9.0, ttl=10.0)
    assert replaced_in_turn(story.history) == 0
