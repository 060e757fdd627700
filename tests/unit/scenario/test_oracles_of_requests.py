"""Oracles on how many requests a client sends: histories that keep a promise, and that do not."""

from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.scenario.observations import Handshake
from vault_harness.scenario.oracles import (
    STORM_PEAK,
    ToTheEnd,
    a_denial_costs_little,
    names_its_namespace,
    no_connection_storm,
    no_credential_sent,
    no_request_storm,
    obeys_retry_after,
    pauses_between_tries,
    quiet_requests,
    requests_a_call_at_most,
    requests_at_most,
)


def test_few_requests(story: Story) -> None:
    """As many in a second as may be at once, and one a second after that."""
    story.several("read", 10.0, 10.1, 10.2, 10.3, 10.4, 12.0, 13.0, 14.0)
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []


def test_storm_within_a_second(story: Story) -> None:
    """One more than the peak, of whatever kind; the finding lists them."""
    story.several("read", 12.0, 12.1, 12.2)
    story.several("login", 12.3, 12.4, 12.5, status=None)
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == [
        (
            "6 requests in one second, 5 are allowed: 3 read, 3 login: read +12.00 (200), "
            "read +12.10 (200), read +12.20 (200), login +12.30 (no answer), "
            "login +12.40 (no answer), login +12.50 (no answer)"
        )
    ]


