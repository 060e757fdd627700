"""Oracles on what Vault sees of a client: histories that keep a promise, and that do not."""

from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.scenario.oracles import (
    STORM_PEAK,
    TOLERANCE,
    at_most,
    bad_logins_at_most,
    logins_at_most,
    logins_with_one_secret_id_at_most,
    logs_in_again,
    no_connection_storm,
    no_refused_read,
    no_request_storm,
    none_of,
    obeys_retry_after,
    renewals_at_most,
    renews_again,
    renews_within,
    requests_a_call_at_most,
    requests_at_most,
    same_token,
)

# Logins


def test_as_many_logins_as_granted(story: Story) -> None:
    """And none that began before or after."""
    story.several("login", 1.0, 5.0, 9.0)
    assert story.finds(logins_at_most(3)) == []
    assert story.finds(logins_at_most(1, since=2.0, until=8.0)) == []


def test_one_login_too_many(story: Story) -> None:
    """Refused ones count, unless only the accepted are asked for."""
    story.several("login", 1.0, 3.0)
    story.several("login", 2.0, status=400)
    story.several("login", 4.0, status=None)
    assert story.finds(logins_at_most(2)) == ["4 logins (+1.00, +3.00, +2.00, +4.00)"]
    assert story.finds(logins_at_most(2, accepted=True)) == []
    assert len(story.finds(logins_at_most(1, accepted=True))) == 1


def test_many_times_are_cut(story: Story) -> None:
    """A loop of logins fits into a line."""
    story.several("login", *map(float, range(1, 21)))
    assert story.finds(logins_at_most(0)) == [
        "20 logins (+1.00, +2.00, +3.00, +4.00, +5.00, +6.00 and 14 more)"
    ]


def test_login_again_in_time(story: Story) -> None:
    """Accepted, and within the bound and the tolerance."""
    story.several("login", 10.0 + 2.0 + TOLERANCE)
    assert story.finds(logs_in_again(since=10.0, within=2.0)) == []


def test_no_login_again(story: Story) -> None:
    """None, one before, one too late, one refused."""
    story.several("login", 9.0)
    assert story.finds(logs_in_again(since=10.0, within=2.0)) == ["there was none"]
    story.several("login", 13.1)
    story.several("login", 11.0, status=503)
    assert story.finds(logs_in_again(since=10.0, within=2.0)) == [
        "2 were tried (+13.10, +11.00), none was accepted in time"
    ]


def test_refused_logins_are_counted_by_secret_id(story: Story) -> None:
    """Four with each are granted; what Vault did not judge, or accepted, does not count."""
    for label in ("secret-id-1", "secret-id-2"):
        for at in (1.0, 2.0, 3.0, 4.0):
            story.sent("login", at, 400, secret_id=label)
    story.sent("login", 5.0, 503, secret_id="secret-id-1")
    story.sent("login", 6.0, None, secret_id="secret-id-1")
    story.sent("login", 7.0, 200, secret_id="secret-id-1")
    assert story.finds(bad_logins_at_most(4)) == []


def test_secret_id_that_is_hammered(story: Story) -> None:
    """The fifth locks the role; the sixth is refused with 403 for that."""
    for at in (1.0, 2.0, 3.0, 4.0, 5.0):
        story.sent("login", at, 400, secret_id="secret-id-1")
    story.sent("login", 6.0, 403, secret_id="secret-id-1")
    (finding,) = bad_logins_at_most(4)(story.history)
    assert finding.seen.startswith("6 with secret-id-1 (+1.00")
    assert finding.at == 5.0
    assert story.finds(bad_logins_at_most(4, secret_id="secret-id-2")) == []
    assert story.finds(bad_logins_at_most(4, since=2.5)) == []


def test_logins_without_a_secret_id_are_one_of_a_kind(story: Story) -> None:
    """A client that sends none is refused as well."""
    story.several("login", 1.0, 2.0, status=400)
    assert story.finds(bad_logins_at_most(1)) == ["2 with no secret-id (+1.00, +2.00)"]


def test_secret_id_of_one_use(story: Story) -> None:
    """Each is presented once, whatever came of it."""
    story.sent("login", 1.0, secret_id="secret-id-1")
    story.sent("login", 2.0, secret_id="secret-id-2")
    assert story.finds(logins_with_one_secret_id_at_most(1)) == []
    story.sent("login", 3.0, None, secret_id="secret-id-2")
    assert story.finds(logins_with_one_secret_id_at_most(1)) == [
        "2 with secret-id-2 (+2.00, +3.00)"
    ]


# Renewals: T = 10 s unless said otherwise, the login's answer came at 0 s


def life(story: Story, *renewals: float, ttl: float = 10.0) -> None:
    """A login at 0 s, and renewals."""
    story.sent("login", 0.0, ttl=ttl, ended=0.0)
    for at in renewals:
        story.sent("renew", at, ttl=ttl, ended=at)


def test_renewed_in_time(story: Story) -> None:
    """Between 0.3 and 0.9 of each life; the last life is too young to be judged."""
    life(story, 6.0, 12.0, 18.0)
    assert story.finds(renews_within(0.3, 0.9, until=20.0)) == []


@pytest.mark.parametrize("at", [3.0 - TOLERANCE / 4, 9.0 + TOLERANCE / 4])
def test_renewed_just_in_time(story: Story, at: float) -> None:
    """At the bounds, with the lab's tolerance."""
    life(story, 6.0, 6.0 + at)
    assert story.finds(renews_within(0.3, 0.9, until=17.0)) == []


def test_renewed_too_late(story: Story) -> None:
    """In the last tenth of its life."""
    life(story, 9.5)
    assert story.finds(renews_within(0.3, 0.9, until=12.0)) == [
        "the next came after 9.5 s, the token's TTL was 10 s"
    ]


def test_never_renewed(story: Story) -> None:
    """The life ended with the token."""
    life(story)
    assert story.finds(renews_within(0.3, 0.9, until=12.0)) == [
        "the next came never, the token's TTL was 10 s"
    ]
    assert story.finds(renews_within(0.3, 0.9, until=8.9)) == [], "it is not over yet"


def test_renewed_all_the_time(story: Story) -> None:
    """A renewal a second is none too many for the token, but too many for Vault."""
    life(story, *map(float, range(1, 12)))
    seen = story.finds(renews_within(0.3, 0.9, until=20.0))
    assert seen[0] == "renewed 1.00 s into a life of 10 s"
    assert len(seen) == 3


def test_renewed_at_once_after_the_login(story: Story) -> None:
    """As Vault's own LifetimeWatcher does, to learn the TTL; the next one is in time."""
    life(story, 0.02, 7.0, 14.0)
    assert story.finds(renews_within(0.3, 0.9, until=20.0)) == []


def test_replaced_instead_of_renewed(story: Story) -> None:
    """A login serves as well, early or not."""
    life(story)
    story.sent("login", 2.0, ttl=10.0, ended=2.0)
    story.sent("login", 8.0, ttl=10.0, ended=8.0)
    assert story.finds(renews_within(0.3, 0.9, until=12.0)) == []


def test_refused_renewal_is_none(story: Story) -> None:
    """What counts is what Vault did."""
    life(story)
    story.sent("renew", 6.0, 500)
    assert len(story.finds(renews_within(0.3, 0.9, until=12.0))) == 1


def test_life_without_a_ttl_has_no_end(story: Story) -> None:
    """A root token, or an answer that tells none."""
    life(story, ttl=0.0)
    assert story.finds(renews_within(0.3, 0.9, until=99.0)) == []


def test_renewals_in_a_loop(story: Story) -> None:
    """As many as granted, and one more."""
    story.several("renew", 1.0, 2.0, 3.0, status=403)
    assert story.finds(renewals_at_most(3, since=0.0)) == []
    assert story.finds(renewals_at_most(1, since=1.5)) == ["2 (+2.00, +3.00)"]
    assert story.finds(renewals_at_most(1, since=1.5, until=2.5)) == []


def test_renewed_again(story: Story) -> None:
    """One success before the end is enough; one after it is too late."""
    story.several("renew", 5.0, status=500)
    story.several("renew", 6.0)
    assert story.finds(renews_again(since=5.5, before=8.0)) == []
    assert story.finds(renews_again(since=4.0, before=5.9)) == ["1 were tried, none succeeded"]
    assert story.finds(renews_again(since=6.1, before=8.0)) == ["0 were tried, none succeeded"]


# Storms


def test_few_requests(story: Story) -> None:
    """As many in a second as may be at once, and one a second after that."""
    story.several("read", 10.0, 10.1, 10.2, 10.3, 10.4, 12.0, 13.0, 14.0)
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []


def test_storm_within_a_second(story: Story) -> None:
    """One more than the peak, of whatever kind."""
    story.several("read", 12.0, 12.1, 12.2)
    story.several("login", 12.3, 12.4, 12.5)
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == [
        "6 requests in one second, 5 are allowed"
    ]