def test_steady_rain_is_a_storm(story: Story) -> None:
    """Fifteen in ten seconds are granted with nobody calling, sixteen are not."""
    story.several("renew", *(10.0 + n * 0.6 for n in range(15)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.several("renew", 19.9)
    (seen,) = story.finds(no_request_storm(since=10.0, until=20.0))
    assert seen.startswith("16 requests in 10.0 s, 15 are allowed: 16 renew: renew +10.00 (200)")
    assert seen.endswith("and 10 more")


def test_what_vault_asks_for_is_no_storm(story: Story) -> None:
    """Whoever is told to wait 0 s may come at once, once for each such answer and not twice."""
    for number in range(8):
        story.sent("read", 12.0 + number * 0.02, 429, retry_after=0.0)
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.several("read", 12.3, 12.4, 12.5, 12.6, 12.7, 12.8, status=429)
    (seen,) = story.finds(no_request_storm(since=10.0, until=20.0))
    assert seen.startswith("6 requests in one second, 5 are allowed")


def test_a_time_to_wait_is_no_invitation(story: Story) -> None:
    """Six that come while Vault says to wait are one too many."""
    for number in range(6):
        story.sent("read", 12.0 + number * 0.1, 429, retry_after=1.0)
    assert len(story.finds(no_request_storm(since=10.0, until=20.0))) == 1


def test_connections_storm_too(story: Story) -> None:
    """Six in a second are one too many, five are not, though no request was sent over any."""
    story.history.connections += [9.0, 12.0, 12.1, 12.2, 12.3, 12.4]
    assert story.finds(no_connection_storm(since=10.0, until=20.0)) == []
    story.history.connections.append(12.5)
    assert story.finds(no_connection_storm(since=10.0, until=20.0)) == [
        "6 connections in one second, 5 are allowed"
    ]


def test_credentials_for_another_host(story: Story) -> None:
    """What is sent over a connection that was secured then counts, whatever came over others."""
    shaken = story.history.handshakes
    shaken += [Handshake(5.0, 1, "h2"), Handshake(12.0, 2, "h2"), Handshake(12.5, 3, refused="no")]
    for connection, at in ((1, 12.1), (2, 5.1), (3, 12.6)):
        story.sent("read", at, token="token-1").connection = connection
    story.sent("status", 12.7).connection = 2
    assert story.finds(no_credential_sent(since=10.0, until=20.0)) == []
    story.sent("login", 12.8, secret_id="secret-id-1").connection = 2
    assert story.finds(no_credential_sent(since=10.0, until=20.0)) == [
        "a login was sent to another host, with secret-id-1"
    ]


def test_credentials_for_a_stranger(story: Story) -> None:
    """Who may not have them is named as the scenario names it."""
    story.history.handshakes.append(Handshake(12.0, 1, "h2"))
    story.sent("read", 12.1, token="token-1").connection = 1
    assert story.finds(no_credential_sent(since=10.0, until=20.0, to="a stranger")) == [
        "a read was sent to a stranger, with token-1"
    ]


def test_steady_rain_of_connections(story: Story) -> None:
    """Two a second of nobody's."""
    story.history.connections += [10.0 + n * 0.6 for n in range(16)]
    assert story.finds(no_connection_storm(since=10.0, until=20.0)) == [
        "16 connections in 10.0 s, 15 are allowed"
    ]


def test_callers_bring_their_own_requests(story: Story) -> None:
    """Three in one second for each of three callers, beyond the client's own five."""
    for caller in range(3):
        story.call(12.0, 12.9, "unavailable").caller = caller
    story.several("read", *(12.0 + n / 30 for n in range(STORM_PEAK + 9)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.sent("read", 12.5)
    (seen,) = story.finds(no_request_storm(since=10.0, until=20.0))
    assert seen.startswith("15 requests in one second, 14 are allowed")


def test_who_waits_for_a_start_is_a_caller(story: Story) -> None:
    """Whether it ends in that time or not; what the same one calls then makes no second caller."""
    story.call(9.0, 21.0, "ok", verb="start")
    story.several("login", *(12.0 + n / 30 for n in range(STORM_PEAK + 3)), status=503)
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.call(19.0)
    story.sent("login", 12.5, 503)
    (seen,) = story.finds(no_request_storm(since=10.0, until=20.0))
    assert seen.startswith("9 requests in one second, 8 are allowed")


def test_whoever_asks_for_a_credential_calls(story: Story) -> None:
    """Three in one second for one pool, beyond the client's own five."""
    story.call(12.0, 12.9, "unavailable", verb="lease", path="database/creds/app")
    story.several("credential", *(12.0 + n / 30 for n in range(STORM_PEAK + 3)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.sent("credential", 12.5)
    (seen,) = story.finds(no_request_storm(since=10.0, until=20.0))
    assert seen.startswith("9 requests in one second, 8 are allowed")


def test_whoever_asks_for_a_whole_secret_calls(story: Story) -> None:
    """Three in one second, beyond the client's own five."""
    story.call(12.0, 12.9, "unavailable", verb="read_all")
    story.several("read", *(12.0 + n / 30 for n in range(STORM_PEAK + 3)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.sent("read", 12.5)
    (seen,) = story.finds(no_request_storm(since=10.0, until=20.0))
    assert seen.startswith("9 requests in one second, 8 are allowed")


def test_a_start_that_was_over_brings_nothing(story: Story) -> None:
    """One that ended before is none in that time."""
    story.call(1.0, 9.9, verb="start")
    story.several("login", *(12.0 + n / 10 for n in range(STORM_PEAK + 1)))
    assert len(story.finds(no_request_storm(since=10.0, until=20.0))) == 1


def test_what_is_no_storm_in_all(story: Story) -> None:
    """As many as one caller may cost: the bound of `no_request_storm`, by itself."""
    story.call(10.0, 20.0, "unavailable")
    story.several("read", *(10.0 + n * 0.28 for n in range(quiet_requests(1, 10.0))))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.several("read", 19.9)
    assert len(story.finds(no_request_storm(since=10.0, until=20.0))) == 1


def test_fast_caller_grants_nothing(story: Story) -> None:
    """A hundred calls of one caller are one caller: how often it calls does not count."""
    for n in range(100):
        story.call(12.0 + n / 200, outcome="unavailable")
    story.several("read", *(12.0 + n / 200 for n in range(STORM_PEAK + 4)))
    (seen,) = story.finds(no_request_storm(since=10.0, until=20.0))
    assert seen.startswith("9 requests in one second, 8 are allowed")


def test_caller_that_had_ended_brings_nothing(story: Story) -> None:
    """A call before the fault is none in it."""
    story.call(1.0, 9.9)
    story.several("read", *(12.0 + n / 10 for n in range(STORM_PEAK + 1)))
    assert len(story.finds(no_request_storm(since=10.0, until=20.0))) == 1


def test_kept_secrets_bring_their_own_requests(story: Story) -> None:
    """One a second for each secret that was read before and that nobody asks for."""
    for n in range(3):
        story.sent("read", 1.0, path=f"/v1/ecommerce/data/kept/{n}")
    story.several("renew", *(12.0 + n / 10 for n in range(STORM_PEAK + 3)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.sent("renew", 12.05)
    assert len(story.finds(no_request_storm(since=10.0, until=20.0))) == 1


def test_each_of_many_clients_brings_its_own_requests(story: Story) -> None:
    """One a second for each further client, and as much for what it keeps."""
    story.history.clients = 4
    story.sent("read", 1.0, path="/v1/ecommerce/data/kept/1")
    story.several("renew", *(12.0 + n / 20 for n in range(STORM_PEAK + 3 + 4)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.sent("renew", 12.05)
    (seen,) = story.finds(no_request_storm(since=10.0, until=20.0))
    assert seen.startswith("13 requests in one second, 12 are allowed")


def test_hot_loop_in_one_call(story: Story) -> None:
    """One caller has two a second, and the client one, over the whole time, beyond one peak."""
    story.call(10.0, 20.0, "unavailable")
    story.several("read", *(10.0 + n * 0.28 for n in range(35)))
    assert story.finds(no_request_storm(since=10.0, until=20.0)) == []
    story.several("read", 19.9)
    (seen,) = story.finds(no_request_storm(since=10.0, until=20.0))
    assert seen.startswith("36 requests in 10.0 s, 35 are allowed")


def test_what_callers_are_granted_is_what_is_promised(story: Story) -> None:
    """The promise's numbers are those of the bound in one second."""
    story.several("read", *(12.0 + n / 100 for n in range(6)))
    [finding] = no_request_storm(since=10.0, until=20.0)(story.history)
    assert "at most 5 requests a second" in finding.promise
    assert "and 3 for each caller" in finding.promise


def test_storm_beside_a_denial(story: Story) -> None:
    """What a denial costs has a count of its own; all else is a storm as ever."""
    for number in range(9):
        story.sent("read", 12.0 + number / 10, 403, path=DENIED)
        story.sent("metadata", 12.0 + number / 10, 403, path=DENIED.replace("data", "metadata"))
        story.several("lookup", 12.0 + number / 10)
        story.several("capabilities", 12.0 + number / 10)
        story.several("login", 12.0 + number / 10)
    assert story.finds(no_request_storm(since=10.0, until=20.0, denied="ai/openai")) == []
    story.several("status", *(12.0 + n / 10 for n in range(3)))
    for number in range(3):
        story.sent("read", 12.0 + number / 10, path="/v1/ecommerce/data/backend/redis")
    [seen] = story.finds(no_request_storm(since=10.0, until=20.0, denied="ai/openai"))
    assert seen.startswith("6 requests in one second, 5 are allowed: 3 status, 3 read")


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
        "2 read requests (+2.00, +3.00)"
    ]
    assert story.finds(requests_at_most(1, "read", since=0.0, path="ai/other")) == []
    assert story.finds(requests_at_most(2, since=0.0)) == [
        "3 requests: 1 lookup, 2 read: lookup +1.00 (200), read +2.00 (403), read +3.00 (403)"
    ]
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
        (
            "3 requests: 2 read, 1 lookup: read +3.10 (200), read +3.20 (200), lookup +3.30 (200)"
            " in one call"
        )
    ]
    assert story.finds(requests_a_call_at_most(1, "read", since=0.0)) == [
        "2 read requests (+1.10, +1.20) in one call"
    ]
    assert story.finds(requests_a_call_at_most(2, "read", since=5.0)) == [
        "nothing shows it: there was no read after +5.00 s"
    ]
    assert story.finds(requests_a_call_at_most(2, "read", since=5.0, may_be_empty=True)) == []
    elsewhere = requests_a_call_at_most(1, "read", since=0.0, path="other", may_be_empty=True)
    assert story.finds(elsewhere) == []


def test_requests_a_call_of_who_asks_by_itself(story: Story) -> None:
    """What it keeps fresh it may ask for beside a call, as often as at a pace of its own."""
    story.call(1.0, 2.5)
    story.several("read", 1.1, 1.2, 1.3, 1.4)
    asked = requests_a_call_at_most(2, "read", since=0.0)
    assert story.finds(asked) == ["4 read requests (+1.10, +1.20, +1.30, +1.40) in one call"]
    story.several("lookup", 5.0)
    assert len(story.finds(asked)) == 1
    story.several("read", 5.0)
    assert story.finds(asked) == []
    story.several("read", 1.5)
    assert len(story.finds(asked)) == 1


def test_requests_a_call_of_who_keeps_another_secret_fresh(story: Story) -> None:
    """For what is missing it asks in calls alone, and as often as it likes."""
    story.call(1.0, 2.5)
    for at in (1.1, 1.2, 1.3):
        story.sent("read", at, path="ecommerce/data/backend/django")
    asked = requests_a_call_at_most(2, "read", since=0.0, path="backend/django")
    for path, found in (("backend/redis", 1), ("backend/django", 0)):
        story.sent("read", 5.0, path=f"ecommerce/data/{path}")
        assert len(story.finds(asked)) == found


def test_requests_a_call_of_who_keeps_a_secret_fresh_once_it_is_there(story: Story) -> None:
    """While it was missing nobody asked for it but the calls."""
    story.call(1.0, 2.5)
    for at in (1.1, 1.2, 1.3, 5.0):
        story.sent("read", at, path="ecommerce/data/backend/django")
    missing = requests_a_call_at_most(2, "read", since=0.0, until=3.0, path="backend/django")
    assert len(story.finds(missing)) == 1


# Pauses


def test_tries_with_pauses(story: Story) -> None:
    """The second try may come at once; four have taken two tenths of a second, or more."""
    story.call(1.0, 2.0)
    story.several("read", 1.0, 1.01, 1.1, 1.25)
    assert story.finds(pauses_between_tries(since=0.0, until=9.0)) == []


def test_tries_without_pauses(story: Story) -> None:
    """A hundredth of a second less."""
    story.call(1.0, 2.0)
    story.several("read", 1.0, 1.01, 1.1, 1.19)
    assert story.finds(pauses_between_tries(since=0.0, until=9.0)) == [
        "4 tries in 0.19 s (+1.00, +1.01, +1.10, +1.19)"
    ]


def test_tries_beside_a_look_of_its_own(story: Story) -> None:
    """Whoever asks while nobody calls may do so while somebody does: that is no try."""
    story.call(1.0, 1.8)
    story.several("read", 1.0, 1.01, 1.05, 1.11, 5.0)
    assert story.finds(pauses_between_tries(since=0.0, until=9.0)) == []
    story.several("read", 1.02, 1.03)
    assert len(story.finds(pauses_between_tries(since=0.0, until=9.0))) == 1


def test_tries_without_pauses_of_who_waits_after_them(story: Story) -> None:
    """What it may look for in the rest of the call makes no room among its tries."""
    story.call(1.0, 3.9)
    story.several("read", 1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 5.0)
    assert len(story.finds(pauses_between_tries(since=0.0, until=9.0))) == 1


def test_two_tries_at_once(story: Story) -> None:
    """One repetition is no loop; the next call has its own."""
    story.call(1.0, 1.1)
    story.call(1.2, 1.3)
    story.several("read", 1.0, 1.01, 1.2, 1.21)
    assert story.finds(pauses_between_tries(since=0.0, until=9.0)) == []


# Retry-After


def refused(story: Story, at: float, retry_after: float | None = 3.0) -> None:
    """A read answered 429."""
    exchange = story.sent("read", at, 429, ended=at)
    exchange.retry_after = retry_after


def test_patience(story: Story) -> None:
    """Asked again once it may be, to the hundredth of a second; other requests go on."""
    refused(story, 1.0)
    story.several("renew", 2.0)
    story.several("read", 3.99)
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == []


def test_impatience(story: Story) -> None:
    """Asked again before it may be, whichever call it was."""
    story.call(1.0, 1.1, "unavailable")
    story.call(2.0, 2.1, "stale")
    refused(story, 1.0)
    story.several("read", 2.0, 3.9)
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == [
        "asked again after 1.00 s, told to wait 3 s; 2 reads within that time (+2.00, +3.90)"
    ]


def test_impatience_of_writes(story: Story) -> None:
    """A refused write stops writes, and no read; a refused read is no matter of theirs."""
    refused(story, 1.0)
    story.several("write", 2.0)
    story.sent("write", 3.0, 429, retry_after=3.0)
    story.several("read", 4.5)
    asked = obeys_retry_after(since=0.0, until=9.0, kind="write")
    assert story.finds(asked) == []
    story.several("write", 4.0)
    assert story.finds(asked) == [
        "asked again after 0.99 s, told to wait 3 s; 1 write within that time (+4.00)"
    ]


def test_impatience_of_looks_at_a_version(story: Story) -> None:
    """They stop each other, and neither stop reads nor are stopped by these."""
    refused(story, 1.0)
    story.sent("metadata", 2.0, 429, retry_after=3.0)
    story.several("read", 4.5)
    asked = obeys_retry_after(since=0.0, until=9.0, kind="metadata")
    assert story.finds(asked) == []
    story.several("metadata", 4.0)
    assert len(story.finds(asked)) == 1


def test_request_on_its_way(story: Story) -> None:
    """What was sent before the answer came cannot know of it."""
    story.sent("read", 0.9, 200)
    refused(story, 1.0)
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == []


@pytest.mark.parametrize(
    ("connection", "late", "protocol", "obeys"),
    [
        pytest.param(2, 0.02, "http/1.1", True, id="another that was open"),
        pytest.param(2, 0.1, "http/1.1", False, id="another, later"),
        pytest.param(1, 0.02, "http/1.1", False, id="the same"),
        pytest.param(1, 0.02, "h2", True, id="the same, of HTTP/2"),
        pytest.param(3, 0.02, "http/1.1", False, id="a new one"),
    ],
)
def test_request_on_its_way_when_the_answer_was(
    story: Story, connection: int, *, late: float, protocol: str, obeys: bool
) -> None:
    """It reaches Vault after that answer has left it, and its caller had none."""
    story.history.connections += [0.5, 0.6, 1.005]
    for number in (1, 2, 3):
        story.history.note_handshake(number, protocol)
    refused(story, 1.0)
    story.sent("read", 1.0 + late).connection = connection
    assert (story.finds(obeys_retry_after(since=0.0, until=9.0)) == []) is obeys


@pytest.mark.parametrize(
    ("began", "obeys"),
    [
        pytest.param((0.3, 0.98), True, id="two, one of them just before"),
        pytest.param((0.98,), False, id="one, which asks again at once"),
        pytest.param((0.3, 0.5), False, id="two, and neither has just begun"),
    ],
)
def test_connection_that_is_opened_as_the_answer_comes(
    story: Story, began: tuple[float, ...], *, obeys: bool
) -> None:
    """It is noted when it is accepted; a second call may have asked for it before the answer."""
    story.history.connections += [0.5, 1.001]
    for at in began:
        story.call(at, 4.0)
    refused(story, 1.0)
    story.sent("read", 1.002).connection = 2
    assert (story.finds(obeys_retry_after(since=0.0, until=9.0)) == []) is obeys


def test_call_that_asks_again_at_once_beside_another(story: Story) -> None:
    """Two calls that begin together send a request each: a third one is no first of either."""
    story.history.connections += [0.98, 0.981, 1.001]
    story.call(0.98, 4.0)
    story.call(0.98, 4.0)
    story.sent("read", 0.99).connection = 2
    refused(story, 1.0)
    story.sent("read", 1.002).connection = 3
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == [
        "asked again after 0.00 s, told to wait 3 s; 1 read within that time (+1.00)"
    ]


def test_call_that_tries_again_in_its_time_beside_another(story: Story) -> None:
    """What it had sent before it waited, as it was told, is no second request of the other call."""
    story.history.connections += [0.31, 1.97, 2.001]
    story.call(0.3, 4.0)
    story.call(1.98, 4.0)
    story.sent("read", 0.31, 429, retry_after=1.0)
    story.sent("read", 1.97, 429, ended=2.0, connection=2, retry_after=3.0)
    story.sent("read", 2.002).connection = 3
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == []


@pytest.mark.parametrize(
    ("began", "late", "again"),
    [
        pytest.param((0.98, 0.99), 0.2, True, id="two calls, and one of them a moment later"),
        pytest.param((0.98, 0.99), 0.3, False, id="later than that"),
        pytest.param((0.98,), 0.2, False, id="one call, which asks again"),
        pytest.param((0.98, 1.05), 0.2, False, id="one, and another that had time to know"),
    ],
)
def test_request_of_a_call_that_had_begun(
    story: Story, began: tuple[float, ...], *, late: float, again: bool
) -> None:
    """Its caller may have got no core: it counts if it is found once more."""
    story.history.connections += [0.5, 0.6]
    for at in began:
        story.call(at, 4.0)
    refused(story, 1.0)
    story.sent("read", 1.0 + late).connection = 2
    (finding,) = obeys_retry_after(since=0.0, until=9.0)(story.history)
    assert finding.repeated is again


def test_request_of_a_call_that_had_begun_hides_no_other(story: Story) -> None:
    """Told once more to wait, it does not: that counts as it is."""
    story.history.connections += [0.5, 0.6]
    for at in (0.98, 0.99):
        story.call(at, 1.5)
    refused(story, 1.0, 0.5)
    story.sent("read", 1.2).connection = 2
    refused(story, 5.0)
    story.sent("read", 6.0)
    (finding,) = obeys_retry_after(since=0.0, until=9.0)(story.history)
    assert finding.at == 6.0
    assert not finding.repeated


def test_nothing_to_obey(story: Story) -> None:
    """A 429 without the header, or with 0, tells no time; a 503 with it is another matter."""
    refused(story, 1.0, None)
    refused(story, 1.05, 0.0)
    story.sent("read", 1.1, 503, retry_after=3.0)
    story.several("read", 1.2)
    assert story.finds(obeys_retry_after(since=0.0, until=9.0, may_be_empty=True)) == []
    assert story.finds(obeys_retry_after(since=0.0, until=9.0)) == [
        "nothing shows it: there was no 429 with a time to wait between +0.00 and +9.00 s"
    ]


# Denials


DENIED = "/v1/ecommerce/data/ai/openai"


def denied(story: Story, *moments: float) -> None:
    """Calls for a denied path, each with one read and one look at the token."""
    for at in moments:
        story.call(at, at + 0.1, "denied", path="ai/openai")
        story.sent("read", at, 403, path=DENIED)
        story.sent("lookup", at + 0.01)


def test_denial_that_costs_little(story: Story) -> None:
    """A look for each denied read, each read repeated once, and one login in all."""
    denied(story, 1.0, 2.0)
    for at in (1.05, 2.05):
        story.sent("read", at, 403, path=DENIED)
        story.sent("capabilities", at)
    story.several("login", 1.04)
    assert story.finds(a_denial_costs_little(since=0.0, path="ai/openai")) == []
    assert story.finds(a_denial_costs_little(since=0.0)) == []


def test_whole_reads_may_be_denied_too(story: Story) -> None:
    """Each has its read and one repetition, as a read of a key has."""
    story.call(1.0, 1.1, "denied", verb="read_all", path="ai/openai")
    for at in (1.01, 1.02, 1.03):
        story.sent("read", at, 403, path=DENIED)
    assert story.finds(a_denial_costs_little(since=0.0, path="ai/openai")) == []


def test_denied_request_for_a_credential(story: Story) -> None:
    """It costs what a denied read does: one repetition for each call, and one beside them."""
    where = "database/creds/app"
    for at in (1.0, 2.0):
        story.call(at, at + 0.1, "denied", verb="lease", path=where)
        for again in (0.0, 0.05):
            story.sent("credential", at + again, 403, path=where)
        story.sent("lookup", at + 0.01)
    story.several("login", 1.04)
    oracle = a_denial_costs_little(since=0.0, path=where, kind="credential")
    assert story.finds(oracle) == []
    for at in (1.06, 2.06):
        story.sent("credential", at, 403, path=where)
    assert story.finds(oracle) == [
        (
            "6 requests for 6 denied requests of 2 calls, 5 are allowed "
            "(+1.00, +1.05, +2.00, +2.05, +1.06, +2.06)"
        )
    ]


def test_denial_that_costs_looks(story: Story) -> None:
    """Two looks more than there were denied reads, of which one may be of its own pace."""
    denied(story, 1.0, 2.0)
    story.several("capabilities", 2.02)
    assert story.finds(a_denial_costs_little(since=0.0)) == []
    story.several("capabilities", 2.03)
    assert story.finds(a_denial_costs_little(since=0.0)) == [
        (
            "4 looks at the token for 2 denied reads of 2 calls, 3 are allowed "
            "(+1.01, +2.01, +2.02, +2.03)"
        )
    ]


def test_looks_at_a_pace_of_its_own(story: Story) -> None:
    """One a second beside those for denials, of which one may fall into a call; and no more."""
    denied(story, 1.0, 2.0)
    story.several("lookup", 0.5, 1.5, 2.02, 2.5, 3.5)
    assert story.finds(a_denial_costs_little(since=0.0, until=4.0)) == []
    story.several("lookup", 3.7)
    [seen] = story.finds(a_denial_costs_little(since=0.0, until=4.0))
    assert seen.startswith("8 looks at the token for 2 denied reads of 2 calls, 7 are allowed")


def test_one_request_of_its_own_pace_in_a_call(story: Story) -> None:
    """Who looks every half minute may do so just then, and has shown no pace before."""
    denied(story, 1.0)
    story.sent("read", 1.02, 403, path=DENIED)
    story.several("lookup", 1.03, 1.05)
    story.sent("read", 1.06, 403, path=DENIED)
    assert story.finds(a_denial_costs_little(since=0.0, until=20.0, path="ai/openai")) == []


def test_denied_metadata_and_reads_are_repeated(story: Story) -> None:
    """Each of the two once, though the call is one; not each of them three times."""
    metadata = DENIED.replace("data", "metadata")
    for at in (1.0, 2.0):
        story.call(at, at + 0.1, "denied", path="ai/openai")
        for after in (0.0, 0.02):
            story.sent("metadata", at + after, 403, path=metadata)
            story.sent("read", at + after + 0.01, 403, path=DENIED)
    assert story.finds(a_denial_costs_little(since=0.0, path="ai/openai")) == []
    for after in (0.04, 0.05):
        story.sent("metadata", 2.0 + after, 403, path=metadata)
    assert story.finds(a_denial_costs_little(since=0.0, path="ai/openai")) == [
        (
            "6 metadata reads for 10 denied reads of 2 calls, 5 are allowed "
            "(+1.00, +1.02, +2.00, +2.02, +2.04, +2.05)"
        )
    ]


def test_looks_where_mounts_are_asked_for_first(story: Story) -> None:
    """A 403 to that is worth a look at the token, as one to a read is."""
    for at in (1.0, 2.0, 3.0):
        story.call(at, at + 0.1, "missing", path="ai/openai")
        story.sent("status", at, 403, path="sys/internal/ui/mounts/ecommerce")
        story.sent("lookup", at + 0.01)
    assert story.finds(a_denial_costs_little(since=0.0, may_be_empty=True)) == []
    story.several("lookup", 3.02, 3.03)
    assert len(story.finds(a_denial_costs_little(since=0.0, may_be_empty=True))) == 1


def test_denied_metadata(story: Story) -> None:
    """Who asks for a secret's metadata first is denied there; what is not denied is no read."""
    for at in (1.0, 2.0):
        story.call(at, at + 0.1, "denied", path="ai/openai")
        story.sent("metadata", at, 403, path=DENIED.replace("data", "metadata"))
        story.sent("lookup", at + 0.01)
    story.several("metadata", 3.0, 3.1, 3.2)
    assert story.finds(a_denial_costs_little(since=0.0, path="ai/openai")) == []


def test_denial_that_costs_reads(story: Story) -> None:
    """Two repetitions more; where no path is named, reads of others are not counted."""
    denied(story, 1.0)
    for at in (1.05, 1.06, 1.07):
        story.sent("read", at, 403, path=DENIED)
    assert story.finds(a_denial_costs_little(since=0.0, path="ai/openai")) == [
        "4 reads for 4 denied reads of 1 call, 3 are allowed (+1.00, +1.05, +1.06, +1.07)"
    ]
    assert story.finds(a_denial_costs_little(since=0.0)) == []


def test_denial_that_costs_logins(story: Story) -> None:
    """Two."""
    denied(story, 1.0, 2.0)
    story.several("login", 1.04, 2.04)
    assert len(story.finds(a_denial_costs_little(since=0.0))) == 1


def test_nothing_denied(story: Story) -> None:
    """Shows nothing."""
    story.several("read", 1.0)
    assert story.finds(a_denial_costs_little(since=0.0, until=2.0)) == [
        "nothing shows it: there was no denied read between +0.00 and +2.00 s"
    ]
    assert story.finds(a_denial_costs_little(since=0.0, until=2.0, may_be_empty=True)) == []


# Namespaces


def test_what_is_asked_in_a_namespace(story: Story) -> None:
    """Each request names it, but for what is asked about the server, which has none."""
    for path in ("sys/health", "sys/seal-status", "sys/leader", "sys/init"):
        story.sent("status", 1.0, path=path)
    story.sent("read", 2.0, path="ecommerce/data/x").namespace = "shop"
    assert story.finds(names_its_namespace("shop")) == []
    story.sent("status", 3.0, path="sys/internal/ui/mounts")
    assert story.finds(names_its_namespace("shop")) == [
        "a status named none (GET sys/internal/ui/mounts)"
    ]


def test_the_last_request_names_its_namespace_too() -> None:
    """Giving the token back is a part of the closing act."""
    assert isinstance(names_its_namespace("shop"), ToTheEnd)