def test_steady_rain_is_a_storm(story: Story) -> None:
    """Four a second, for ten seconds, with nobody calling."""
    story.several("renew", *(10.0 + n / 4 for n in range(40)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == [
        "40 requests in 10.0 s, 15 are allowed"
    ]


def test_connections_storm_too(story: Story) -> None:
    """Six in a second are one too many, five are not, though no request was sent over any."""
    story.history.connections += [9.0, 12.0, 12.1, 12.2, 12.3, 12.4]
    assert story.finds(no_connection_storm(since=10.0, until=20.0)) == []
    story.history.connections.append(12.5)
    assert story.finds(no_connection_storm(since=10.0, until=20.0)) == [
        "6 connections in one second, 5 are allowed"
    ]


def test_callers_bring_their_own_requests(story: Story) -> None:
    """Two for each call in progress, beyond the client's own."""
    for n in range(10):
        story.call(12.0 + n / 20, 12.9, "unavailable")
    story.several("read", *(12.0 + n / 30 for n in range(STORM_PEAK + 20)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.sent("read", 12.5)
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == [
        "26 requests in one second, 25 are allowed"
    ]


def test_hot_loop_in_one_call(story: Story) -> None:
    """A call that lasts does not allow more for lasting."""
    story.call(10.0, 20.0, "unavailable")
    story.several("read", *(10.0 + n / 2 for n in range(20)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == [
        "20 requests in 10.0 s, 17 are allowed"
    ]


def test_requests_outside_the_fault(story: Story) -> None:
    """Are not this oracle's matter."""
    story.several("read", *(9.0 + n / 100 for n in range(50)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []


def test_requests_of_some_kinds(story: Story) -> None:
    """Counted by kind and by the end of the path."""
    story.sent("lookup", 1.0, path="auth/token/lookup-self")
    story.sent("read", 2.0, 403, path="ecommerce/data/ai/openai")
    story.sent("read", 3.0, 403, path="ecommerce/data/ai/openai")
    assert story.finds(requests_at_most(1, "lookup", "capabilities", since=0.0)) == []
    assert story.finds(requests_at_most(1, "read", since=0.0, path="ai/openai")) == [
        "2 (+2.00, +3.00)"
    ]
    assert story.finds(requests_at_most(1, "read", since=0.0, path="ai/other")) == []
    assert story.finds(requests_at_most(2, since=0.0)) == ["3 (+1.00, +2.00, +3.00)"]
    assert story.finds(requests_at_most(1, since=1.5, until=2.5)) == []


def test_requests_of_one_call(story: Story) -> None:
    """Each call has its own count."""
    story.call(1.0, 2.0)
    story.call(3.0, 4.0)
    story.several("read", 1.1, 1.2, 3.1, 3.2)
    assert story.finds(requests_a_call_at_most(2, "read", since=0.0)) == []
    story.several("lookup", 3.3)
    assert story.finds(requests_a_call_at_most(2, "read", since=0.0)) == []
    assert story.finds(requests_a_call_at_most(2, "read", "lookup", since=0.0)) == [
        "3 (+3.10, +3.20, +3.30)"
    ]


# Retry-After


def refused(story: Story, at: float, retry_after: float | None = 3.0) -> None:
    """A read answered 429."""
    exchange = story.sent("read", at, 429, ended=at)
    exchange.retry_after = retry_after


def test_patience(story: Story) -> None:
    """The same call asks again once it may, or does not ask again."""
    story.call(1.0, 5.0)
    refused(story, 1.0)
    story.several("read", 3.76)
    story.call(6.0, 6.1, "unavailable")
    refused(story, 6.0)
    story.several("read", 6.5)
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == []


def test_impatience(story: Story) -> None:
    """The same call asks again before it may."""
    story.call(1.0, 5.0)
    refused(story, 1.0)
    story.several("read", 2.0)
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == [
        "asked again after 1.00 s, told to wait 3 s"
    ]


def test_nothing_to_obey(story: Story) -> None:
    """A 429 without the header tells no time; a 503 with it is another matter."""
    story.call(1.0, 5.0)
    refused(story, 1.0, None)
    story.sent("read", 1.1, 503, retry_after=3.0)
    story.several("read", 1.2)
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == []


# The token


def test_no_read_with_an_ended_token(story: Story) -> None:
    """A denial of another kind of request, or at another time, is not asked for."""
    story.several("read", 1.0)
    story.several("renew", 2.0, status=403)
    story.several("read", 9.0, status=403)
    assert story.finds(no_refused_read(until=8.0)) == []


def test_read_with_an_ended_token(story: Story) -> None:
    """Even if the caller never knew, since the client logged in and asked again."""
    story.sent("read", 3.0, 403, token="token-1")
    story.sent("read", 3.1, 403, token="token-1")
    assert story.finds(no_refused_read()) == [
        "2 reads were answered 403 (+3.00, +3.10), the first with token-1"
    ]


def test_token_kept(story: Story) -> None:
    """The login before is its own."""
    story.several("login", 1.0)
    story.several("renew", 5.0)
    assert story.finds(same_token(since=2.0)) == []


def test_token_thrown_away(story: Story) -> None:
    """A login that was only tried shows it as well."""
    story.several("login", 5.0, status=503)
    assert story.finds(same_token(since=2.0)) == ["1 logins (+5.00)"]
    assert story.finds(same_token(since=2.0, until=4.0)) == []


# What a lab counts by itself


def test_nothing_of_it(story: Story) -> None:
    """Nothing is nothing; anything is a finding, in a fixed order."""
    assert story.finds(none_of("no leak", [])) == []
    (finding,) = none_of("no leak", {"b", "a"}, harm=True)(story.history)
    assert (finding.promise, finding.seen, finding.harm) == ("no leak", "a; b", True)


def test_a_number_within_its_limit(story: Story) -> None:
    """The limit itself is granted."""
    assert story.finds(at_most(2, 2, "tokens alive")) == []
    (finding,) = at_most(2, 3, "tokens alive")(story.history)
    assert (finding.promise, finding.seen) == ("at most 2 tokens alive", "3 tokens alive")
